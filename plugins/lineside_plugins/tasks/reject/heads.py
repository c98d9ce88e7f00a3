"""The two heads behind small interfaces, and the boosted trees among them. The networks live in ``model.py``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.trees import Tensors, TreeEnsemble
from lineside_plugins.tasks.reject import curves as c
from lineside_plugins.tasks.reject import features as f

Floats: TypeAlias = NDArray[np.float64]
LOG_CHI2 = -1.2704  # mean of the logarithm of a squared standard normal: digamma(1/2) + log 2
SIGMA_LOW, SIGMA_HIGH = 1.0, 60.0  # um; outside, a spread is an extrapolation


class DimensionHead(Protocol):
    """Deviation to be expected of a part if nothing were compensated beyond the usual course, and its spread."""

    def mean_and_spread(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (P,), (P,) in um of rows (P, F)."""

    def shares(self, x: Floats) -> Floats:
        """What each of ``features.GROUPS`` adds to the mean (P, G) in um; nothing for ToolOffset."""


class PorosityHead(Protocol):
    """How strongly a force curve speaks for porosity."""

    def score(self, curves: NDArray[np.floating[Any]]) -> Floats:
        """Log-odds before calibration (P,) of curves (P, CURVE) in kN."""


@dataclass(frozen=True, slots=True)
class DimensionTrees:
    """Boosted trees for what comes on top of the measured course (um), and for the logarithm of the variance."""

    mean: TreeEnsemble
    log_variance: TreeEnsemble

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> DimensionTrees:
        """Inverse of ``to_tensors``."""
        return cls(*(TreeEnsemble.from_tensors(tensors, f"dimension.{part}.") for part in ("mean", "variance")))

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return {**self.mean.to_tensors("dimension.mean."), **self.log_variance.to_tensors("dimension.variance.")}

    def mean_and_spread(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (P,), (P,) in um."""
        spread = np.exp(0.5 * (self.log_variance.margin(x) - LOG_CHI2))
        return self.mean.margin(x) + f.measured_course(x), np.clip(spread, SIGMA_LOW, SIGMA_HIGH)

    def shares(self, x: Floats) -> Floats:
        """Path contributions to the mean, exact per row, summed by group (P, G)."""
        _, parts = self.mean.explain(x)
        out = np.zeros((len(x), len(f.GROUPS)))
        np.add.at(out.T, f.groups_of_features(), parts.T)
        out[:, f.INSPECTIONS] += f.measured_course(x)
        return out


@dataclass(frozen=True, slots=True)
class PorosityTrees:
    """Boosted trees over features of the force curve."""

    trees: TreeEnsemble

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> PorosityTrees:
        """Inverse of ``to_tensors``."""
        return cls(TreeEnsemble.from_tensors(tensors, "porosity."))

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return self.trees.to_tensors("porosity.")

    def score(self, curves: NDArray[np.floating[Any]]) -> Floats:
        """Log-odds before calibration (P,)."""
        return self.trees.margin(c.curve_features(curves))


@dataclass(frozen=True, slots=True)
class Calibration:
    """From a score to a probability: logistic in the score (Platt 1999), fitted on validation plants."""

    slope: float
    intercept: float

    def __call__(self, score: Floats) -> Floats:
        """Probability (P,)."""
        out: Floats = 0.5 * (1.0 + np.tanh(0.5 * (self.slope * score + self.intercept)))
        return out


def outside_score(mean: Floats, spread: Floats, tolerance: float) -> Floats:
    """Log-odds (P,) that a normal deviation of that mean and spread lies outside plus or minus ``tolerance``."""
    scale = spread * math.sqrt(2.0)
    upper, lower = (tolerance - mean) / scale, (tolerance + mean) / scale
    p = np.array([0.5 * (math.erfc(u) + math.erfc(v)) for u, v in zip(upper, lower, strict=True)])
    p = np.clip(p, 1e-9, 1.0 - 1e-9)
    return np.asarray(np.log(p) - np.log1p(-p))
