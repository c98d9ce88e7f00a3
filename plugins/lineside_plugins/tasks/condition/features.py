"""What a window says in a few numbers per tag; the same code for training and serving."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
PARTS = ("mean", "spread", "low", "middle", "high", "late", "slope", "missing")
SEEN_LEAST = 4  # cells of a tag without which its statistics say nothing


def names(tags: Sequence[str]) -> tuple[str, ...]:
    """Feature names ``tag:part`` in the order of ``statistics``."""
    return tuple(f"{tag}:{part}" for tag in tags for part in PARTS)


def statistics(values: NDArray[np.float32]) -> Floats:
    """Features (B, C * 8) of windows (B, T, C) with NaN where nothing was seen; NaN where a tag was hardly seen.

    Mean, standard deviation, 10 %, 50 % and 90 % quantile, last quarter against the whole, least-squares slope per
    window, share of cells missing.
    """
    x = np.asarray(values, dtype=np.float64)
    b, t, c = x.shape
    seen = np.isfinite(x)
    count = seen.sum(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an empty tag is NaN by contract
        mean = np.nanmean(x, axis=1)
        spread = np.nanstd(x, axis=1)
        low, middle, high = np.nanquantile(x, [0.1, 0.5, 0.9], axis=1)
        late = np.nanmean(x[:, -max(1, t // 4) :], axis=1) - mean
    time = np.linspace(-0.5, 0.5, t)[None, :, None]
    clean = np.where(seen, x - mean[:, None], 0.0)
    centre = (time * seen).sum(axis=1) / np.maximum(count, 1)
    lever = np.where(seen, time - centre[:, None], 0.0)
    slope = (lever * clean).sum(axis=1) / np.maximum((lever**2).sum(axis=1), 1e-12)
    parts = np.stack([mean, spread, low, middle, high, late, slope], axis=2)
    parts[count < SEEN_LEAST] = np.nan
    out: Floats = np.concatenate([parts, (1.0 - count / t)[:, :, None]], axis=2).reshape(b, c * len(PARTS))
    return out
