"""How unlike everything learned from a window is, and which tag makes it so.

Distance is Hotelling's T2 within the main directions of the training windows' features and Q outside them, each over
its own limit; the limit is what held-out machines stayed below. Source: Jackson and Mudholkar (1979).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.monitoring import NormalModel
from lineside_plugins.tasks.condition.features import PARTS

Floats: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[np.generic]]
SHARE_BELOW = 0.999  # of training windows
MARGIN = 1.5  # machines differ: what a machine never seen adds to the distance of those that were
VARIANCE_KEPT = 0.95
_FIELDS = ("centre", "scale", "axes", "variance", "middle", "limits")


@dataclass(frozen=True, slots=True)
class Novelty:
    """``model`` of the features, ``middle`` (F,) their medians, ``limits`` (2,) of T2 and Q."""

    model: NormalModel
    middle: Floats
    limits: Floats

    @classmethod
    def fit(cls, rows: Floats, held_out: Floats) -> Novelty:
        """Learn from training features (R, F) with NaN; ``held_out`` rows of other machines widen the limits."""
        middle = np.nan_to_num(np.nanmedian(rows, axis=0))
        filled = np.where(np.isfinite(rows), rows, middle)
        full = NormalModel.fit(filled, filled.shape[1])
        share = np.cumsum(full.variance) / full.variance.sum()
        model = NormalModel(full.centre, full.scale, full.axes, full.variance, 1 + int((share < VARIANCE_KEPT).sum()))
        known = np.concatenate([filled, np.where(np.isfinite(held_out), held_out, middle)])
        limits = MARGIN * np.quantile(model.distances(model.scaled(known)), SHARE_BELOW, axis=0)
        return cls(model, middle, np.maximum(limits, 1e-6))

    def score(self, rows: Floats) -> Floats:
        """Largest distance over its limit (R,); above 1 is unlike everything learned from."""
        scaled = self.model.scaled(self._filled(rows))
        out: Floats = (self.model.distances(scaled) / self.limits).max(axis=1)
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

    def _filled(self, rows: Floats) -> Floats:
        out: Floats = np.where(np.isfinite(rows), rows, self.middle)
        return out

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        m = self.model
        parts = (m.centre, m.scale, m.axes, m.variance, self.middle, self.limits)
        named = {f"novelty.{n}": np.ascontiguousarray(p) for n, p in zip(_FIELDS, parts, strict=True)}
        return {**named, "novelty.kept": np.array([m.kept], dtype=np.int64)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Novelty:
        """Inverse of ``to_tensors``."""
        found = {n: np.asarray(tensors[f"novelty.{n}"], dtype=np.float64) for n in _FIELDS}
        kept = int(np.asarray(tensors["novelty.kept"]).reshape(-1)[0])
        model = NormalModel(found["centre"], found["scale"], found["axes"], found["variance"], kept)
        return cls(model, found["middle"], found["limits"])
