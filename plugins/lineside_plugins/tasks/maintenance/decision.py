"""When to act: the threshold that costs least per running hour, found by replaying recorded lives.

A life is replayed up to the moment the rule would have acted; the machine is then renewed at its next chance (the
next job order at a mill, at once elsewhere). A life that fails first costs a repair. Lives are independent given the
machine, so cost per hour over many lives is the long-run rate of the policy (renewal-reward theorem, Ross 1983).

Waiting is worth what the remaining life is worth, and costs the risk run until one can act again: acting is right once
the failure rate now, times what a repair costs beyond a renewal, exceeds the long-run cost rate (Aven and Bergman
1986, Optimal replacement times, J. Appl. Prob. 23). So a probability over a near horizon decides better than one over
a day, in which machines that fail tonight and machines that fail tomorrow look alike. How near is learned as well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.maintenance.dataset import Life, Machine, Rows

Floats: TypeAlias = NDArray[np.float64]
NEARLY_BEST = 1.05  # costs within 5 % cannot be told apart by the lives of a few plants: their middle lasts best
UNPLANNED_WEIGHT = 2.0  # an hour lost unannounced also starves the machines behind it; a planned one is scheduled


@dataclass(frozen=True, slots=True)
class Costs:
    """Mean hours out of service of a repair, waiting included, and of a planned renewal."""

    repair_h: float
    planned_h: float


@dataclass(frozen=True, slots=True)
class Replay:
    """What a rule would have done over recorded lives. Rates are per hour of life."""

    unplanned_share: float  # hours in repair per hour of life
    downtime_share: float  # hours in repair or planned renewal per hour of life
    failures: int
    renewals: int
    hours: float

    @property
    def cost(self) -> float:
        """Weighted downtime per hour of life, what the threshold minimises."""
        return self.downtime_share + (UNPLANNED_WEIGHT - 1.0) * self.unplanned_share


def measured_costs(machines: Sequence[Machine]) -> Costs:
    """Hours between each life's end and the next life's start, as the recordings show them.

    Raises:
        ValueError: The recordings hold no repair or no planned renewal; record some of each.
    """
    repair: list[float] = []
    planned: list[float] = []
    for machine in machines:
        for before, after in zip(machine.lives, machine.lives[1:], strict=False):
            (repair if before.failed else planned).append((after.start_s - before.end_s) / 3600.0)
    if not repair or not planned:
        raise ValueError(f"{len(repair)} repairs and {len(planned)} planned renewals recorded; expected some of each")
    return Costs(float(np.mean(repair)), float(np.mean(planned)))


def first_moments(rows: Rows, score: Floats, threshold: float) -> list[float]:
    """Unix seconds at which each life's score first exceeds ``threshold``; inf where it never does."""
    moments = [float("inf")] * len(rows.lives)
    for r in np.flatnonzero(score > threshold)[::-1]:
        life = rows.lives[rows.life[r]][1]
        moments[rows.life[r]] = life.end_s - 3600.0 * rows.until_h[r]
    return moments


def replay(lives: Sequence[tuple[Machine, Life]], moments: Sequence[float], costs: Costs) -> Replay:
    """Run the rule that asks for a renewal at ``moments[i]`` in life i over all lives."""
    hours, failures, renewals = 0.0, 0, 0
    for (machine, life), moment in zip(lives, moments, strict=True):
        taken = _next_chance(machine, moment)
        hours += (min(taken, life.end_s) - life.start_s) / 3600.0
        if taken < life.end_s:
            renewals += 1
        elif life.failed:
            failures += 1
    hours = max(hours, 1e-9)
    unplanned = failures * costs.repair_h / hours
    return Replay(unplanned, unplanned + renewals * costs.planned_h / hours, failures, renewals, hours)


def _next_chance(machine: Machine, moment: float) -> float:
    if not np.isfinite(moment) or not machine.stops:
        return moment
    at = bisect_left(machine.stops, moment)
    return machine.stops[at] if at < len(machine.stops) else float("inf")


def best_threshold(rows: Rows, score: Floats, costs: Costs, candidates: Floats) -> tuple[float, Replay]:
    """The middle of the candidates, given in rising order, whose cost per hour is nearly the least; what it does."""
    tried = [(replay(rows.lives, first_moments(rows, score, c), costs), float(c)) for c in candidates]
    least = min(replayed.cost for replayed, _ in tried)
    near = [t for t in tried if t[0].cost <= NEARLY_BEST * least]
    best, threshold = near[(len(near) - 1) // 2]
    return threshold, best


def best_horizon(
    rows: Rows, scores: Mapping[float, Floats], costs: Costs, candidates: Floats
) -> tuple[float, float, Replay]:
    """The horizon whose best threshold costs least, that threshold, what it does; ``scores`` (R,) by horizon in h."""
    tried = {horizon: best_threshold(rows, score, costs, candidates) for horizon, score in scores.items()}
    horizon = min(tried, key=lambda h: tried[h][1].cost)
    return horizon, *tried[horizon]


def best_age(lives: Sequence[tuple[Machine, Life]], costs: Costs, ages_h: Floats) -> tuple[float, Replay]:
    """The same for renewal at a fixed calendar age, the rule that needs no model."""
    tried = [(replay(lives, [life.start_s + 3600.0 * age for _, life in lives], costs), float(age)) for age in ages_h]
    best, age = min(tried, key=lambda pair: pair[0].cost)
    return age, best
