"""Why a forecast is what it is: the few tags that moved it, and the deletion test that checks the claim.

A tag's share is how far the forecast moves when all features of that tag are put back to a reference row: one forward
pass per tag, the same for trees, networks and their blend.
Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks (2014), occlusion; Samek et al.,
Evaluating the Visualization of What a Deep Neural Network Has Learned (2017), the deletion test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float32]
Floats: TypeAlias = NDArray[np.float64]
Model: TypeAlias = Callable[[Rows], Floats]


def tags_of(names: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    """Feature columns of each tag, from names like ``tag:what``; marks (``...:mark``) belong to no tag."""
    found: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        tag, _, what = name.partition(":")
        if what != "mark":
            found.setdefault(tag, []).append(column)
    return {tag: np.asarray(columns) for tag, columns in found.items()}


def shares(model: Model, rows: Rows, reference: Rows, tags: dict[str, NDArray[np.intp]]) -> Floats:
    """How far the output falls when each tag goes back to ``reference`` (F,): (R, tags), in the output's unit."""
    said = model(rows)
    return np.column_stack([said - model(without(rows, reference, [columns])) for columns in tags.values()])


def without(rows: Rows, reference: Rows, columns: Sequence[NDArray[np.intp]]) -> Rows:
    """``rows`` with the columns given put back to the reference."""
    out = rows.copy()
    for chosen in columns:
        out[:, chosen] = reference[chosen]
    return out


def strongest(
    model: Model, rows: Rows, reference: Rows, tags: dict[str, NDArray[np.intp]], named: int
) -> NDArray[np.intp]:
    """The ``named`` tags of each row that together made the output what it is, first reason first: (R, named).

    Greedy: each next tag is the one that, with those before it gone, takes the output furthest back towards the
    reference's. A tag that pulled the other way is no reason, however hard it pulled; two tags that say the same thing
    are not both named while a third has something to add.
    """
    direction = np.sign(model(rows) - model(reference[None]))
    cut, at = rows.copy(), np.arange(len(rows))
    found = np.empty((len(rows), named), dtype=np.intp)
    for step in range(named):
        ranked = shares(model, cut, reference, tags) * direction[:, None]
        for before in range(step):
            ranked[at, found[:, before]] = -np.inf
        found[:, step] = ranked.argmax(axis=1)
        cut = _without_each(cut, reference, tags, found[:, step : step + 1])
    return found


def deletion(
    model: Model, rows: Rows, reference: Rows, tags: dict[str, NDArray[np.intp]], named: int, seed: int
) -> tuple[Floats, Floats]:
    """How far each row's output moves (R,) without its ``named`` reasons, and without as many random tags."""
    said = model(rows)
    rng = np.random.default_rng(seed)
    random = np.argsort(rng.random((len(rows), len(tags))), axis=1)[:, :named]
    chosen = strongest(model, rows, reference, tags, named)
    first, other = (np.abs(model(_without_each(rows, reference, tags, c)) - said) for c in (chosen, random))
    return first, other


def _without_each(rows: Rows, reference: Rows, tags: dict[str, NDArray[np.intp]], chosen: NDArray[np.intp]) -> Rows:
    """``rows`` with each row's own ``chosen`` tags (R, n) put back to the reference."""
    columns, cut = list(tags.values()), rows.copy()
    for i, picked in enumerate(chosen):
        which = np.concatenate([columns[k] for k in picked])
        cut[i, which] = reference[which]
    return cut
