"""Heads over feature tables: the candidates every training compares, and their blend.

Networks and boosting see training rows; early stopping sees validation rows, of other units than those trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from lineside_plugins.learning.blend import Blend
from lineside_plugins.learning.network import Mlp, Schedule, train
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.trees import TreeEnsemble

Rows: TypeAlias = NDArray[np.float32]
Floats: TypeAlias = NDArray[np.float64]


_WATCHED = 2000  # training rows whose loss a fold's networks are watched by: no held-out row may choose an epoch
_SCHEDULE = Schedule(epochs=6, batch=512, learning_rate=3e-3, weight_decay=1e-2, patience=6, noise=0.1)


@dataclass(frozen=True, slots=True)
class Table:
    """Features ``rows`` float32 (R, F) and their ``target`` float64 (R,)."""

    rows: Rows
    target: Floats

    def part(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Table:
        """The rows chosen by index or mask."""
        return Table(self.rows[which], self.target[which])


@dataclass(frozen=True, slots=True)
class BlendRecipe:
    """How a ``Blend`` is fitted; ``tree_rows`` bounds the rows that boosting sees, drawn at random."""

    bounds: tuple[float, float]
    iterations: int = 250
    leaves: int = 16
    rate: float = 0.06
    tree_rows: int = 40_000
    networks: int = 2
    hidden: tuple[int, ...] = (96, 48)
    dropout: float = 0.15
    schedule: Schedule = _SCHEDULE


def fit_folds(
    table: Table, fold: NDArray[np.int64], recipe: BlendRecipe, seed: int, device: str = "cpu"
) -> list[Blend]:
    """A blend per fold, each trained without that fold's rows; ``fold`` (R,) counts from 0, units stay whole in one.

    Their mean (``Blend.mean_of``) is the model; what the member that never saw a unit says of it is an honest residual,
    so that every unit both trains and calibrates. Source: Barber et al., Predictive inference with the jackknife+
    (2021), CV+.
    """
    normaliser = Normaliser.fit(table.rows)
    members = []
    for k in range(int(fold.max()) + 1):
        kept = table.part(fold != k)
        some = kept.part(np.random.default_rng(seed).permutation(len(kept.rows))[:_WATCHED])
        members.append(fit_blend(kept, some, recipe, 100 * seed + k, normaliser, device))
    return members


def fit_blend(
    fit: Table,
    validation: Table,
    recipe: BlendRecipe,
    seed: int,
    normaliser: Normaliser | None = None,
    device: str = "cpu",
) -> Blend:
    """Boost trees and train networks on the same table, scaled by ``normaliser`` where one is shared.

    Networks train on ``device`` (``cpu``, ``cuda``) and come back to the CPU.
    """
    trees = fit_trees(fit, recipe, seed)
    normaliser = normaliser or Normaliser.fit(fit.rows)
    low, high = recipe.bounds
    inputs = _inputs(fit)
    data, held_out = (_tensors(table, normaliser, inputs, recipe.bounds, device) for table in (fit, validation))
    networks = []
    for i in range(recipe.networks):
        torch.manual_seed(1000 * seed + i)
        network = Mlp(inputs, recipe.hidden, 1, recipe.dropout).to(device)
        train(network, data, held_out, _squared, seed=seed, schedule=recipe.schedule)
        networks.append(network.cpu())
    return Blend(trees, tuple(networks), normaliser, low, high)


def distil(teacher: Blend, fit: Table, validation: Table, recipe: BlendRecipe, seed: int, device: str = "cpu") -> Mlp:
    """Train one network to say what ``teacher`` says on the same rows, labels not needed.

    Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network (2015).
    """
    inputs = _inputs(fit)
    said = [Table(table.rows, teacher(table.rows)) for table in (fit, validation)]
    data, held_out = (_tensors(table, teacher.normaliser, inputs, recipe.bounds, device) for table in said)
    torch.manual_seed(seed)
    student = Mlp(inputs, recipe.hidden, 1, recipe.dropout).to(device)
    train(student, data, held_out, _squared, seed=seed, schedule=recipe.schedule)
    return student.cpu()


def fit_trees(fit: Table, recipe: BlendRecipe, seed: int, quantile: float | None = None) -> TreeEnsemble:
    """Boost trees on the mean, or on a ``quantile`` of the target."""
    chosen = np.random.default_rng(seed).permutation(len(fit.rows))[: recipe.tree_rows]
    model = HistGradientBoostingRegressor(
        loss="squared_error" if quantile is None else "quantile",
        quantile=quantile,
        max_iter=recipe.iterations,
        learning_rate=recipe.rate,
        max_leaf_nodes=recipe.leaves,
        min_samples_leaf=40,
        max_features=0.3,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=seed,
    )
    return TreeEnsemble.from_gradient_boosting(model.fit(fit.rows[chosen], fit.target[chosen]))


def _squared(out: torch.Tensor, rest: Sequence[torch.Tensor]) -> torch.Tensor:
    return ((out - rest[0]) ** 2).mean()


def _inputs(fit: Table) -> int:
    """What a network reads of each row: a mark beside each feature only where some feature is missing somewhere."""
    features: int = fit.rows.shape[1]
    return features if np.isfinite(fit.rows).all() else 2 * features


def _tensors(
    table: Table, normaliser: Normaliser, inputs: int, bounds: tuple[float, float], device: str
) -> list[torch.Tensor]:
    low, high = bounds
    share = ((table.target - low) / (high - low)).astype(np.float32)
    given = normaliser(table.rows)[:, :inputs]
    return [torch.from_numpy(given).contiguous().to(device), torch.from_numpy(share)[:, None].to(device)]
