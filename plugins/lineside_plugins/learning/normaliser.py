"""Features on one scale for a network: fitted on training rows, stored with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
CLIP = 6.0  # standard deviations; a sensor gone wild must not throw a network out of its range


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Mean and standard deviation of F features, each float32 (F,)."""

    mean: Floats
    std: Floats

    @classmethod
    def fit(cls, rows: NDArray[np.floating[Any]]) -> Normaliser:
        """Learn from rows (R, F), ignoring NaN; a feature that is constant or always missing gets std 1."""
        seen = np.isfinite(rows)
        n = np.maximum(seen.sum(axis=0), 1)
        clean = np.where(seen, rows, 0.0).astype(np.float64)
        mean = clean.sum(axis=0) / n
        var = (np.where(seen, (clean - mean) ** 2, 0.0)).sum(axis=0) / n
        std = np.sqrt(var)
        return cls(mean.astype(np.float32), np.where(std > 1e-6, std, 1.0).astype(np.float32))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], prefix: str = "normaliser.") -> Normaliser:
        """Inverse of ``to_tensors``."""
        return cls(
            np.asarray(tensors[prefix + "mean"], dtype=np.float32),
            np.asarray(tensors[prefix + "std"], dtype=np.float32),
        )

    def to_tensors(self, prefix: str = "normaliser.") -> dict[str, NDArray[np.generic]]:
        """Plain arrays for a safetensors file."""
        return {prefix + "mean": self.mean, prefix + "std": self.std}

    def __call__(self, rows: NDArray[np.floating[Any]]) -> Floats:
        """Scaled features and missing marks, float32 (R, 2F); a missing value becomes 0, the mean."""
        out: Floats = np.concatenate([self.scaled(rows), ~np.isfinite(rows)], axis=1).astype(np.float32)
        return out

    def scaled(self, rows: NDArray[np.floating[Any]]) -> Floats:
        """Scaled features alone, float32 (R, F): for features that never miss."""
        filled = np.where(np.isfinite(rows), rows, self.mean)
        out: Floats = np.clip((filled - self.mean) / self.std, -CLIP, CLIP).astype(np.float32)
        return out
