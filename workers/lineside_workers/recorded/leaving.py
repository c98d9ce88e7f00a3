"""Sensors of a recording that left the others, found as the drift watch of a worker finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside_workers.learning import relations
from lineside_workers.recorded.reading import Floats, Recorded, grid
from lineside_workers.watching.sensor_watch import SensorWatch

PERIOD_S = 600.0  # cells that the limits of the watch were measured with


@dataclass(frozen=True, slots=True)
class Departure:
    """A tag that stood apart from ``begin`` to ``end`` (ISO 8601, UTC); ``gain`` at its farthest, None if no ratio."""

    machine: str
    tag: str
    begin: str
    end: str
    gain: float | None
    inputs: tuple[str, ...]


def departures(found: Recorded, tags: Sequence[str]) -> list[Departure]:
    """Each stretch in which a tag of ``tags`` stood apart from the others of its machine, in order of machine.

    A second for ten machine weeks.
    """
    machines = [m for m in found.equipment_ids if all((m, t) in found.series for t in tags)]
    seen = {m: _cells(found, m, tags) for m in machines}
    learned = relations.learn([cells for _, cells in seen.values()]) if machines and tags else []
    return [d for machine, (end_us, cells) in seen.items() for r in learned for d in _follow(machine, r, end_us, cells)]


def _follow(
    machine: str, relation: relations.Relation, end_us: NDArray[np.int64], cells: Mapping[str, Floats]
) -> list[Departure]:
    watch, out, since = SensorWatch(relation), [], -1
    gain: float | None = None
    for i in range(len(end_us)):
        watch.add({tag: values[i : i + 1] for tag, values in cells.items()})
        if watch.drifted:
            since = i if since < 0 else since
            gain = _farther(gain, watch.gain)
        if since >= 0 and (not watch.drifted or i == len(end_us) - 1):
            begin, end = (str(end_us[k].astype("datetime64[us]"))[:16] for k in (since, i))
            out.append(Departure(machine, relation.tag, begin, end, gain, relation.inputs))
            since, gain = -1, None
    return out


def _farther(one: float | None, other: float | None) -> float | None:
    """The gain that is farther from 1."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other, key=lambda g: abs(float(np.log(g))))


def _cells(found: Recorded, machine: str, tags: Sequence[str]) -> tuple[NDArray[np.int64], dict[str, Floats]]:
    end_us, cells = grid(found, machine, tags, PERIOD_S)
    return end_us, {tag: cells[:, c].astype(np.float64) for c, tag in enumerate(tags)}
