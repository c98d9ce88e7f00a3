"""The remaining-life model of all four C-MAPSS subsets: fitted once per seed, kept, and used by several rows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import engines
from benchmarks.models.engines import Fleet, Split
from benchmarks.models.setting import Setting
from lineside_plugins.learning import blend
from lineside_plugins.learning.blend import Blend
from lineside_plugins.learning.network import Schedule
from lineside_workers.learning import heads
from lineside_workers.learning.datasets import cmapss
from lineside_workers.learning.heads import BlendRecipe, fit_folds

RECIPE = BlendRecipe(
    bounds=(0.0, cmapss.CAP),
    iterations=300,
    rate=0.06,
    tree_rows=40_000,
    networks=1,
    schedule=Schedule(epochs=12, batch=512, learning_rate=3e-3, weight_decay=1e-2, patience=12, noise=0.1),
)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, and what its members said of ``rows`` (R,) of engines that they were not trained on: ``said`` (R,)."""

    model: Blend
    rows: NDArray[np.intp]
    said: NDArray[np.float64]


def parted(setting: Setting, fleet: Fleet, tested: Fleet, seed: int) -> Split:
    """Engines to fit, and those held out of every subset whose official test set is not scored."""
    held_out = tuple(s for s in cmapss.SUBSETS if setting.validate or s not in tested.subset)
    return engines.split(fleet, seed, held_out=held_out)


def fitted(setting: Setting, fleet: Fleet, split: Split, seed: int) -> Fitted:
    """One pooled model; each of its members leaves out a fold of the engines and speaks of those when calibrating.

    Kept beside the feature tables, because size and reasons are measured on the same model.
    """
    marks = f"{'validate' if setting.validate else 'test'}{'-quick' if setting.quick else ''}"

    def build() -> dict[str, NDArray[Any]]:
        rows = fleet.of(split.fit, every=6 if setting.quick else 2, first=10)
        members = fit_folds(fleet.table(rows), split.fold[fleet.engine[rows]], RECIPE, seed, setting.device)
        asked = fleet.of(split.fit, every=3)
        said, fold = np.empty(len(asked)), split.fold[fleet.engine[asked]]
        for k, member in enumerate(members):
            said[fold == k] = member(fleet.rows[asked[fold == k]])
        return {"rows": asked, "said": said, **Blend.mean_of(members).to_tensors()}

    stored = setting.cached(f"cmapss-model-{seed}-{marks}", [heads, engines, blend, sys.modules[__name__]], build)
    return Fitted(Blend.from_tensors(stored, RECIPE.hidden, "cpu"), stored["rows"], stored["said"])
