"""Which parts to flag: thresholds that catch the most defects within what the inspection bench can check.

The bench earns a token per twenty parts. A flagged part that finds no token is scrapped unchecked, so a rule that
flags in bursts pays with good parts; a replay of each validation plant's parts through the bench counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.reject.dataset import Parts

Floats: TypeAlias = NDArray[np.float64]
FLAGGED_BUDGET = 0.04  # of parts; a fifth of the bench's 5 % stays for random samples, which keep the mills centred
EARNED, CAPACITY, RESERVE = 0.05, 20.0, 2.0  # tokens per part, at most, and left for flags (the user's bench)
PAUSE_S = 6 * 3600.0  # between two stretches of a plant's parts the bench is as usual
SCRAP_COST = 0.25  # of an escape; a good part lost costs its machine time, an escape also the customer


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


def replay(
    dimension: Parts, p_dimension: Floats, porosity: Parts, p_porosity: Floats, at: tuple[float, float]
) -> Outcome:
    """Run the bench over every plant's parts in time order with thresholds ``at`` = (dimension, porosity).

    ``dimension`` holds whole stretches of both mills' parts. Porosity comes at random, so its flags are taken off the
    bench's income evenly.
    """
    flag_porous, flag = p_porosity > at[1], p_dimension > at[0]
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
) -> tuple[tuple[float, float], Outcome]:
    """The pair with the greatest gain among those that keep within the budget.

    Raises:
        ValueError: No pair keeps within the budget; the probabilities are not calibrated.
    """
    best: tuple[tuple[float, float], Outcome] | None = None
    for a in _grid(p_dimension, dimension.weight):
        for b in _grid(p_porosity, porosity.weight):
            tried = replay(dimension, p_dimension, porosity, p_porosity, (a, b))
            if tried.flagged <= FLAGGED_BUDGET and (best is None or tried.gain > best[1].gain):
                best = ((a, b), tried)
    if best is None:
        raise ValueError(f"no pair of thresholds flags at most {FLAGGED_BUDGET:.0%} of the parts; look at calibration")
    return best


def _grid(p: Floats, weight: NDArray[Any]) -> list[float]:
    """Probabilities above which 0.25 % to 4 % of the parts lie."""
    order = np.argsort(-p)
    reached = np.cumsum(weight[order]) / weight.sum()
    shares = np.arange(0.0025, FLAGGED_BUDGET, 0.0025)
    at = [int(np.searchsorted(reached, s)) for s in shares]
    return sorted({round(float(np.clip(p[order[min(i, len(p) - 1)]], 1e-4, 1 - 1e-4)), 5) for i in at})
