"""How good a probability or a quantity is: ranking, calibration, error, each with an interval over plants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.bool_]


def auroc(label: Labels, score: Floats) -> float:
    """Chance that a positive row scores above a negative one, ties half; NaN without both classes.

    >>> auroc(np.array([False, False, True]), np.array([0.1, 0.4, 0.3]))
    0.5
    """
    positives = int(label.sum())
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - 0.5 * (counts - 1))[inverse]
    return float((rank[label].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(label: Labels, score: Floats) -> float:
    """Area under precision against recall as a step function; NaN without a positive row.

    >>> average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    0.8333333333333333
    """
    if not label.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hit, ordered = label[order], score[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found = np.cumsum(hit)[last]
    gained = np.diff(np.concatenate([[0], found]))
    return float((gained * found / (last + 1)).sum() / hit.sum())


def f1(label: Labels, decided: Labels) -> float:
    """Harmonic mean of precision and recall of a decision; 0 where nothing true was decided.

    >>> f1(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    hits = int((label & decided).sum())
    return 2.0 * hits / max(1, int(label.sum()) + int(decided.sum()))


def false_alarm_rate(label: Labels, decided: Labels) -> float:
    """Share of negative rows decided positive; NaN without a negative row."""
    negatives = int((~label).sum())
    return float((decided & ~label).sum() / negatives) if negatives else float("nan")


def balanced_accuracy(label: NDArray[np.int64], decided: NDArray[np.int64]) -> float:
    """Mean over the classes present in ``label`` of the share decided rightly.

    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    0.5
    """
    return float(np.mean([(decided[label == c] == c).mean() for c in np.unique(label)]))


def macro_auroc(label: NDArray[np.int64], probability: Floats) -> float:
    """Mean over classes of one class against the rest; ``probability`` (R, classes), classes absent left out."""
    ranked = [auroc(label == c, probability[:, c]) for c in range(probability.shape[1])]
    return float(np.nanmean(ranked))


def rmse(target: Floats, predicted: Floats) -> float:
    """Root of the mean squared error, in the target's unit."""
    return float(np.sqrt(np.mean((predicted - target) ** 2)))


def brier(label: Labels, probability: Floats) -> float:
    """Mean squared error of a probability; lower is better."""
    return float(np.mean((probability - label) ** 2))


def calibration_error(label: Labels, probability: Floats, bins: int = 10) -> float:
    """Mean distance between stated and observed frequency over ``bins`` groups of equal size.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning (2015), equal-mass variant.
    """
    order = np.argsort(probability, kind="stable")
    groups = [g for g in np.array_split(order, bins) if len(g)]
    gaps = [abs(float(probability[g].mean()) - float(label[g].mean())) * len(g) for g in groups]
    return float(sum(gaps) / max(1, len(label)))


def over_units(
    units: Sequence[str] | NDArray[np.str_],
    statistic: Callable[[NDArray[np.intp]], float],
    *,
    seed: int = 0,
    draws: int = 200,
) -> tuple[float, float, float]:
    """``statistic`` of all rows, and its 95 % interval when whole units (plants) are drawn anew with replacement.

    ``units`` (R,) names the unit of each row; ``statistic`` receives row indices.
    """
    names = np.asarray(units)
    rows = [np.flatnonzero(names == name) for name in np.unique(names)]
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])) for _ in range(draws)
    ]
    finite = np.asarray([d for d in drawn if np.isfinite(d)])
    low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
    return statistic(np.arange(len(names))), float(low), float(high)
