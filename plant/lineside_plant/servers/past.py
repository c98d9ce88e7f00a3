"""The plant run up to where serving begins, and what its servers remember of that time."""

from __future__ import annotations

from dataclasses import dataclass, field

from lineside_plant.events import PlantEvent, TagChange
from lineside_plant.plant import Plant
from lineside_plant.servers.tag_history import TagHistory
from lineside_plant.spec import MACHINES
from lineside_plant.tags import tags_of

OBSERVED_H = 49.0
"""Plant time before serving that is observed: the two days that a condition window spans, and an hour to spare."""
_CHUNK_S = 6 * 3600.0


@dataclass(slots=True)
class Past:
    """History of each machine's tags, the newest change of each tag in time order, and all events since time 0."""

    tags: dict[str, TagHistory] = field(default_factory=lambda: {m: _memory(m) for m in MACHINES})
    changes: dict[str, list[TagChange]] = field(default_factory=dict)
    events: list[PlantEvent] = field(default_factory=list)


def observed_from_s(start_s: float) -> float:
    """Plant time from which a plant that is served from ``start_s`` on has to be observed."""
    return max(0.0, start_s - 3600.0 * OBSERVED_H)


def run_to(plant: Plant, start_s: float) -> Past:
    """Run ``plant`` to ``start_s`` (plant time, s) and drain it; chunks keep a second's samples out of memory."""
    past = Past()
    newest: dict[str, dict[str, TagChange]] = {m: {} for m in MACHINES}
    to_s = observed_from_s(start_s)
    while True:
        plant.advance(to_s)
        output = plant.drain()
        past.events += output.events
        for machine, samples in output.machines.items():
            past.tags[machine].add(samples)
            newest[machine] |= {change.tag: change for change in samples.changes}
        if to_s >= start_s:
            break
        to_s = min(to_s + _CHUNK_S, start_s)
    past.changes = {m: sorted(changes.values(), key=lambda change: change.time) for m, changes in newest.items()}
    return past


def _memory(machine: str) -> TagHistory:
    return TagHistory(tag.name for tag in tags_of(machine))
