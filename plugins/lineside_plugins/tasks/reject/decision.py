"""Which parts to flag: thresholds that catch the most defects within what the inspection bench can check.

The bench earns a token per twenty parts. A flagged part that finds no token is scrapped unchecked, so a rule that
flags in bursts pays with good parts; a replay of each validation plant's parts through the bench counts them.

Suspicion of a dimension comes in bursts: a tool that has drifted makes many suspect parts in a row. So every part
that is worth scrapping unseen is flagged, but of those that are only worth a look just every n-th is, which is enough
for the bench to find the drift and for the mill's feedback to end it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.reject.dataset import Parts

Floats: TypeAlias = NDArray[np.float64]
FLAGGED_BUDGET = 0.04  # of parts; a fifth of the bench's 5 % stays for random samples, which keep the mills centred
EARNED, CAPACITY, RESERVE = 0.05, 20.0, 2.0  # tokens per part, at most, and left for flags (the user's bench)
PAUSE_S = 6 * 3600.0  # between two stretches of a plant's parts the bench is as usual
SCRAP_COST = 0.5  # of an escape; a good part lost costs its machine time, an escape also the customer

SURE = SCRAP_COST / (1.0 + SCRAP_COST)  # probability from which scrapping a part unseen costs less than shipping it
EVERY = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities above which a part is flagged; of mill parts below ``SURE`` only every ``every``-th."""

    dimension: float
    porosity: float
    every: int = 1

    def flags_dimension(self, p: Floats, count: Floats) -> NDArray[np.bool_]:
        """Which parts of a mill to flag, by probability and by the number their serial number ends in."""
        due = np.nan_to_num(count).astype(np.int64) % self.every == 0
        return np.asarray((p > self.dimension) & ((p > SURE) | due))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pair of thresholds does, as shares of all parts."""

    flagged: float
    caught: float
    missed: float
    scrapped_good: float

    @property
    def gain(self) -> float:
        """Defects caught less what false scrap costs, per part."""
        return self.caught - SCRAP_COST * self.scrapped_good

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
    return float(weight @ which / weight.sum())


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


def best_thresholds(
    dimension: Parts, p_dimension: Floats, porosity: Parts, p_porosity: Floats
) -> tuple[Thresholds, Outcome]:
    """The thresholds with the greatest gain among those that keep within the budget.

    Raises:
        ValueError: None keeps within the budget; the probabilities are not calibrated.
    """
    best: tuple[Thresholds, Outcome] | None = None
    for at in itertools.starmap(
        Thresholds,
        itertools.product(_grid(p_dimension, dimension.weight), _grid(p_porosity, porosity.weight), EVERY),
    ):
        tried = replay(dimension, p_dimension, porosity, p_porosity, at)
        if tried.flagged <= FLAGGED_BUDGET and (best is None or tried.gain > best[1].gain):
            best = (at, tried)
    if best is None:
        raise ValueError(f"no thresholds flag at most {FLAGGED_BUDGET:.0%} of the parts; look at the calibration")
    return best


def _grid(p: Floats, weight: Floats) -> list[float]:
    """Probabilities above which 0.2 % to 6 % of the parts lie."""
    order = np.argsort(-p)
    reached = np.cumsum(weight[order]) / weight.sum()
    at = [int(np.searchsorted(reached, share)) for share in np.geomspace(0.002, 0.06, 9)]
    return sorted({round(float(np.clip(p[order[min(i, len(p) - 1)]], 1e-4, 1 - 1e-4)), 5) for i in at})
