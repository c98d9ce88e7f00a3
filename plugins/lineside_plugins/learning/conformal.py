"""Split-conformal bounds: an interval whose coverage holds whatever the model is.

Assumes that calibration and later rows are exchangeable. Rows of one life are not, so lives are weighed equally and
coverage is reported on plants that neither training nor calibration saw.
Source: Romano, Patterson, Candès, Conformalized Quantile Regression (2019), eq. 6-8; Tibshirani et al., Conformal
Prediction Under Covariate Shift (2019), for weights.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


def scores(low: Floats, high: Floats, target: Floats) -> Floats:
    """How far ``target`` (R,) lies outside ``[low, high]``; negative inside. Larger is worse."""
    out: Floats = np.maximum(low - target, target - high)
    return out


def quantile(score: Floats, coverage: float, weight: Floats | None = None) -> float:
    """Smallest margin that covers ``coverage`` of future rows, counting one unseen row as infinitely bad.

    Raises:
        ValueError: Too few rows for the coverage asked; give more calibration rows or ask for less.
    """
    w = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=np.float64)
    unseen = 1.0 if weight is None else float(w.mean()) if len(w) else 1.0
    order = np.argsort(score)
    reached = np.cumsum(w[order]) / (w.sum() + unseen)
    enough = np.flatnonzero(reached >= coverage)
    if not len(enough):
        raise ValueError(f"{len(score)} calibration rows cannot give {coverage:.0%} coverage; record more plants")
    return float(score[order][enough[0]])
