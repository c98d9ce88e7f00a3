"""A quantity as a normal distribution given features: boosted trees for its mean and its spread.

Trees and the network of ``normal_network`` stand behind one interface, so that a task ships whichever validates
better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.trees import TreeEnsemble

Floats: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[np.generic]]
LOG_CHI2 = -1.2704  # mean of the logarithm of a squared standard normal: digamma(1/2) + log 2
LOG_FLOOR = 0.1  # added to a squared residual before its logarithm is taken; keeps an exact hit finite


class NormalHead(Protocol):
    """What to expect of a quantity, how far it may be off, and which features said so."""

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""

    def mean_and_spread(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (R,), (R,) of features ``x`` (R, F), in the quantity's unit."""

    def shares(self, x: Floats, groups: NDArray[np.intp]) -> Floats:
        """What each group of features adds to the mean (R, G); ``groups`` (F,) numbers them from 0."""


@dataclass(frozen=True, slots=True)
class NormalTrees:
    """Boosted trees for the mean and for the logarithm of the squared residual; spread kept within ``bounds``."""

    mean: TreeEnsemble
    log_variance: TreeEnsemble
    bounds: tuple[float, float]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], bounds: tuple[float, float]) -> NormalTrees:
        """Inverse of ``to_tensors``."""
        mean, variance = (TreeEnsemble.from_tensors(tensors, f"trees.{part}.") for part in ("mean", "variance"))
        return cls(mean, variance, bounds)

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return {**self.mean.to_tensors("trees.mean."), **self.log_variance.to_tensors("trees.variance.")}

    def mean_and_spread(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (R,), (R,)."""
        spread = np.exp(0.5 * (self.log_variance.margin(x) - LOG_CHI2))
        return self.mean.margin(x), np.clip(spread, *self.bounds)

    def shares(self, x: Floats, groups: NDArray[np.intp]) -> Floats:
        """Path contributions to the mean, exact per row, summed by group (R, G)."""
        _, parts = self.mean.explain(x)
        out = np.zeros((len(x), int(groups.max()) + 1))
        np.add.at(out.T, groups, parts.T)
        return out


def log_squared(residual: NDArray[np.floating[Any]]) -> Floats:
    """What the variance trees learn: the logarithm of the squared residual, finite everywhere."""
    out: Floats = np.log(np.asarray(residual, dtype=np.float64) ** 2 + LOG_FLOOR)
    return out
