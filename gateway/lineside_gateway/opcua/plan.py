"""What each server is asked for: derived from the settings and from what the bound tasks declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lineside_gateway.opcua.nodes import WantedEquipment
from lineside_gateway.settings import EventSettings, JobControlSettings, ServerSettings, Settings, TaskSettings
from lineside_plugins.contract import Inputs


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One server's share: equipment with the tags to read, job orders, events."""

    server: ServerSettings
    equipment: tuple[WantedEquipment, ...] = ()
    job_control: JobControlSettings | None = None
    job_tags: tuple[str, ...] = ()
    """Counters beside the job order receiver, such as UpdatesTaken; delivered as its equipment's tags."""
    events: tuple[EventSettings, ...] = ()
    depths_s: Mapping[str, float] = field(default_factory=dict)
    """How far back the windows of the bound tasks reach, by tag (s): what is read from a server's history."""


def plan_servers(settings: Settings, inputs: Mapping[str, Inputs]) -> dict[str, ServerPlan]:
    """One plan per server, by name, in the settings' order. ``inputs`` holds those of every bound task, by name.

    All equipment of a server is asked for every tag that any task wants; which task applies to which equipment is
    decided by what is found (``Inputs.requires`` and optional channels).
    """
    wanted = wanted_tags(settings, inputs)
    optional = frozenset(wanted) - needed_tags(settings, inputs)
    numeric = frozenset(c.tag for i in inputs.values() if i.window is not None for c in i.window.channels)
    events = settings.events
    if events is None:
        events = () if settings.job_control is None else (EventSettings(server=settings.job_control.server),)
    plans: dict[str, ServerPlan] = {}
    for server in settings.servers:
        mine = [e for e in settings.equipment if (e.server or settings.servers[0].name) == server.name]
        orders = settings.job_control
        plans[server.name] = ServerPlan(
            server,
            tuple(
                WantedEquipment(e, {t: e.tags.get(t, settings.tags.get(t, t)) for t in wanted}, numeric, optional)
                for e in mine
            ),
            orders if orders is not None and orders.server == server.name else None,
            tuple(_unique(w.acknowledge for t in settings.tasks for w in t.write if w.update_job_orders)),
            tuple(e for e in events if e.server == server.name),
            window_depths_s(inputs.values()),
        )
    return plans


def window_depths_s(inputs: Iterable[Inputs]) -> dict[str, float]:
    """Seconds that the longest window with each tag spans."""
    depths: dict[str, float] = {}
    for spec in (i.window for i in inputs if i.window is not None):
        for channel in spec.channels:
            depths[channel.tag] = max(depths.get(channel.tag, 0.0), spec.length * spec.period_s)
    return depths


def wanted_tags(settings: Settings, inputs: Mapping[str, Inputs]) -> tuple[str, ...]:
    """Every tag that a bound task reads, is triggered by, writes or is acknowledged by; and the heartbeats."""
    tags: list[str | None] = []
    for task in settings.tasks:
        if task.task in inputs:
            tags += read_tags(inputs[task.task])
        tags += written_tags(task)
    return _unique([*tags, settings.heartbeat.plant_tag, settings.heartbeat.gateway_tag])


def needed_tags(settings: Settings, inputs: Mapping[str, Inputs]) -> frozenset[str]:
    """Tags without which a bound task does not run, or an effect does not happen."""
    needed: set[str] = set()
    for task in settings.tasks:
        needed.update(written_tags(task))
        if task.task in inputs:
            own = inputs[task.task]
            needed.update(own.requires)
            needed.update(c.tag for c in (own.window.channels if own.window else ()) if not c.optional)
    return frozenset(needed)


def read_tags(inputs: Inputs) -> list[str]:
    """Tags of the window, the snapshot, the triggers and the equipment records of one task."""
    tags = [c.tag for c in inputs.window.channels] if inputs.window is not None else []
    tags += [*inputs.snapshot, *inputs.trigger.on_change, *inputs.requires]
    return tags + [t for spec in inputs.records for t in spec.tags]


def watched_tags(settings: Settings) -> frozenset[str]:
    """Tags whose every value is told: what is written, the counters that acknowledge it, the PLCs' heartbeat."""
    beat = {settings.heartbeat.plant_tag}
    written = {t for task in settings.tasks for t in written_tags(task)}
    answers = {w.acknowledge for task in settings.tasks for w in task.write}
    return frozenset(tag for tag in written | answers | beat if tag)


def written_tags(task: TaskSettings) -> list[str]:
    """Tags that the task's effects set, and the counters that acknowledge them on the equipment."""
    tags: list[str] = []
    for write in task.write:
        tags += write.set
        if write.set and write.acknowledge is not None:
            tags.append(write.acknowledge)
    return tags


def _unique(tags: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t for t in tags if t))
