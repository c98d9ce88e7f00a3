"""Quantiles from randomised trees: not what leaves say on average, but what came true in them.

Source: Meinshausen, Quantile Regression Forests (2006); targets are drawn from each tree's leaf instead of weighed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QuantileForest:
    """``forest`` as fitted on ``target`` (N,), the training rows in each tree's ``leaves`` (N,), sorted by leaf."""

    forest: ExtraTreesRegressor
    target: Floats
    leaves: Sequence[tuple[NDArray[np.int64], NDArray[np.intp]]]

    @classmethod
    def fit(cls, forest: ExtraTreesRegressor, rows: NDArray[np.float32], target: Floats) -> QuantileForest:
        """Fit ``forest`` on rows (N, F) without NaN."""
        forest.fit(rows, target)
        leaves = []
        for tree in forest.estimators_:
            leaf = tree.apply(rows)
            order = np.argsort(leaf, kind="stable")
            leaves.append((leaf[order], order))
        return cls(forest, target, leaves)

    def predict(self, rows: NDArray[np.float32], quantiles: Sequence[float], draws: int, seed: int) -> Floats:
        """Quantiles (Q, R) over ``draws`` training targets from each row's leaf in each tree."""
        return pooled([self.drawn(rows, draws, seed)], quantiles)

    def drawn(self, rows: NDArray[np.float32], draws: int, seed: int) -> Floats:
        """What came true (trees x draws, R) in each row's leaf, ``draws`` training targets from each tree."""
        chance = np.random.default_rng(seed)
        drawn = []
        for tree, (leaf, order) in zip(self.forest.estimators_, self.leaves, strict=True):
            now = tree.apply(rows)
            first, end = np.searchsorted(leaf, now, "left"), np.searchsorted(leaf, now, "right")
            for _ in range(draws):
                place = first + (chance.random(len(now)) * (end - first)).astype(np.intp)
                drawn.append(self.target[order[place]])
        return np.asarray(drawn)


def pooled(drawn: Sequence[Floats], quantiles: Sequence[float]) -> Floats:
    """Quantiles (Q, R) of several models' draws (D, R) put together, each model as heavy as it has draws.

    Where a plant either stands or runs, the median of what all models hold possible beats the mean of their medians,
    which may be a level at which the plant never is. Source: Stone, The Opinion Pool (1961).
    """
    out: Floats = np.quantile(np.concatenate(drawn), quantiles, axis=0)
    return out
