"""Which tasks share a process: what is urgent never waits behind what takes long."""

from __future__ import annotations

from collections.abc import Sequence

from lineside_plugins import registry
from lineside_plugins.registry import TaskError
from lineside_workers.errors import SettingsError

AUTO, NONE = "auto", "none"


def lanes(tasks: Sequence[str], urgent: str = AUTO) -> tuple[tuple[str, ...], ...]:
    """``tasks`` by process, the urgent ones first.

    ``urgent`` is "auto" for those with the shortest deadline, "none" for one process that hosts all, or names with
    commas. Models stay unloaded.

    Raises:
        SettingsError: ``urgent`` names a task that is not among ``tasks``.
    """
    if urgent == NONE:
        return (tuple(tasks),)
    first = _soonest(tasks) if urgent == AUTO else tuple(n.strip() for n in urgent.split(",") if n.strip())
    unknown = [n for n in first if n not in tasks]
    if unknown:
        raise SettingsError(f"--urgent names '{unknown[0]}', which is not hosted here; hosted: {', '.join(tasks)}")
    return tuple(lane for lane in (first, tuple(t for t in tasks if t not in first)) if lane)


def _soonest(tasks: Sequence[str]) -> tuple[str, ...]:
    """Those with the shortest deadline; a task that cannot be asked is not among them, and its worker will say why."""
    deadlines: dict[str, float] = {}
    for task in tasks:
        try:
            deadlines[task] = registry.create(task).inputs().deadline_s
        except TaskError:
            continue
    shortest = min(deadlines.values(), default=0.0)
    return tuple(t for t in tasks if deadlines.get(t) == shortest)
