"""Raw scores of window statistics, (R, F) to (R, K): what a candidate learned, before a head reads it.

The kinds that need torch are in ``model.py``, which is imported only where one of them won.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.trees import TreeEnsemble
from lineside_plugins.tasks.condition.novelty import Novelty
from lineside_plugins.types import ModelData

Floats: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[np.generic]]
_LEAST = 1e-12  # a distance of nothing has no logarithm


class Scorer(Protocol):
    """Raw scores (R, K) of features (R, F) with NaN, and the tensors it is stored as."""

    @property
    def kind(self) -> str:
        """What ``stored`` makes of the tensors."""

    def __call__(self, rows: Floats) -> Floats:
        """Scores in the scale of the head that it was trained for."""

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The naive rule of most heads: the same ``values`` (K,) whatever the window."""

    values: Floats
    kind: str = "constant"

    def __call__(self, rows: Floats) -> Floats:
        """``values`` R times."""
        return np.repeat(self.values[None], len(rows), axis=0)

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return {"constant": self.values}


@dataclass(frozen=True, slots=True)
class ControlChart:
    """The naive rule for anomalies: log of the largest distance from ``middle`` (F,) in standard deviations (F,).

    Source: Shewhart, Economic Control of Quality of Manufactured Product (1931).
    """

    middle: Floats
    deviation: Floats
    kind: str = "chart"

    def __call__(self, rows: Floats) -> Floats:
        """Log of the distance (R, 1)."""
        off = np.abs(np.nan_to_num((rows - self.middle) / self.deviation))
        out: Floats = np.log(np.maximum(off.max(axis=1, keepdims=True), _LEAST))
        return out

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return {"chart.middle": self.middle, "chart.deviation": self.deviation}


@dataclass(frozen=True, slots=True)
class Grown:
    """One ensemble of boosted trees per output."""

    trees: tuple[TreeEnsemble, ...]
    kind: str = "trees"

    def __call__(self, rows: Floats) -> Floats:
        """Margins (R, K)."""
        return np.column_stack([one.margin(rows) for one in self.trees])

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return {
            name: value for k, one in enumerate(self.trees) for name, value in one.to_tensors(f"trees.{k}.").items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Grown:
        """Inverse of ``to_tensors``."""
        count = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("trees."))
        return cls(tuple(TreeEnsemble.from_tensors(tensors, f"trees.{k}.") for k in range(count)))


@dataclass(frozen=True, slots=True)
class Nearest:
    """Log of the distance to the nearest windows learned from, over the limit of ``novelty``."""

    novelty: Novelty
    kind: str = "nearest"

    def __call__(self, rows: Floats) -> Floats:
        """Log of the score (R, 1)."""
        out: Floats = np.log(np.maximum(self.novelty.score(rows), _LEAST))[:, None]
        return out

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return self.novelty.to_tensors("nearest.")


def stored(model: ModelData, device: str) -> Scorer:
    """The scorer a model holds; torch is imported only where it needs a network."""
    kind, tensors = str(model.config["scorer"]), model.tensors
    if kind == "constant":
        return Constant(np.asarray(tensors["constant"], dtype=np.float64))
    if kind == "chart":
        middle, deviation = (np.asarray(tensors[f"chart.{n}"], dtype=np.float64) for n in ("middle", "deviation"))
        return ControlChart(middle, deviation)
    if kind == "trees":
        return Grown.from_tensors(tensors)
    if kind == "nearest":
        return Nearest(Novelty.from_tensors(tensors, "nearest."))
    if kind == "onnx":
        from lineside_plugins.tasks.condition import distilled  # noqa: PLC0415  imports onnxruntime

        return distilled.Distilled(np.asarray(tensors[distilled.TENSOR], dtype=np.uint8))
    from lineside_plugins.tasks.condition import model as networks  # noqa: PLC0415  imports torch

    return networks.stored(kind, model, device)
