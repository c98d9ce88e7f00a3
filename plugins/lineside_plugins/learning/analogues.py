"""Forecasts from the past moments most like the present: no model to fit, so what the plant did yesterday counts today.

A moment is described by what led up to it; its analogues are earlier moments at the same time of day whose outcome is
already known. What followed them is the forecast. New shifts and stops are learnt as soon as they have been seen.
Source: Lorenz, Atmospheric Predictability as Revealed by Naturally Occurring Analogues (1969).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments in time order, evenly spaced: ``described`` (R, F), ``slot`` (R,) time of day and ``kind`` (R,) of day.

    Moments are compared within their slot; slots come in turn, as the quarters of a day do. ``target`` (R,) is known
    ``ahead`` rows later.
    """

    described: Floats
    slot: NDArray[np.int64]
    kind: NDArray[np.int64]
    target: Floats
    ahead: int


@dataclass(frozen=True, slots=True)
class Analogues:
    """The ``nearest`` past moments by squared distance of their descriptions.

    A day of another kind counts as farther by ``other_kind`` mean distances, and an older moment by ``ageing`` mean
    distances per ``ages`` rows.
    """

    nearest: int = 41
    other_kind: float = 1.0
    ageing: float = 1.0
    ages: int = 34_944  # 52 weeks of quarter hours

    def forecast(self, moments: Moments, first: int, quantiles: Sequence[float] = (0.5,)) -> Floats:
        """Quantiles (Q, R - first) of what followed the analogues of each moment from row ``first`` on.

        Each moment uses only targets known by then. NaN for a moment without any analogue.
        """
        out = np.full((len(quantiles), len(moments.target) - first), np.nan)
        for slot in np.unique(moments.slot):
            rows = np.flatnonzero(moments.slot == slot)
            apart = _squared(moments.described[rows])
            for at in np.flatnonzero(rows >= first):
                known = np.flatnonzero(rows <= rows[at] - moments.ahead)
                if len(known):
                    cost = self._cost(apart[at, known], rows[at] - rows[known], moments, rows[at], rows[known])
                    chosen = rows[known[np.argsort(cost, kind="stable")[: self.nearest]]]
                    out[:, rows[at] - first] = np.quantile(moments.target[chosen], quantiles)
        return out

    def _cost(
        self, apart: Floats, age: NDArray[np.intp], moments: Moments, now: np.intp, past: NDArray[np.intp]
    ) -> Floats:
        other = moments.kind[past] != moments.kind[now]
        out: Floats = apart + float(apart.mean()) * (self.other_kind * other + self.ageing * age / self.ages)
        return out


def _squared(described: Floats) -> Floats:
    """Squared distances (R, R) between rows (R, F)."""
    size = (described**2).sum(axis=1)
    out: Floats = np.maximum(size[:, None] + size - 2.0 * described @ described.T, 0.0)
    return out
