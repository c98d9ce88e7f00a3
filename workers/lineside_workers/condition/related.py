"""What a recording tells about how its tags hang together, for the drift watch of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers.learning import relations
from lineside_workers.learning.relations import Relation
from lineside_workers.recorded.reading import Floats, Recorded, grid, unit_of
from lineside_workers.recorded.splitting import Split
from lineside_workers.watching import false_alarms

Cells = Mapping[str, Floats]
OWN_LEAST = 3000  # cells, three machine weeks, from which a machine has a relation of its own


def learned(found: Recorded, config: ConditionConfig, split: Split) -> list[Relation]:
    """Relations between the tags of ``config`` in its cells, on units that train or choose; none is an answer too."""
    tags = list(config.tags)
    able = [m for m in found.equipment_ids if all((m, t) in found.series for t in tags)]
    cells = {machine: _cells(found, machine, tags, config.period_s, split) for machine in able}
    return of_machines({machine: own for machine, own in cells.items() if len(own[tags[0]])})


def of_machines(machines: Mapping[str, Cells]) -> list[Relation]:
    """Relations of ``machines``: cells by name, below that of the plant where there are several.

    What holds for any machine comes first; then those of machines that were recorded long enough, by their name within
    a plant: their own loads and powers tell more. All have one bound, calibrated on the recording (``false_alarms``).
    """
    general = relations.learn(list(machines.values()))
    own = [r for name, cells in _by_name(machines).items() for r in _own(name, cells, general)]
    return _bounded([*general, *own], machines)


def _own(name: str, machines: Sequence[Cells], general: Sequence[Relation]) -> list[Relation]:
    """Relations of the machine of one name, of the tags that are followed on any."""
    if sum(len(next(iter(cells.values()))) for cells in machines) < OWN_LEAST:
        return []
    return [r for g in general if (r := relations.learn_own(g, machines, name)) is not None]


def _bounded(found: list[Relation], machines: Mapping[str, Cells]) -> list[Relation]:
    """With the bound by which each tag's watch is as quiet as asked for.

    By the general relation alone: a machine's own was fitted to these very weeks, and is quieter in them than later.
    """
    bounds = {
        r.tag: false_alarms.calibrated([(r, cells) for cells in machines.values()]) for r in found if not r.machine
    }
    return [r if (bound := bounds[r.tag]) is None else replace(r, bound=bound) for r in found]


def _by_name(machines: Mapping[str, Cells]) -> dict[str, list[Cells]]:
    out: dict[str, list[Cells]] = {}
    for machine, cells in machines.items():
        out.setdefault(_leaf(machine), []).append(cells)
    return out


def _leaf(machine: str) -> str:
    """The name within its plant."""
    return machine.rpartition("/")[2]


def _cells(found: Recorded, machine: str, tags: list[str], period_s: float, split: Split) -> dict[str, Floats]:
    """Those of units that train or choose."""
    end_us, cells = grid(found, machine, tags, period_s)
    unit = split.stretches(np.full(len(end_us), unit_of(machine)), end_us - round(1e6 * period_s), end_us)
    cells = cells[np.isin(unit, [*split.train, *split.validation])]
    return {tag: cells[:, c].astype(np.float64) for c, tag in enumerate(tags)}
