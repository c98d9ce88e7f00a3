"""What a gateway will host, as far as the settings alone can tell: for an export at design time."""

from __future__ import annotations

import fnmatch

from lineside_gateway.publish import HostedTask
from lineside_gateway.runtime.tasks import BoundTask, bind_tasks
from lineside_gateway.settings import Mode, Settings
from lineside_plugins import registry
from lineside_plugins.contract import Scope


def planned_nodes(settings: Settings | None) -> tuple[list[HostedTask], list[HostedTask]]:
    """Instances on equipment with an id, and one entry per task for its type; without settings all installed tasks.

    Raises:
        SettingsError: None of the tasks can run.
    """
    if settings is None:
        plugins = {name: registry.create(name) for name in registry.installed()}
        return [], [HostedTask(name, "", plugin.outputs(), Mode.ADVISORY) for name, plugin in plugins.items()]
    instances, types = [], []
    for task in bind_tasks(settings).tasks.values():
        types.append(HostedTask(task.name, "", task.outputs, task.settings.mode))
        instances += _instances(task, settings)
    return instances, types


def _instances(task: BoundTask, settings: Settings) -> list[HostedTask]:
    mode = task.settings.mode
    if task.inputs.scope is Scope.LINE:
        return [HostedTask(task.name, settings.gateway.id, task.outputs, mode)]
    return [
        HostedTask(task.name, e.id, task.outputs, mode, (e.site, e.area, e.work_center))
        for e in settings.equipment
        if e.id is not None and any(fnmatch.fnmatchcase(e.id, p) for p in task.settings.equipment_patterns)
    ]
