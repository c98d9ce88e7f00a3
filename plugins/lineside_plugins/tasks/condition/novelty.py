"""How unlike everything learned from a window is, and which tag makes it so.

The score is the mean distance to the nearest training windows, features on one scale, over a limit; the limit is what
windows of one unit (plant or machine) kept to when they were compared with all other units.

Source: Ramaswamy, Rastogi and Shim, Efficient Algorithms for Mining Outliers (2000), distance to nearest neighbours;
Laxhammar and Falkman, Conformal prediction for distribution-independent anomaly detection (2010), for the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.condition.features import PARTS

Floats: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[np.generic]]
NEIGHBOURS = 5
KEPT = 2048  # training windows a model carries: 256 KB for four tags
SHARE_BELOW = 0.995  # of windows of a unit nobody had seen
_FIELDS = ("known", "middle", "scale", "limit")
_ROWS = 1024  # compared at once, so that memory stays small


@dataclass(frozen=True, slots=True)
class Novelty:
    """``known`` float32 (N, F) scaled training windows, ``middle`` and ``scale`` (F,) of each feature, ``limit``."""

    known: NDArray[np.float32]
    middle: Floats
    scale: Floats
    limit: float

    @classmethod
    def fit(cls, rows: Floats, unit: NDArray[np.str_], seed: int) -> Novelty:
        """Learn from features (R, F) with NaN of several units (R,)."""
        middle = np.nan_to_num(np.nanmedian(rows, axis=0))
        spread = np.nanstd(np.where(np.isfinite(rows), rows, middle), axis=0)
        scale = np.where(spread > 1e-9, spread, 1.0)
        scaled = (np.where(np.isfinite(rows), rows, middle) - middle) / scale
        chosen = np.random.default_rng(seed).permutation(len(scaled))[:KEPT]
        chosen.sort()
        known, whose = scaled[chosen].astype(np.float32), unit[chosen]
        apart = [
            _distance(scaled[unit == u], known[whose != u])
            for u in np.unique(unit).tolist()
            if (whose != u).sum() > NEIGHBOURS
        ]
        far = np.concatenate(apart) if apart else _distance(scaled, known)
        return cls(known, middle, scale, max(float(np.quantile(far, SHARE_BELOW)), 1e-6))

    def score(self, rows: Floats) -> Floats:
        """Distance over the limit (R,); above 1 is unlike everything learned from."""
        filled = np.where(np.isfinite(rows), rows, self.middle)
        out: Floats = _distance((filled - self.middle) / self.scale, self.known) / self.limit
        return out

    def strangest(self, row: Floats) -> tuple[int, float, float]:
        """Number of the tag without which a row (F,) is least strange, its mean, and the median mean learned."""
        parts = len(PARTS)
        tried = np.repeat(row[None], len(row) // parts, axis=0)
        for tag in range(len(tried)):
            own = slice(tag * parts, (tag + 1) * parts)
            tried[tag, own] = self.middle[own]
        tag = int(self.score(tried).argmin())
        return tag, float(row[tag * parts]), float(self.middle[tag * parts])

    def to_tensors(self, prefix: str = "novelty.") -> Tensors:
        """Plain arrays for a safetensors file."""
        parts = (self.known, self.middle, self.scale, np.array([self.limit]))
        return {prefix + n: np.ascontiguousarray(p) for n, p in zip(_FIELDS, parts, strict=True)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], prefix: str = "novelty.") -> Novelty:
        """Inverse of ``to_tensors``."""
        known, middle, scale, limit = (np.asarray(tensors[prefix + n]) for n in _FIELDS)
        return cls(
            np.asarray(known, dtype=np.float32),
            np.asarray(middle, dtype=np.float64),
            np.asarray(scale, dtype=np.float64),
            float(limit.astype(np.float64).reshape(-1)[0]),
        )


def _distance(rows: Floats, known: NDArray[np.float64] | NDArray[np.float32]) -> Floats:
    """Mean distance (R,) of ``rows`` (R, F) to the nearest of ``known`` (N, F)."""
    reference = np.asarray(known, dtype=np.float64)
    square = (reference**2).sum(axis=1)
    near = min(NEIGHBOURS, len(reference))
    out = np.empty(len(rows))
    for i in range(0, len(rows), _ROWS):
        part = rows[i : i + _ROWS]
        apart = (part**2).sum(axis=1)[:, None] + square - 2.0 * part @ reference.T
        nearest = np.partition(np.maximum(apart, 0.0), near - 1, axis=1)[:, :near]
        out[i : i + _ROWS] = np.sqrt(nearest).mean(axis=1)
    return out
