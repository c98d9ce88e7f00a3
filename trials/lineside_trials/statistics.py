"""Intervals over paired replications: each replication runs every arm on the same plant with the same random streams.

Means and differences use Student's t over replications. The share of the gap closed is a ratio of two paired means,
so its interval is the paired delete-one jackknife (Efron and Stein 1981; Miller 1974), again with Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Two-sided 95 % quantiles of Student's t for 1..30 degrees of freedom (any statistics table); the normal one beyond.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_Z95 = 1.960


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval; ``low`` and ``high`` are None where one replication gives no spread."""

    mean: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


def t95(replications: int) -> float:
    """Two-sided 95 % quantile of Student's t with ``replications - 1`` degrees of freedom."""
    degrees = replications - 1
    return _T95[degrees - 1] if 1 <= degrees <= len(_T95) else _Z95


def mean_interval(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """Mean over replications, shape (R,), with Student's t interval."""
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, None, None)
    half = t95(len(x)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(mean, mean - half, mean + half)


def difference_interval(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Paired difference ``ours - theirs``, each (R,) in the same order of replications."""
    return mean_interval(np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64))


def gap_closed(baseline: Sequence[float], ours: Sequence[float], oracle: Sequence[float]) -> Interval:
    """Share of the gap from baseline to oracle that ``ours`` closes: 1 = as good as the oracle, < 0 = worse than today.

    Each argument is (R,), paired. Returns None throughout where baseline and oracle do not differ in the mean.
    """
    b, x, o = (np.asarray(v, dtype=np.float64) for v in (baseline, ours, oracle))
    gap = float((o - b).mean())
    if gap == 0.0:
        return Interval(None, None, None)
    share = float((x - b).mean()) / gap
    n = len(b)
    if n < 2:
        return Interval(share, None, None)
    keep = ~np.eye(n, dtype=bool)
    gaps = np.array([(o - b)[k].mean() for k in keep])
    if not gaps.all():
        return Interval(share, None, None)
    leave_one_out = np.array([(x - b)[k].mean() for k in keep]) / gaps
    error = math.sqrt((n - 1) / n * float(((leave_one_out - leave_one_out.mean()) ** 2).sum()))
    return Interval(share, share - t95(n) * error, share + t95(n) * error)
