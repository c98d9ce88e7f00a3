"""Gradient-boosted trees as flat arrays: no scikit-learn at inference, all trees of all rows walked at once.

scikit-learn's ``predict`` costs about a millisecond per call whatever the batch; a minute's five windows need less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[np.generic]]
_FIELDS = ("feature", "threshold", "left", "right", "missing_left", "value", "roots", "base")


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """An additive ensemble of binary trees over F features; N nodes of M trees lie behind each other.

    ``feature`` int64 (N,), ``threshold`` float64 (N,), ``left`` and ``right`` int64 (N,) (a leaf points to itself),
    ``missing_left`` bool (N,), ``value`` float64 (N,) (a leaf's output; elsewhere the mean of the leaves below,
    weighted by training rows), ``roots`` int64 (M,), ``base`` float64 (1,), ``depth`` = longest path.
    """

    feature: NDArray[np.int64]
    threshold: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: Floats
    roots: NDArray[np.int64]
    base: Floats
    depth: int
    _column: NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _child: NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out what a walk reads: each feature stands twice in a row, missing as +inf, then as -inf."""
        object.__setattr__(self, "_column", (2 * self.feature + self.missing_left).astype(np.intp))
        object.__setattr__(self, "_child", np.stack([self.right, self.left], axis=1).astype(np.intp).reshape(-1))

    @classmethod
    def from_gradient_boosting(cls, model: Any) -> TreeEnsemble:
        """Flatten a fitted ``HistGradientBoostingClassifier`` (two classes) or ``...Regressor``.

        Raises:
            ValueError: More than one tree per iteration, or categorical splits; train one binary model per class.
        """
        groups = model._predictors  # noqa: SLF001  scikit-learn has no public access to the nodes; a test pins equality
        if any(len(group) != 1 for group in groups):
            raise ValueError(f"model grows {len(groups[0])} trees per iteration; expected 1: use a binary model")
        nodes = [group[0].nodes for group in groups]
        if any(n["is_categorical"].any() for n in nodes):
            raise ValueError("model has categorical splits; expected numeric ones: encode the categories as numbers")
        starts = np.concatenate([[0], np.cumsum([len(n) for n in nodes])])
        flat = np.concatenate(nodes)
        offset = np.repeat(starts[:-1], np.diff(starts))
        own = np.arange(len(flat))
        leaf = flat["is_leaf"].astype(bool)
        left = np.where(leaf, own, flat["left"].astype(np.int64) + offset)
        right = np.where(leaf, own, flat["right"].astype(np.int64) + offset)
        return cls(
            feature=np.where(leaf, 0, flat["feature_idx"]).astype(np.int64),
            threshold=np.where(leaf, np.inf, flat["num_threshold"]).astype(np.float64),
            left=left.astype(np.int64),
            right=right.astype(np.int64),
            missing_left=(leaf | flat["missing_go_to_left"].astype(bool)),
            value=_means_below(flat, leaf, left, right),
            roots=starts[:-1].astype(np.int64),
            base=np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1),  # noqa: SLF001  as above
            depth=int(flat["depth"].max()),
        )

    @classmethod
    def mean_of(cls, members: Sequence[TreeEnsemble]) -> TreeEnsemble:
        """One ensemble that scores the mean of its members' scores."""
        starts = np.cumsum([0, *(len(m.feature) for m in members)])
        placed = list(zip(members, starts[:-1], strict=True))
        return cls(
            feature=np.concatenate([m.feature for m in members]),
            threshold=np.concatenate([m.threshold for m in members]),
            left=np.concatenate([m.left + at for m, at in placed]),
            right=np.concatenate([m.right + at for m, at in placed]),
            missing_left=np.concatenate([m.missing_left for m in members]),
            value=np.concatenate([m.value for m in members]) / len(members),
            roots=np.concatenate([m.roots + at for m, at in placed]),
            base=np.mean([m.base for m in members], axis=0),
            depth=max(m.depth for m in members),
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], prefix: str = "") -> TreeEnsemble:
        """Inverse of ``to_tensors``."""
        found: dict[str, Any] = {name: np.ascontiguousarray(tensors[prefix + name]) for name in _FIELDS}
        for name in ("feature", "left", "right", "roots"):
            found[name] = found[name].astype(np.int64)
        found["missing_left"] = found["missing_left"].astype(np.bool_)
        return cls(**found, depth=int(np.asarray(tensors[prefix + "depth"]).reshape(-1)[0]))

    def to_tensors(self, prefix: str = "") -> Tensors:
        """Plain arrays for a safetensors file; thresholds stay float64 so that no row changes sides."""
        small: Tensors = {prefix + name: np.asarray(getattr(self, name)) for name in _FIELDS}
        for name in ("feature", "left", "right", "roots"):
            small[prefix + name] = small[prefix + name].astype(np.int32)
        small[prefix + "missing_left"] = self.missing_left.astype(np.uint8)
        small[prefix + "depth"] = np.array([self.depth], dtype=np.int32)
        return small

    def first(self, trees: int) -> TreeEnsemble:
        """The ensemble cut after its first ``trees`` trees: the model as it stood at that boosting iteration."""
        end = len(self.feature) if trees >= len(self.roots) else int(self.roots[trees])
        return TreeEnsemble(
            self.feature[:end],
            self.threshold[:end],
            self.left[:end],
            self.right[:end],
            self.missing_left[:end],
            self.value[:end],
            self.roots[:trees],
            self.base,
            self.depth,
        )

    def margin(self, rows: NDArray[np.floating[Any]]) -> Floats:
        """Raw score (R,) of ``rows`` (R, F); NaN goes the way missing values went in training."""
        at, _ = self._walk(np.asarray(rows, dtype=np.float64), explain=False)
        out: Floats = self.base[0] + self.value.take(at).sum(axis=1)
        return out

    def explain(self, rows: NDArray[np.floating[Any]]) -> tuple[Floats, Floats]:
        """Raw score (R,) and its exact split over features (R, F) along each tree's path.

        ``score = base + sum of root values + contributions.sum(axis=1)``.
        Source: A. Saabas, Interpreting random forests (2014): change of the node mean at each split.
        """
        at, shares = self._walk(np.asarray(rows, dtype=np.float64), explain=True)
        return self.base[0] + self.value.take(at).sum(axis=1), shares

    def _walk(self, x: Floats, *, explain: bool) -> tuple[NDArray[np.intp], Floats]:
        r, f = x.shape
        twice = np.empty((r, f, 2))
        missing = np.isnan(x)
        twice[:, :, 0] = np.where(missing, np.inf, x)
        twice[:, :, 1] = np.where(missing, -np.inf, x)
        flat = twice.reshape(-1)
        row = (np.arange(r) * (2 * f))[:, None]
        at = np.repeat(self.roots[None], r, axis=0)
        shares = np.zeros(r * f)
        for _ in range(self.depth):
            cell = self._column.take(at)
            cell += row
            go_left = flat.take(cell) <= self.threshold.take(at)
            nxt = self._child.take(2 * at + go_left)
            if explain:
                change = self.value.take(nxt) - self.value.take(at)
                shares += np.bincount((cell >> 1).reshape(-1), change.reshape(-1), minlength=r * f)
            at = nxt
        return at, shares.reshape(r, f)


def seen_columns(rows: NDArray[np.floating[Any]]) -> Floats:
    """Training rows (R, F) in which a feature that is missing everywhere is 0: scikit-learn cannot bin it.

    No tree splits on a constant, so the fitted model does not depend on what stands there.
    """
    missing = np.isnan(rows).all(axis=0)
    out: Floats = np.where(missing, 0.0, rows)
    return out


def _means_below(
    flat: NDArray[Any], leaf: NDArray[np.bool_], left: NDArray[np.int64], right: NDArray[np.int64]
) -> Floats:
    """Leaf values, and at inner nodes the mean of the leaves below, weighted by training rows."""
    value = np.where(leaf, flat["value"], 0.0).astype(np.float64)
    count = flat["count"].astype(np.float64)
    for depth in range(int(flat["depth"].max()), -1, -1):
        inner = np.flatnonzero(~leaf & (flat["depth"] == depth))
        le, ri = left[inner], right[inner]
        value[inner] = (value[le] * count[le] + value[ri] * count[ri]) / np.maximum(count[le] + count[ri], 1.0)
    return value


def sigmoid(score: NDArray[np.floating[Any]]) -> Floats:
    """Probability of a raw log-odds score, without overflow at either end."""
    out: Floats = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(score, dtype=np.float64)))
    return out
