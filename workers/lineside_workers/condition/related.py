"""What a recording tells about how its tags hang together, for the drift watch of a model."""

from __future__ import annotations

from collections.abc import Collection

from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers.learning import relations
from lineside_workers.recorded.reading import Floats, Recorded, grid, unit_of


def learned(found: Recorded, config: ConditionConfig, units: Collection[str]) -> list[relations.Relation]:
    """Relations between the tags of ``config`` on the machines of ``units``, in its cells; none is an answer too."""
    tags = list(config.tags)
    whole = [
        machine
        for machine in found.equipment_ids
        if unit_of(machine) in units and all((machine, t) in found.series for t in tags)
    ]
    return relations.learn([_cells(found, machine, tags, config.period_s) for machine in whole])


def _cells(found: Recorded, machine: str, tags: list[str], period_s: float) -> dict[str, Floats]:
    _, cells = grid(found, machine, tags, period_s)
    return {tag: cells[:, c].astype("float64") for c, tag in enumerate(tags)}
