"""Tasks as the settings bind them: constructed, their inputs and outputs read once, no model loaded."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lineside_gateway.errors import SettingsError
from lineside_gateway.guard.modes import WRITING
from lineside_gateway.ingest import Binding
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.publish import HostedTask
from lineside_gateway.settings import Mode, Settings, TaskSettings
from lineside_plugins import registry
from lineside_plugins.contract import Inputs, Outputs, Scope


@dataclass(frozen=True, slots=True)
class BoundTask:
    """One task of the settings with what it wants to see and what it says."""

    settings: TaskSettings
    inputs: Inputs
    outputs: Outputs

    @property
    def name(self) -> str:
        """Name under which the task is installed."""
        return self.settings.task

    @property
    def writes_tags(self) -> bool:
        """Whether it may set tags of its equipment, at once or after an operator's yes."""
        return self.settings.mode in WRITING and any(rule.set for rule in self.settings.write)

    def applies_to(self, equipment: Equipment) -> bool:
        """Whether the binding names this equipment and the equipment has every tag the task requires."""
        named = any(fnmatch.fnmatchcase(equipment.id, p) for p in self.settings.equipment_patterns)
        return named and all(tag in equipment.tags for tag in self.inputs.requires)

    def lacking(self, equipment: Iterable[Equipment]) -> str:
        """What the named equipment that comes nearest to the task lacks, in words."""
        patterns = self.settings.equipment_patterns
        named = [e for e in equipment if any(fnmatch.fnmatchcase(e.id, p) for p in patterns)]
        if not named:
            return f"none is named {' or '.join(repr(p) for p in patterns)}"
        absent = {e.id: [t for t in self.inputs.requires if t not in e.tags] for e in named}
        nearest = min(absent, key=lambda name: len(absent[name]))
        return f"'{nearest}' has no tag {', '.join(absent[nearest])}"

    def binding(self, equipment: Iterable[Equipment], line_id: str) -> Binding:
        """The windower's binding over all of ``equipment`` that the task applies to."""
        ids = tuple(e.id for e in equipment if self.applies_to(e))
        return Binding(self.name, self.inputs, ids, line_id=line_id)

    def hosted(self, equipment_id: str, location: tuple[str, ...]) -> HostedTask:
        """What is hosted of it on one piece of equipment, or on the line."""
        window = self.inputs.window
        window_s = None if window is None else window.length * window.period_s
        return HostedTask(self.name, equipment_id, self.outputs, self.settings.mode, location, window_s)

    def hosted_ids(self, equipment: Iterable[Equipment], line_id: str) -> tuple[str, ...]:
        """Names under which recommendations are hosted: the line's for a line task, else the equipment's."""
        if self.inputs.scope is Scope.LINE:
            return (line_id,)
        return tuple(e.id for e in equipment if self.applies_to(e))


@dataclass(frozen=True, slots=True)
class TaskSet:
    """What can run, and one sentence for each task that cannot."""

    tasks: Mapping[str, BoundTask]
    problems: Mapping[str, str]


def bind_tasks(settings: Settings) -> TaskSet:
    """Construct every task that is not off. A task that cannot be constructed is left out with its sentence.

    Raises:
        SettingsError: None of the tasks can run.
    """
    tasks: dict[str, BoundTask] = {}
    problems: dict[str, str] = {}
    for entry in settings.tasks:
        if entry.mode is Mode.OFF:
            continue
        try:
            plugin = registry.create(entry.task, entry.config)
        except registry.TaskError as e:
            problems[entry.task] = str(e)
            continue
        tasks[entry.task] = BoundTask(entry, plugin.inputs(), plugin.outputs())
    if not tasks:
        raise SettingsError("no task can run: " + ("; ".join(problems.values()) or "all are off; set a mode"))
    return TaskSet(tasks, problems)
