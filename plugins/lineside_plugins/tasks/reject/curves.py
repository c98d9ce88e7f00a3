"""From the force curve of a press stroke to one row per part. Pure numpy."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

CURVE = 256
BINS = 32  # of the force curve, for the trees
PLATEAU = slice(CURVE // 3, 3 * CURVE // 4)  # of a press stroke: the force is up and not yet falling
COURSES = ((32, 1), (24, 2))  # half width in points and order of the slow courses taken out of a force curve
NOISE_OF_SECOND_DIFFERENCE = 0.6745 * 6.0**0.5  # median of |second difference| of white noise of sigma 1
NOISE_CLIP, NOISE_SCALE = 12.0, 3.0  # sigma; bounds what is left, and brings a dip to about one


def curve_rows(curves: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Force curves (P, CURVE) in kN as float32 (P, 2, CURVE): what is left of them, in units of their own noise.

    Two slow courses are taken out, each a local polynomial of least squares: a wide straight one that keeps a dip,
    and a narrow parabolic one that follows the fall of the force closer. Noise is read off second differences over the
    plateau, so that a press with another sensor looks the same. Rise and fall say nothing and are bounded.
    Source: Savitzky, Golay, Smoothing and Differentiation of Data (1964), with shortened windows at both ends.
    """
    raw = np.asarray(curves, dtype=np.float32)
    second = np.abs(np.diff(raw[:, PLATEAU], n=2, axis=1))
    noise = np.maximum(np.median(second, axis=1), 1e-3) / NOISE_OF_SECOND_DIFFERENCE
    left = np.stack([raw @ _without_course(*course) for course in COURSES], axis=1)
    out: NDArray[np.float32] = np.clip(left / noise[:, None, None], -NOISE_CLIP, NOISE_CLIP) / NOISE_SCALE
    return out.astype(np.float32)


@lru_cache(maxsize=4)
def _without_course(half: int, order: int) -> NDArray[np.float32]:
    """Matrix (CURVE, CURVE) that maps a curve to itself less its local polynomial fit."""
    out = np.eye(CURVE)
    for i in range(CURVE):
        near = np.arange(max(0, i - half), min(CURVE, i + half + 1))
        powers = np.vander((near - i) / half, order + 1, increasing=True)
        out[near, i] -= np.linalg.pinv(powers)[0]
    return out.astype(np.float32)


def curve_features(curves: NDArray[np.floating[Any]]) -> Floats:
    """The force curve for trees, float64 (P, BINS + 3): bin means, depth of the deepest dip, where, roughness."""
    rows = curve_rows(curves)[:, 0].astype(np.float64)
    bins = rows.reshape(len(rows), BINS, -1).mean(axis=2)
    middle = bins[:, BINS // 3 : 3 * BINS // 4]
    dip = middle - 0.5 * (bins[:, BINS // 3 - 2 : 3 * BINS // 4 - 2] + bins[:, BINS // 3 + 2 : 3 * BINS // 4 + 2])
    rough = np.abs(np.diff(rows[:, PLATEAU], axis=1)).mean(axis=1)
    return np.concatenate([bins, np.stack([dip.min(axis=1), dip.argmin(axis=1), rough], axis=1)], axis=1)
