"""The limit of the sensor watches from the false alarms that are asked for, calibrated on the recording itself.

Nobody labels the sensors that drifted in a recording. They drift one way or the other, so the quieter of both sides
tells what sensors do that do not: the farthest that each machine goes there in a week is drawn from a Gumbel
distribution, and the limit is passed by as many of them as are asked for. Both sides alarm, so each has half of them.

Source: Gumbel, Statistics of Extremes (1958), ch. 5; fitted by quartiles, which a few drifts do not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lineside_workers.learning.relations import Relation
from lineside_workers.watching.sensor_watch import SensorWatch

PER_MACHINE_WEEK = 0.04  # false alarms asked for; plants that taught nothing have more (docs/drift.md)
WEEK = 1008  # cells of ten minutes
LEAST, MOST = 5.5, 6.5  # spreads: thirty weeks say little of what is rare, so that they only choose among these
_ENOUGH = 8  # weeks that are fitted; with fewer the relation's own bound stays
_NEVER = 1e9

Cells = Mapping[str, NDArray[np.float64]]


def calibrated(pairs: Sequence[tuple[Relation, Cells]], per_machine_week: float = PER_MACHINE_WEEK) -> float | None:
    """Bound of the relations, each beside the cells of a machine it is for; None where too little was recorded."""
    farthest = np.array([peak for relation, cells in pairs for peak in _peaks(relation, cells)])
    if len(farthest) < _ENOUGH:
        return None
    return float(np.clip(passed_by(farthest, per_machine_week), LEAST, MOST))


def passed_by(farthest: NDArray[np.float64], per_machine_week: float) -> float:
    """What so many weeks pass, up or down, of which ``farthest`` (W, 2) says how far each went either way."""
    quieter = farthest[:, int(np.argmin(np.median(farthest, axis=0)))]
    low, middle, high = np.quantile(quieter, [0.25, 0.5, 0.75])
    beta = (high - low) / (np.log(np.log(4.0)) - np.log(np.log(4.0 / 3.0)))
    mode = middle + beta * np.log(np.log(2.0))
    return float(mode - beta * np.log(-np.log1p(-per_machine_week / 2)))


def _peaks(relation: Relation, cells: Cells) -> list[tuple[float, float]]:
    """How far up and down the machine goes in each whole week, in spreads of the comparison."""
    watch, out, up, down = SensorWatch(replace(relation, bound=_NEVER)), [], 0.0, 0.0
    for i in range(len(cells[relation.tag])):
        watch.add({tag: values[i : i + 1] for tag, values in cells.items()})
        if watch.comparing:
            up, down = max(up, watch.moved / watch.noise), max(down, -watch.moved / watch.noise)
        if (i + 1) % WEEK == 0:
            out.append((up, down))
            up = down = 0.0
    return out
