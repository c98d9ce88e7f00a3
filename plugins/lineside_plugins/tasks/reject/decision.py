"""Which parts to flag, by what an escape costs and by what the inspection bench can check.

The bench earns a token per twenty parts. A flagged part that finds no token is scrapped unchecked. So a part is
flagged when its probability is such that scrapping it unseen costs less than shipping it; that needs no bench. Of
parts below, those of the press are flagged down to the threshold that the bench can take on most validation plants,
and of those of a mill just every n-th: suspicion of a dimension comes in bursts, which no bench could check, and some
measured parts of a burst are enough to find the drift behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.reject.dataset import Parts

Floats: TypeAlias = NDArray[np.float64]
FLAGGED_BUDGET = 0.05  # of parts, all the bench earns: porous parts come at random and keep mills centred as samples do
PLANTS_WITHIN = 0.8  # share of validation plants that must keep to the budget
EARNED, CAPACITY, RESERVE = 0.05, 20.0, 2.0  # tokens per part, at most, and left for flags (the user's bench)
PAUSE_S = 6 * 3600.0  # between two stretches of a plant's parts the bench is as usual
ESCAPE_COST = 2.0  # good parts that a shipped defect costs unless the user says otherwise
SUSPECT, EVERY = 0.02, 4  # see above; in a burst parts are several times as likely off as a calm plant teaches


def worth_scrapping(escape_cost: float) -> float:
    """Probability above which scrapping a part unseen costs less than shipping it, an escape counted in good parts."""
    return 1.0 / (1.0 + escape_cost)


SURE = worth_scrapping(ESCAPE_COST)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities above which a part is flagged; of mill parts up to ``sure`` only every ``every``-th."""

    dimension: float
    porosity: float
    every: int = EVERY
    sure: float = SURE

    def flags_dimension(self, p: Floats, count: Floats) -> NDArray[np.bool_]:
        """Which parts of a mill to flag, by probability and by the number their serial number ends in."""
        due = np.nan_to_num(count).astype(np.int64) % self.every == 0
        return np.asarray((p > self.sure) | ((p > self.dimension) & due))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pair of thresholds does, as shares of all parts."""

    flagged: float
    caught: float
    missed: float
    scrapped_good: float

    def as_dict(self) -> dict[str, float]:
        """Plain numbers for a report."""
        return {
            "flagged": round(self.flagged, 5),
            "caught": round(self.caught, 6),
            "missed": round(self.missed, 6),
            "scrapped_good": round(self.scrapped_good, 6),
        }


def replay(dimension: Parts, p_dimension: Floats, porosity: Parts, p_porosity: Floats, at: Thresholds) -> Outcome:
    """Run the bench over every plant's parts in time order with thresholds ``at``.

    ``dimension`` holds whole stretches of both mills' parts. Porosity comes at random, so its flags are taken off the
    bench's income evenly.
    """
    flag_porous, flag = p_porosity > at.porosity, at.flags_dimension(p_dimension, dimension.count)
    rate = _share(flag_porous, porosity.weight)
    lost = np.zeros(len(flag), dtype=np.bool_)
    for unit in np.unique(dimension.unit):
        rows = np.flatnonzero(dimension.unit == unit)
        rows = rows[np.argsort(dimension.end_s[rows], kind="stable")]
        lost[rows] = _unchecked(flag[rows], dimension.end_s[rows], EARNED - rate)
    w, v = dimension.weight, porosity.weight
    return Outcome(
        flagged=rate + _share(flag, w),
        caught=_share(flag_porous & porosity.bad, v) + _share(flag & dimension.bad, w),
        missed=_share(~flag_porous & porosity.bad, v) + _share(~flag & dimension.bad, w),
        scrapped_good=_share(lost & ~dimension.bad, w),
    )


def _share(which: NDArray[np.bool_], weight: Floats) -> float:
    return float(weight @ which / max(float(weight.sum()), 1e-9))


def _unchecked(flag: NDArray[np.bool_], end_s: Floats, income: float) -> NDArray[np.bool_]:
    """Flagged parts that found no token; random samples take what lies above the reserve."""
    lost = np.zeros(len(flag), dtype=np.bool_)
    tokens = RESERVE + 1.0
    pause = np.diff(end_s, prepend=end_s[:1]) > PAUSE_S
    for i, (flagged, after_pause) in enumerate(zip(flag.tolist(), pause.tolist(), strict=True)):
        tokens = RESERVE + 1.0 if after_pause else min(CAPACITY, tokens + income)
        if not flagged:
            tokens -= min(EARNED, max(0.0, tokens - RESERVE))
        elif tokens >= 1.0:
            tokens -= 1.0
        else:
            lost[i] = True
    return lost


def fit_thresholds(dimension: Parts, p_dimension: Floats, porosity: Parts, p_porosity: Floats) -> Thresholds:
    """The lowest porosity threshold with which four of five plants keep to the budget, dimension flags included.

    Never above ``SURE``: such parts are flagged whatever the bench can take.
    """
    suspect = Thresholds(SUSPECT, SURE).flags_dimension(p_dimension, dimension.count)
    units = np.unique(porosity.unit)
    used = np.array([_share(suspect[dimension.unit == u], dimension.weight[dimension.unit == u]) for u in units])
    for threshold in np.round(np.geomspace(0.003, SURE, 100), 4):
        flag = p_porosity > threshold
        shares = used + [_share(flag[porosity.unit == u], porosity.weight[porosity.unit == u]) for u in units]
        if np.quantile(shares, PLANTS_WITHIN) <= FLAGGED_BUDGET:
            return Thresholds(SUSPECT, float(threshold))
    return Thresholds(SUSPECT, SURE)
