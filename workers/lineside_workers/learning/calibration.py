"""Intervals that hold: margins per group, per level of the forecast, or following a stream.

Source: Romano, Patterson, Candès, Conformalized Quantile Regression (2019); Gibbs and Candès, Adaptive Conformal
Inference Under Distribution Shift (2021), for the margin that follows a plant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning import conformal

Floats: TypeAlias = NDArray[np.float64]
_SHARES = 11  # ways tried of sharing misses between the two ends of a band


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lower and upper bound (R,) of each row, within the target's own bounds."""

    low: Floats
    high: Floats

    def covers(self, target: Floats) -> NDArray[np.bool_]:
        """Which targets (R,) lie inside."""
        out: NDArray[np.bool_] = (self.low <= target) & (target <= self.high)
        return out

    @property
    def width(self) -> float:
        """Mean distance between the bounds."""
        return float((self.high - self.low).mean())

    def widened(self, margin: Floats, low: float, high: float) -> Bounds:
        """Both bounds moved out by ``margin`` (R,), then cut to what the target can be."""
        return Bounds(np.clip(self.low - margin, low, high), np.clip(self.high + margin, low, high))


def alike(unit: NDArray[np.int64]) -> Floats:
    """A weight for each row (R,), so that each unit counts once: of its rows one speaks for as much as another."""
    _, which, count = np.unique(unit, return_inverse=True, return_counts=True)
    out: Floats = 1.0 / count[which]
    return out


def in_service(unit: NDArray[np.int64]) -> Floats:
    """A weight for each row (R,), rows of a unit in time order, for machines that are met at any moment of their life.

    Units count alike. Of a machine met at a random moment the record ends there: early rows stand in every record, the
    last row of a life in one that ran to its end only. Margins from whole lives with all rows alike cover too much of
    such records, because errors are larger late in the range that a forecast can tell.
    """
    order = np.argsort(unit, kind="stable")
    _, start, count = np.unique(unit[order], return_index=True, return_counts=True)
    left = np.empty(len(unit))
    left[order] = np.repeat(start + count, count) - np.arange(len(unit))
    _, which = np.unique(unit, return_inverse=True)
    out: Floats = left / (count * (count + 1) / 2)[which]
    return out


def margins(
    bounds: Bounds, target: Floats, group: NDArray[np.str_], weight: Floats, coverage: float
) -> Mapping[str, float]:
    """How far bounds must move out per group so that ``coverage`` of calibration rows (R,), as weighed, lie inside.

    Raises:
        ValueError: A group has too few rows for the coverage asked.
    """
    score = conformal.scores(bounds.low, bounds.high, target)
    return {
        str(name): conformal.quantile(score[group == name], coverage, weight[group == name])
        for name in np.unique(group)
    }


@dataclass(frozen=True, slots=True)
class LevelBand:
    """Lower and upper error (L,) of calibration rows at each of L levels of the forecast; ``edges`` (L - 1,) part them.

    Where a forecast errs differently at its two ends, a band by level is narrower than a constant one. Source: Boström
    and Johansson, Mondrian conformal regressors (2020), with groups by the forecast itself.
    """

    edges: Floats
    low: Floats
    high: Floats

    @classmethod
    def fit(
        cls,
        said: Floats,
        target: Floats,
        weight: Floats,
        coverage: float,
        levels: int,
        within: tuple[float, float] = (-np.inf, np.inf),
    ) -> LevelBand:
        """Learn from calibration rows (R,) as weighed (``alike``, ``in_service``); as many fall to each level.

        What may be missed is shared out between the two ends so that the band, cut to what the target can be
        (``within``), is shortest: where forecasts come near a bound of the target, errors lie on one side.

        Raises:
            ValueError: A level has too few rows for the coverage asked; ask for fewer levels.
        """
        edges = np.quantile(said, np.linspace(0, 1, levels + 1)[1:-1])
        level = np.digitize(said, edges)
        ends = []
        for k in range(levels):
            at = level == k
            ends.append(_shortest(said[at], target[at], weight[at], coverage, within))
        return cls(edges, *np.asarray(ends).T)

    def bounds(self, said: Floats, low: float, high: float) -> Bounds:
        """The band about forecasts (R,), cut to what the target can be."""
        level = np.digitize(said, self.edges)
        return Bounds(np.clip(said + self.low[level], low, high), np.clip(said + self.high[level], low, high))


def _shortest(
    said: Floats, target: Floats, weight: Floats, coverage: float, within: tuple[float, float]
) -> tuple[float, float]:
    """Errors (low, high) between which ``coverage`` of the rows lie and whose band about ``said`` (R,) is shortest."""
    error = target - said
    found: list[tuple[float, float, float]] = []
    for share in np.linspace(0.0, 1.0, _SHARES):
        low = -_reach(-error, 1.0 - (1.0 - coverage) * share, weight)
        high = _reach(error, 1.0 - (1.0 - coverage) * (1.0 - share), weight)
        width = np.minimum(said + high, within[1]) - np.maximum(said + low, within[0])
        found.append((float(width.mean()), low, high))
    least, low, high = min(found)
    if not np.isfinite(least):
        raise ValueError(
            f"{len(error)} calibration rows of a level cannot give {coverage:.0%} coverage; use fewer levels"
        )
    return low, high


def _reach(error: Floats, coverage: float, weight: Floats) -> float:
    """The margin that covers ``coverage`` of errors on one side; infinite where the rows are too few to tell."""
    try:
        return conformal.quantile(error, coverage, weight)
    except ValueError:
        return float("inf")


def of_groups(margin: Mapping[str, float], group: NDArray[np.str_]) -> Floats:
    """Each row's margin (R,) by its group."""
    return np.asarray([margin[str(name)] for name in group])


def followed(score: Floats, start: float, coverage: float, delay: int, step: float) -> Floats:
    """Margin (R,) for each row of a stream: wider after a miss, narrower after a hit, once its truth has arrived.

    ``score`` (R,) is how far each target lay outside its bounds, in time order, and becomes known ``delay`` rows
    later; ``start`` is the margin from calibration, ``step`` the change per miss in the target's unit. The long-run
    share covered is ``coverage`` whatever the drift.
    """
    margin = np.empty(len(score))
    now = start
    for i in range(len(score)):
        if i >= delay:
            missed = score[i - delay] > margin[i - delay]
            now += step * (coverage if missed else coverage - 1.0)
        margin[i] = now
    return margin
