"""Trees in a third of their bytes, for a model that must stay small: ten bytes a node instead of twenty-nine.

A node and its left child lie behind each other, so that only the way to the right child is stored. What stands in
``split`` is an inner node's threshold or a leaf's output. Thresholds are rounded down to float32: a float32 row then
goes the same way at every node as by the float64 threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.trees import TreeEnsemble

Tensors: TypeAlias = dict[str, NDArray[np.generic]]
_MOST = np.iinfo(np.uint16).max


def pack(trees: TreeEnsemble, prefix: str = "") -> Tensors:
    """Small arrays for a safetensors file: outputs of leaves as float32, means of inner nodes as float16.

    Raises:
        ValueError: A tree has more nodes, or there are more features, than 16 bits count; store ``to_tensors``.
    """
    own = np.arange(len(trees.feature))
    leaf = trees.right == own
    way, column = trees.right - own, 2 * trees.feature + trees.missing_left
    if way.max() > _MOST or column.max() > _MOST or not np.array_equal(trees.left[~leaf], own[~leaf] + 1):
        raise ValueError(
            f"trees over {int(trees.feature.max()) + 1} features, right child at most {int(way.max())} nodes on, "
            f"cannot be packed into 16 bits ({_MOST}); store them with to_tensors"
        )
    return {
        prefix + "column": column.astype(np.uint16),
        prefix + "way": way.astype(np.uint16),
        prefix + "split": np.where(leaf, trees.value, _rounded_down(trees.threshold)).astype(np.float32),
        prefix + "mean": np.where(leaf, 0.0, trees.value).astype(np.float16),
        prefix + "roots": trees.roots.astype(np.int32),
        prefix + "base": trees.base,
        prefix + "depth": np.array([trees.depth], dtype=np.int32),
    }


def unpack(tensors: Mapping[str, NDArray[np.generic]], prefix: str = "") -> TreeEnsemble:
    """Inverse of ``pack``, within the rounding of outputs and means."""
    found: dict[str, NDArray[Any]] = {n: np.asarray(tensors[prefix + n]) for n in ("column", "way", "split", "mean")}
    own = np.arange(len(found["way"]))
    leaf = found["way"] == 0
    split = found["split"].astype(np.float64)
    return TreeEnsemble(
        feature=(found["column"] >> 1).astype(np.int64),
        threshold=np.where(leaf, np.inf, split),
        left=np.where(leaf, own, own + 1),
        right=own + found["way"],
        missing_left=(found["column"] & 1).astype(np.bool_),
        value=np.where(leaf, split, found["mean"]).astype(np.float64),
        roots=np.asarray(tensors[prefix + "roots"], dtype=np.int64),
        base=np.asarray(tensors[prefix + "base"], dtype=np.float64),
        depth=int(np.asarray(tensors[prefix + "depth"]).reshape(-1)[0]),
    )


def _rounded_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    near = values.astype(np.float32)
    below: NDArray[np.float32] = np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)
    return below
