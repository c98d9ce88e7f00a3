"""What tasks read of a machine: their tags with units, and which of them they cannot do without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lineside_gateway.opcua.plan import read_tags
from lineside_plugins import registry
from lineside_plugins.contract import Inputs

JOB_ORDERS, EVENTS = "job_orders", "events"


@dataclass(frozen=True, slots=True)
class Want:
    """One tag, under the name the tasks have for it."""

    tag: str
    unit: str = ""
    numeric: bool = False
    """A window asks for it as a number."""


@dataclass(frozen=True, slots=True)
class TaskWants:
    """What one task reads. ``needed`` are tags without which it does not run, or a check calls it an error."""

    task: str
    tags: tuple[Want, ...]
    needed: frozenset[str]
    reads_job_orders: bool = False
    events: tuple[str, ...] = ()
    """Kinds of events it reads, where somebody emits them."""
    has_model: bool = True
    """It needs none, or one ships with it."""


def wants_of(task: str, inputs: Inputs, *, has_model: bool = True) -> TaskWants:
    """The tags of ``inputs``, required ones first."""
    channels = {c.tag: c for c in (inputs.window.channels if inputs.window else ())}
    needed = frozenset(inputs.requires) | {c.tag for c in channels.values() if not c.optional}
    tags = sorted(dict.fromkeys(read_tags(inputs)), key=lambda t: t not in needed)
    wants = (Want(t, channels[t].unit if t in channels else "", t in channels) for t in tags)
    orders = any(r.stream == JOB_ORDERS for r in inputs.records)
    events = tuple(dict.fromkeys(kind for r in inputs.records if r.stream == EVENTS for kind in r.kinds))
    return TaskWants(task, tuple(wants), needed, orders, events, has_model)


def installed_wants(names: Iterable[str]) -> tuple[dict[str, TaskWants], dict[str, str]]:
    """What each of the tasks reads, and of those that cannot be used the cause; no model is loaded."""
    wants: dict[str, TaskWants] = {}
    broken: dict[str, str] = {}
    for name in names:
        try:
            plugin = registry.create(name)
            has_model = not plugin.needs_model or (registry.package_folder(name) / "weights").is_dir()
            wants[name] = wants_of(name, plugin.inputs(), has_model=has_model)
        except registry.TaskError as e:
            broken[name] = str(e)
    return wants, broken


def merged(tasks: Mapping[str, TaskWants]) -> tuple[Want, ...]:
    """Each tag once, as the settings map it for all tasks: with a unit, and as a number, where any task says so."""
    out: dict[str, Want] = {}
    for want in (w for task in tasks.values() for w in task.tags):
        known = out.get(want.tag, want)
        out[want.tag] = Want(want.tag, known.unit or want.unit, known.numeric or want.numeric)
    return tuple(out.values())
