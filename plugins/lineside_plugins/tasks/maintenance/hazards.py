"""Hazard models behind one small interface, and the boosted trees among them. The network lives in ``model.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.trees import Tensors, TreeEnsemble, sigmoid
from lineside_plugins.tasks.maintenance.features import feature_names
from lineside_plugins.tasks.maintenance.survival import INTERVALS

Floats: TypeAlias = NDArray[np.float64]

TAG_OF = {
    "vibration": "VibRms",
    "kurtosis": "VibKurtosis",
    "temperature": "SpindleTemp",
    "age": "State",
    "running": "State",
    "power": "SpindlePower",
    "mill": "SpindlePower",
}
GROUPS = ("VibRms", "VibKurtosis", "SpindleTemp", "SpindlePower", "State")


def groups_of_features() -> NDArray[np.intp]:
    """Which of ``GROUPS`` each feature belongs to, (F,)."""
    return np.array([GROUPS.index(TAG_OF[name.split("_")[0]]) for name in feature_names()])


class Hazards(Protocol):
    """P(failure in interval k | alive at its start) for rows of features."""

    def hazard(self, x: Floats, intervals: int = INTERVALS) -> Floats:
        """Hazards (R, intervals) of rows (R, F)."""

    def shares(self, x: Floats, intervals: int) -> Floats:
        """What each group of ``GROUPS`` adds to the log-odds of failing in the first intervals, (R, G)."""


@dataclass(frozen=True, slots=True)
class HazardTrees:
    """Boosted trees over F features and the interval's number; ``columns`` picks the features they may use."""

    trees: TreeEnsemble
    columns: NDArray[np.intp]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], prefix: str = "hazard.") -> HazardTrees:
        """Inverse of ``to_tensors``."""
        return cls(TreeEnsemble.from_tensors(tensors, prefix), np.asarray(tensors[prefix + "columns"]).astype(np.intp))

    def to_tensors(self, prefix: str = "hazard.") -> Tensors:
        """Plain arrays for a safetensors file."""
        return {**self.trees.to_tensors(prefix), prefix + "columns": self.columns.astype(np.int32)}

    def hazard(self, x: Floats, intervals: int = INTERVALS) -> Floats:
        """Hazards (R, intervals)."""
        return sigmoid(self.trees.margin(expand(x[:, self.columns], intervals))).reshape(len(x), intervals)

    def shares(self, x: Floats, intervals: int) -> Floats:
        """Path contributions, exact per row, averaged over the first intervals and summed by group (R, G)."""
        _, parts = self.trees.explain(expand(x[:, self.columns], intervals))
        by_feature = parts.reshape(len(x), intervals, -1).mean(axis=1)[:, :-1]
        out = np.zeros((len(x), len(GROUPS)))
        np.add.at(out.T, groups_of_features()[self.columns], by_feature.T)
        return out


def expand(x: Floats, intervals: int) -> Floats:
    """Rows (R * intervals, F + 1): each row once per interval, the interval's number last."""
    r, width = x.shape
    out = np.empty((r, intervals, width + 1))
    out[:, :, :width] = x[:, None, :]
    out[:, :, width] = np.arange(intervals)
    return out.reshape(r * intervals, width + 1)
