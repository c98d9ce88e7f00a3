"""A quantity as a normal distribution given features: a small torch network, and the fit of it and of its rival."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor, nn

from lineside_plugins.learning import network
from lineside_plugins.learning.network import Mlp, load_tensors, to_tensors
from lineside_plugins.learning.normal import NormalTrees, Tensors, log_squared
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns

Floats: TypeAlias = NDArray[np.float64]
HIDDEN = (64, 64)


class NormalMlp(nn.Module):
    """Scaled features and missing marks (R, 2F) -> mean and bounded log spread (R, 2), both in units of a scale."""

    def __init__(self, features: int, log_bounds: tuple[float, float]) -> None:
        super().__init__()
        self.log_bounds = log_bounds
        self.mlp = Mlp(2 * features, HIDDEN, 2)

    def forward(self, rows: Tensor) -> Tensor:
        """Mean and log standard deviation (R, 2)."""
        out = self.mlp(rows)
        return torch.stack([out[:, 0], out[:, 1].clamp(*self.log_bounds)], dim=1)


def normal_loss(output: Tensor, known: Sequence[Tensor]) -> Tensor:
    """Mean negative log-likelihood of a normal, constant left out; ``known`` = (target in units of the scale (R,),)."""
    z = (known[0] - output[:, 0]) * torch.exp(-output[:, 1])
    return (0.5 * z**2 + output[:, 1]).mean()


class NormalNetwork:
    """``NormalMlp`` with its normaliser behind the ``NormalHead`` interface; ``scale`` in the quantity's unit."""

    def __init__(self, model: NormalMlp, normaliser: Normaliser, scale: float, device: str = "cpu") -> None:
        self._model, self._normaliser, self._scale = model.to(device).eval(), normaliser, scale
        self._device = device

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[np.generic]], bounds: tuple[float, float], scale: float, device: str
    ) -> NormalNetwork:
        """Inverse of ``to_tensors``."""
        normaliser = Normaliser.from_tensors(tensors)
        model = NormalMlp(len(normaliser.mean), _log_bounds(bounds, scale))
        load_tensors(model, tensors, "network.", device)
        return cls(model, normaliser, scale, device)

    def to_tensors(self) -> Tensors:
        """Weights and normaliser as plain arrays."""
        return {**to_tensors(self._model, "network."), **self._normaliser.to_tensors()}

    def mean_and_spread(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (R,), (R,)."""
        out = self._run(self._normaliser(x))
        return out[:, 0] * self._scale, np.exp(out[:, 1]) * self._scale

    def shares(self, x: Floats, groups: NDArray[np.intp]) -> Floats:
        """By occlusion: how much the mean falls when a group of features is set to the training mean (R, G)."""
        rows = self._normaliser(x)
        twice, count = np.tile(groups, 2), int(groups.max()) + 1
        masked = np.repeat(rows[None], count + 1, axis=0)
        for g in range(count):
            masked[g + 1][:, twice == g] = 0.0
        mean = self._run(masked.reshape(-1, rows.shape[1]))[:, 0].reshape(count + 1, len(x)) * self._scale
        return np.asarray((mean[0] - mean[1:]).T, dtype=np.float64)

    def _run(self, rows: NDArray[np.float32]) -> Floats:
        with torch.inference_mode():
            return np.asarray(self._model(torch.from_numpy(rows).to(self._device)).cpu().numpy(), dtype=np.float64)


def fit_network(
    train: tuple[Floats, Floats],
    judge: tuple[Floats, Floats],
    *,
    bounds: tuple[float, float],
    scale: float,
    seed: int,
    device: str,
) -> NormalNetwork:
    """Fit to ``train`` = (features (R, F), target (R,)), stopped early by ``judge``."""
    torch.manual_seed(seed)
    normaliser = Normaliser.fit(train[0])
    model = NormalMlp(train[0].shape[1], _log_bounds(bounds, scale))
    data, held_out = ([torch.from_numpy(normaliser(x)), torch.from_numpy(y / scale).float()] for x, y in (train, judge))
    network.train(model, data, held_out, normal_loss, seed=seed)
    return NormalNetwork(model, normaliser, scale, device)


def fit_trees(
    x: Floats,
    target: Floats,
    *,
    mean: Mapping[str, Any],
    variance: Mapping[str, Any],
    bounds: tuple[float, float],
    seed: int,
) -> NormalTrees:
    """Fit boosted trees to the mean, then to what is left; ``mean`` and ``variance`` are scikit-learn's settings."""
    rows = seen_columns(x)
    fitted = HistGradientBoostingRegressor(**mean, early_stopping=False, random_state=seed).fit(rows, target)
    flat = TreeEnsemble.from_gradient_boosting(fitted)
    left = log_squared(target - flat.margin(x))
    spread = HistGradientBoostingRegressor(**variance, early_stopping=False, random_state=seed).fit(rows, left)
    return NormalTrees(flat, TreeEnsemble.from_gradient_boosting(spread), bounds)


def _log_bounds(bounds: tuple[float, float], scale: float) -> tuple[float, float]:
    return math.log(bounds[0] / scale), math.log(bounds[1] / scale)
