"""Does what is named as the reason move the forecast: three named tags deleted against three random ones.

Scored on held-out engines of FD003 and FD004 in the last 100 cycles of their life, where a forecast says something. A
tag deleted goes back to its value on engines with more than 125 cycles left.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import engines, life
from benchmarks.models.row import Row, Statistic, over_seeds
from benchmarks.models.setting import Setting
from lineside_workers.learning import explanation
from lineside_workers.learning.datasets.cmapss import CAP

SCORED = ("FD003", "FD004")
NAMED = 3
GOAL = 3.0
WORN = 100.0  # cycles left at most


def run(setting: Setting) -> list[Row]:
    """Ratio of the two moves over engines, and the cost of explaining one forecast."""
    fleet, tested = engines.load(setting)
    split = life.parted(setting, fleet, tested, 0)
    held_out = split.held_out[np.isin(fleet.subset[split.held_out], SCORED)]
    model = life.fitted(setting, fleet, split, 0).model
    fit = fleet.of(split.fit)
    reference = np.median(fleet.rows[fit[fleet.life[fit] > CAP]], axis=0)
    point = engines.moments(fleet, held_out, 0)
    point = point[fleet.life[point] <= WORN]
    tags = explanation.tags_of(engines.names())
    found = [
        explanation.deletion(model, fleet.rows[point], reference, tags, NAMED, seed) for seed in range(setting.seeds)
    ]
    unit = fleet.names[fleet.engine[point]]
    ratio = over_seeds(unit, [_ratio(*f) for f in found])
    started = time.perf_counter()
    explanation.strongest(model, fleet.rows[point[:32]], reference, tags, NAMED)
    micros = (time.perf_counter() - started) * 1e6 / 32
    setting.say(f"deletion: ratio {ratio.value:.2f}")
    note = f"named {_mean(found, 0):.1f} cycles, random {_mean(found, 1):.1f}; {micros:.0f} us per explained row"
    return [Row("deletion", "named_over_random", ratio.value, ratio.low, ratio.high, ratio.seeds, GOAL, note=note)]


def _ratio(named: NDArray[np.float64], random: NDArray[np.float64]) -> Statistic:
    return lambda rows: float(named[rows].mean() / random[rows].mean())


def _mean(found: list[tuple[NDArray[np.float64], NDArray[np.float64]]], which: int) -> float:
    return float(np.mean([f[which].mean() for f in found]))
