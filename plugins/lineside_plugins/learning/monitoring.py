"""What normal operation looks like, learned without labels: scale, main directions, and distance from both.

Source: Jackson and Mudholkar, Control Procedures for Residuals Associated with Principal Component Analysis (1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
CLIP = 20.0  # standard deviations; one wild reading must not drown the rest of a window


@dataclass(frozen=True, slots=True)
class NormalModel:
    """``centre`` and ``scale`` (C,) of each tag, ``axes`` (C, C) by falling ``variance`` (C,), ``kept`` main ones."""

    centre: Floats
    scale: Floats
    axes: Floats
    variance: Floats
    kept: int

    @classmethod
    def fit(cls, values: Floats, kept: int) -> NormalModel:
        """Learn from normal rows (T, C) without NaN; a tag that stands still gets a scale that keeps it still."""
        centre = np.median(values, axis=0)
        scale = values.std(axis=0) + 1e-6 * np.abs(centre) + 1e-9
        scaled = np.clip((values - centre) / scale, -CLIP, CLIP)
        variance, axes = np.linalg.eigh(np.cov(scaled.T))
        return cls(centre, scale, axes[:, ::-1], np.maximum(variance[::-1], 1e-6), kept)

    def scaled(self, values: Floats) -> Floats:
        """Rows (T, C) in standard deviations of normal operation, clipped."""
        out: Floats = np.clip((values - self.centre) / self.scale, -CLIP, CLIP)
        return out

    def distances(self, scaled: Floats) -> Floats:
        """Hotelling's T2 within the main directions and Q, the squared residual outside them: (T, 2)."""
        along = scaled @ self.axes
        main, rest = along[:, : self.kept], along[:, self.kept :]
        return np.column_stack([(main**2 / self.variance[: self.kept]).sum(axis=1), (rest**2).sum(axis=1)])

    def whitened(self, scaled: Floats) -> Floats:
        """Rows along the axes in units of each axis' own spread (T, C): unit variance while normal."""
        out: Floats = (scaled @ self.axes) / np.sqrt(self.variance)
        return out
