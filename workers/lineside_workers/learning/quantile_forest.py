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
        chance = np.random.default_rng(seed)
        drawn = []
        for tree, (leaf, order) in zip(self.forest.estimators_, self.leaves, strict=True):
            now = tree.apply(rows)
            first, end = np.searchsorted(leaf, now, "left"), np.searchsorted(leaf, now, "right")
            for _ in range(draws):
                place = first + (chance.random(len(now)) * (end - first)).astype(np.intp)
                drawn.append(self.target[order[place]])
        out: Floats = np.quantile(drawn, quantiles, axis=0)
        return out
