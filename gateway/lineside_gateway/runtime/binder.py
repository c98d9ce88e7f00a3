"""Which task looks at which equipment, as servers come up one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lineside_gateway.guard.effects import COMMAND_IDS
from lineside_gateway.guard.envelope import target
from lineside_gateway.guard.guard import Guard
from lineside_gateway.ingest import Windower
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.publish import HostedTask
from lineside_gateway.runtime.policies import policy
from lineside_gateway.runtime.tasks import BoundTask
from lineside_gateway.settings import Limit, Settings
from lineside_gateway.settings.model import COMMAND_ID
from lineside_plugins.contract import Scope

_ANY_ID = Limit(low=1, high=COMMAND_IDS - 1)  # a command's number is no quantity: any of them is as good


class Binder:
    """Binds each piece of equipment to each task once, when it has what the task requires."""

    def __init__(self, settings: Settings, tasks: Mapping[str, BoundTask], windower: Windower, guard: Guard) -> None:
        self._line_id = settings.gateway.id
        self._job_control = settings.job_control.server if settings.job_control else ""
        self._tasks = tasks
        self._windower = windower
        self._guard = guard
        self._bound: dict[str, set[str]] = {name: set() for name in tasks}
        self._hosted: set[tuple[str, str]] = set()

    def bind(self, servers: Mapping[str, Sequence[Equipment]]) -> list[HostedTask]:
        """Bind what is new on ``servers``; the nodes to host for it."""
        equipment = [e for found in servers.values() for e in found]
        new: list[HostedTask] = []
        for task in self._tasks.values():
            fresh = [e for e in equipment if task.applies_to(e) and e.id not in self._bound[task.name]]
            if fresh:
                self._bound[task.name] |= {e.id for e in fresh}
                whole_line = task.inputs.scope is Scope.LINE
                self._windower.bind(task.binding(equipment if whole_line else fresh, self._line_id))
            self._guard.bind(policy(task, equipment, self._line_id, self._job_control))
            self._allow(task, equipment)
            new += self._nodes(task, equipment)
        return new

    def tasks_of(self, equipment_id: str) -> list[BoundTask]:
        """Tasks that look at this piece of equipment."""
        return [task for name, task in self._tasks.items() if equipment_id in self._bound[name]]

    def unbound(self, equipment: Sequence[Equipment]) -> tuple[str, ...]:
        """One sentence for each task that applies to none of ``equipment``: what the machine nearest to it lacks."""
        return tuple(
            f"task '{name}' applies to no equipment: {task.lacking(equipment)}; lineside check --connect shows each tag"
            for name, task in self._tasks.items()
            if not self._bound[name]
        )

    def _allow(self, task: BoundTask, equipment: Sequence[Equipment]) -> None:
        """The allow-list: tags that a rule of this task sets, with the bounds their nodes declare."""
        for rule in task.settings.write:
            for machine in equipment:
                for tag in rule.set:
                    node = machine.tags.get(tag)
                    if node is not None and node.writable and node.data_type is not None:
                        limit = rule.limits.get(tag) or (_ANY_ID if rule.set[tag] == COMMAND_ID else None)
                        self._guard.allow(target(machine.id, tag, node.data_type.name, node.eu_range, limit))

    def _nodes(self, task: BoundTask, equipment: Sequence[Equipment]) -> list[HostedTask]:
        places = {e.id: (e.site, e.area, e.work_center) for e in equipment}
        new = []
        for name in task.hosted_ids(equipment, self._line_id):
            if (task.name, name) not in self._hosted and self._bound[task.name]:
                self._hosted.add((task.name, name))
                new.append(task.hosted(name, places.get(name, ())))
        return new
