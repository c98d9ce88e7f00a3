"""How the tags of a machine hang together while it works, so that a sensor that leaves the others can be named.

One tag is foretold from the others by an additive model with knees at quantiles; each stretch between two stops has a
level of its own, for a sensor mounted anew shows another level of the same thing. Wear moves several tags and is
foretold; a sensor whose gain drifts moves alone, and what remains is its drift.

Only cells in which the machine works at load are compared: ``driver`` is the tag that says so. Huber's weights keep
the sensors that drifted in the recording itself from teaching their drift.

Source: Hastie and Tibshirani, Generalized Additive Models (1990), ch. 2, for the form; Huber, Robust Estimation of a
Location Parameter (1964), for the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
AT_LOAD, STANDING = 0.75, 0.3  # of the driver's 90 % quantile: from here on it works at load, below it stands
LONG_STOP = 8  # cells standing after which a sensor may have been mounted anew; shorter ones are waits and trips
EXPLAINED = 0.5  # share of the variation within stretches that a relation explains at least
MANY_TIMES = 3.0  # 98 % over 2 % quantile, from which a tag is compared by ratio
BOUND = 6.0  # spreads, where none was calibrated
_QUANTILES = (0.3, 0.6, 0.8, 0.9, 0.95, 0.98)
_LEAST = 200  # cells at load to learn from
_STRETCH = 20  # cells at load of a stretch that has a level
_RIDGE, _ROUNDS, _HUBER = 1e-2, 10, 1.5
_PRIOR = 3000.0  # cells that the general relation counts for beside a machine's own; chosen on plants 7 to 12


@dataclass(frozen=True, slots=True)
class Relation:
    """``tag`` foretold from ``inputs`` (K); ``knees`` (K, Q), ``weights`` (K * (Q + 1)), ``ratios`` (K + 1).

    ``ratios`` says which tags are compared by ratio, that is as logarithms: the inputs, then the tag itself.
    ``scale`` is the spread of what remains of one cell, in the unit of the tag or of its logarithm; ``bound`` says how
    many times the spread of a comparison a drift has to be. ``machine`` is whose relation it is, "" of any machine.
    """

    tag: str
    driver: str
    inputs: tuple[str, ...]
    knees: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    ratios: tuple[bool, ...]
    scale: float
    bound: float = BOUND
    machine: str = ""

    @property
    def by_ratio(self) -> bool:
        """Whether what remains is a logarithm."""
        return self.ratios[-1]

    def remains(self, cells: Mapping[str, Floats]) -> Floats:
        """What the others do not foretell of the tag (N,), NaN where one of them is missing; level of its own."""
        columns = [_seen(cells[t], ratio) for t, ratio in zip((*self.inputs, self.tag), self.ratios, strict=True)]
        told: Floats = columns[-1] - _design(columns[:-1], self.knees) @ np.array(self.weights)
        return told

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model's configuration."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Relation:
        """Inverse of ``to_json``."""
        knees = tuple(tuple(map(float, k)) for k in row["knees"])
        return cls(
            str(row["tag"]), str(row["driver"]), tuple(row["inputs"]), knees, tuple(map(float, row["weights"])),
            tuple(map(bool, row["ratios"])), float(row["scale"]), float(row.get("bound", BOUND)),
            str(row.get("machine", "")),
        )  # fmt: skip


def learn(machines: Sequence[Mapping[str, Floats]]) -> list[Relation]:
    """Relations of the tags that the others foretell; ``machines`` are cells in order of time, by tag.

    Takes a second for thirty machine weeks of four tags in cells of ten minutes.
    """
    tags = list(machines[0]) if machines else []
    ratios = {t: _by_ratio(np.concatenate([m[t] for m in machines])) for t in tags}
    found = [_learn(tag, [t for t in tags if t != tag], machines, ratios) for tag in tags if len(tags) > 1]
    return [relation for relation in found if relation is not None]


def _learn(
    tag: str, inputs: list[str], machines: Sequence[Mapping[str, Floats]], ratios: Mapping[str, bool]
) -> Relation | None:
    driver = max(inputs, key=lambda t: _together(machines, tag, t, ratios))
    if not ratios[driver]:
        return None  # nothing tells work from standing
    names = (*inputs, tag)
    gathered = _gathered(machines, names, [ratios[t] for t in names], driver)
    if gathered is None:
        return None
    x, y, group = gathered
    knees = tuple(tuple(float(v) for v in np.unique(np.quantile(c, _QUANTILES))) for c in x)
    weights, scale, explained = _fit(_design(x, knees), y, group)
    if explained < EXPLAINED:
        return None
    used = (*(ratios[t] for t in inputs), ratios[tag])
    return Relation(tag, driver, tuple(inputs), knees, tuple(map(float, weights)), used, scale)


def learn_own(general: Relation, machines: Sequence[Mapping[str, Floats]], name: str) -> Relation | None:
    """``general`` as it is on the machine ``name``, recorded as ``machines``; None where they hardly worked.

    The weights go from the general ones only as far as the recording makes them: a few weeks hold few lots and lives.
    """
    gathered = _gathered(machines, (*general.inputs, general.tag), general.ratios, general.driver)
    if gathered is None:
        return None
    columns, y, group = gathered
    x, known = _design(columns, general.knees), np.array(general.weights)
    own, scale, _ = _fit(x, y - x @ known, group, _PRIOR * np.diag(x.var(axis=0) + 1e-9))
    return replace(general, weights=tuple(map(float, known + own)), scale=scale, machine=name)


def _gathered(
    machines: Sequence[Mapping[str, Floats]], names: Sequence[str], ratios: Sequence[bool], driver: str
) -> tuple[list[Floats], Floats, NDArray[np.int64]] | None:
    """Cells at load (N,) of the inputs and of the tag, and the stretch each lies in; None if they are too few."""
    columns: list[list[Floats]] = [[] for _ in names]
    stretch: list[NDArray[np.int64]] = []
    for number, cells in enumerate(machines):
        chosen, which = _at_load(cells[driver])
        seen = [_seen(cells[t], ratio)[chosen] for t, ratio in zip(names, ratios, strict=True)]
        whole = np.isfinite(np.stack(seen)).all(axis=0)
        for column, values in zip(columns, seen, strict=True):
            column.append(values[whole])
        stretch.append(which[whole] + 100_000 * number)
    *x, y = [np.concatenate(c) for c in columns]
    _, group, size = np.unique(np.concatenate(stretch), return_inverse=True, return_counts=True)
    kept = size[group] >= _STRETCH
    if kept.sum() < _LEAST:
        return None
    return [c[kept] for c in x], y[kept], np.unique(group[kept], return_inverse=True)[1]


def _fit(x: Floats, y: Floats, group: NDArray[np.int64], prior: Floats | None = None) -> tuple[Floats, float, float]:
    """Weights, spread of what remains, and the share explained, with a level per group taken out of both sides."""
    worth, scale = np.ones(len(y)), 1.0
    weights: Floats = np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        total = np.bincount(group, worth)
        own = np.stack([np.bincount(group, worth * x[:, j]) / total for j in range(x.shape[1])], axis=1)
        dx, dy = x - own[group], y - (np.bincount(group, worth * y) / total)[group]
        square = (dx * worth[:, None]).T @ dx
        ridge = _RIDGE * np.diag((dx**2).sum(axis=0) + 1e-9) if prior is None else prior
        weights = np.asarray(np.linalg.solve(square + ridge, (dx * worth[:, None]).T @ dy), dtype=np.float64)
        left: Floats = dy - dx @ weights
        scale = max(1.4826 * float(np.median(np.abs(left))), 1e-9)
        worth = 1.0 / np.maximum(1.0, np.abs(left) / (_HUBER * scale))
    spread = float(np.median(np.abs(dy)))
    return weights, scale, 1.0 - (scale / max(1.4826 * spread, 1e-12)) ** 2


def _at_load(driver: Floats) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Cells at load, and the number of the stretch between two long stops that each lies in."""
    high = float(np.nanquantile(driver, 0.9)) if np.isfinite(driver).any() else np.nan
    stands = ~(driver >= STANDING * high)
    run = np.zeros(len(driver), dtype=np.int64)
    for i in np.flatnonzero(stands).tolist():
        run[i] = (run[i - 1] if i else 0) + 1
    which = np.cumsum(run == LONG_STOP)
    chosen = np.flatnonzero(driver >= AT_LOAD * high)
    return chosen, which[chosen]


def _together(machines: Sequence[Mapping[str, Floats]], tag: str, other: str, ratios: Mapping[str, bool]) -> float:
    """How closely two tags move together over all cells, 0..1."""
    one, two = (np.concatenate([_seen(m[t], ratios[t]) for m in machines]) for t in (tag, other))
    both = np.isfinite(one) & np.isfinite(two)
    if both.sum() < 3 or np.ptp(one[both]) == 0 or np.ptp(two[both]) == 0:
        return 0.0
    return abs(float(np.corrcoef(one[both], two[both])[0, 1]))


def _by_ratio(values: Floats) -> bool:
    seen = values[np.isfinite(values)]
    if not len(seen) or seen.min() <= 0:
        return False
    low, high = np.quantile(seen, [0.02, 0.98])
    return bool(high > MANY_TIMES * low)


def _seen(values: Floats, ratio: bool) -> Floats:
    if not ratio:
        return np.asarray(values, dtype=np.float64)
    return np.log(np.where(values > 0, values, np.nan))


def _design(columns: Sequence[Floats], knees: Sequence[Sequence[float]]) -> Floats:
    parts = [part for x, at in zip(columns, knees, strict=True) for part in (x, *(np.maximum(x - k, 0) for k in at))]
    out: Floats = np.stack(parts, axis=1)
    return out
