"""A sensor that leaves the others, followed cell by cell on one machine.

What the other tags do not foretell (``learning.relations``) is compared with what it was on the same machine shortly
before. A level that steps while the machine stands is a sensor mounted anew, or a service: what came before counts no
more, unless it goes on the same way, for then it was no mounting. A level that moves while it works is a drift, until
it moves back or the machine has stood. All counts are of cells in which the machine works, none of wall time.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt
from statistics import median
from typing import Any

import numpy as np

from lineside_workers.learning.relations import AT_LOAD, LONG_STOP, STANDING, Relation

RECENT = 48  # cells at load that are compared: eight hours of work in cells of ten minutes
REFERENCE = 144  # cells at load before them: a day of work
LEAST = 24  # of either, from which on they are compared, by a wider limit
ALIKE = 8.0  # cells over which what remains stays alike, as long as a lot is machined
LEAST_GAIN = log(1.25)  # a smaller one is never told; what each limit costs and finds is measured in docs/drift.md
LEAST_SPREADS = 4.0  # of one cell, the same for tags that are not compared by ratio
OVER = 0.6  # of the limit, below which a drift is over
AFTER_STOP = 18  # cells at load by which a step is measured
STEP, STEP_SPREADS = 0.25, 1.5  # what steps at a stop by more was mounted anew: logarithm of the ratio; spreads
GOES_ON, WITHIN = 0.85, 54  # of the limit, and cells at load: what moves on so far after a step was no mounting
LOADS = 432  # cells by which the driver's usual level is known: three days of ten minutes
LOADS_LEAST = 36


@dataclass(slots=True)
class _Step:
    """A level that stepped at a stop: by how much, to where, from which reference, and how long ago in cells."""

    size: float
    level: float
    before: list[float]
    ago: int = 0


@dataclass(slots=True)
class SensorWatch:
    """Follows one tag of one machine. ``moved`` is how far it stands from where it was, in the relation's terms."""

    relation: Relation
    moved: float = 0.0
    drifted: bool = False
    _loads: deque[float] = field(default_factory=deque)
    _sorted: list[float] = field(default_factory=list)
    _reference: deque[float] = field(default_factory=lambda: deque(maxlen=REFERENCE))
    _recent: deque[float] = field(default_factory=deque)
    _stood: int = 0
    _fresh: list[float] | None = None
    _step: _Step | None = None

    @property
    def comparing(self) -> bool:
        """Whether it knows enough of the machine to compare."""
        return min(len(self._reference), len(self._recent)) >= LEAST

    @property
    def noise(self) -> float:
        """What the comparison errs by where nothing drifts; wider while few cells are known."""
        return self._noise(len(self._recent), len(self._reference)) if self.comparing else self._noise(LEAST, LEAST)

    @property
    def limit(self) -> float:
        """From where on it is told."""
        return max(self._floor, self.relation.bound * self.noise)

    @property
    def times(self) -> float:
        """How many times the limit it has moved."""
        return abs(self.moved) / self.limit

    @property
    def gain(self) -> float | None:
        """How many times its former level it shows; None for tags that are not compared by ratio."""
        return exp(self.moved) if self.relation.by_ratio else None

    @property
    def seen(self) -> str:
        """What it compares now, in words."""
        if not self.comparing:
            return (
                f"{self.relation.tag}: {len(self._reference)} cells at load in the reference and {len(self._recent)} "
                f"since; compared from {LEAST} each on"
            )
        moved, limit = (exp(v) if self.relation.by_ratio else v for v in (self.moved, self.limit))
        return (
            f"{self.relation.tag}: {len(self._recent)} cells at load against the {len(self._reference)} before; "
            f"{'gain' if self.relation.by_ratio else 'off by'} {moved:.2f}, told from {limit:.2f} on"
        )

    def add(self, cells: Mapping[str, np.ndarray]) -> None:
        """Take new cells (N,) of each tag in, in order of time; NaN where nothing was seen."""
        left = self.relation.remains(cells)
        for load, rest in zip(cells[self.relation.driver].tolist(), left.tolist(), strict=True):
            self._cell(load, rest)

    def missed(self, cells: int) -> None:
        """So many cells were never seen: whatever happened then, the machine may have stood."""
        self._stood += cells

    def to_json(self) -> dict[str, object]:
        """What it knows, in plain values; the relation is the model's."""
        step = self._step
        lists = {"loads": self._loads, "reference": self._reference, "recent": self._recent, "fresh": self._fresh}
        return {
            "tag": self.relation.tag, "moved": self.moved, "drifted": self.drifted, "stood": self._stood,
            **{name: None if values is None else _short(values) for name, values in lists.items()},
            "step": None if step is None else [step.size, step.level, _short(step.before), step.ago],
        }  # fmt: skip

    @classmethod
    def from_json(cls, relation: Relation, row: Mapping[str, Any]) -> SensorWatch:
        """Inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: Not of this version.
        """
        out = cls(relation, float(row["moved"]), bool(row["drifted"]))
        out._loads.extend(map(float, row["loads"]))
        out._sorted = sorted(out._loads)
        out._reference.extend(map(float, row["reference"]))
        out._recent.extend(map(float, row["recent"]))
        out._stood = int(row["stood"])
        out._fresh = None if row["fresh"] is None else list(map(float, row["fresh"]))
        if row["step"] is not None:
            size, level, before, ago = row["step"]
            out._step = _Step(float(size), float(level), list(map(float, before)), int(ago))
        return out

    @property
    def _floor(self) -> float:
        return LEAST_GAIN if self.relation.by_ratio else LEAST_SPREADS * self.relation.scale

    @property
    def _full_limit(self) -> float:
        """The limit once as many cells are known as are ever compared."""
        return max(self._floor, self.relation.bound * self._noise(RECENT, REFERENCE))

    def _noise(self, recent: int, reference: int) -> float:
        return self.relation.scale * sqrt(ALIKE / recent + ALIKE / reference)

    def _cell(self, load: float, rest: float) -> None:
        if load == load:  # noqa: PLR0124 - not NaN
            self._learn_load(load)
        if len(self._loads) < LOADS_LEAST:
            return
        high = self._sorted[round(0.9 * (len(self._sorted) - 1))]
        if not load >= STANDING * high:
            self._stood += 1
            return
        if self._stood >= LONG_STOP and self._recent:
            self._fresh = []
        self._stood = 0
        if load < AT_LOAD * high or rest != rest:  # noqa: PLR0124 - NaN
            return
        if self._fresh is None:
            self._take(rest)
            return
        self._fresh.append(rest)
        if len(self._fresh) == AFTER_STOP:
            self._after_stop(self._fresh)
            self._fresh = None

    def _learn_load(self, load: float) -> None:
        self._loads.append(load)
        insort(self._sorted, load)
        if len(self._loads) > LOADS:
            del self._sorted[bisect_left(self._sorted, self._loads.popleft())]

    def _after_stop(self, fresh: list[float]) -> None:
        level = median(fresh)
        size = level - median(list(self._recent)[-AFTER_STOP:])
        # A service does not make a drift worse: what was told before is ended by a step back alone.
        back = not self.drifted or size * self.moved < 0
        if back and abs(size) > (STEP if self.relation.by_ratio else STEP_SPREADS * self.relation.scale):
            known = self.comparing and not self.drifted
            self._step = _Step(size, level, [*self._reference, *self._recent]) if known else None
            self._reference.clear()
            self._recent.clear()
            self.moved, self.drifted = 0.0, False
        for rest in fresh:
            self._take(rest)

    def _take(self, rest: float) -> None:
        self._recent.append(rest)
        compared = min(RECENT, max(LEAST, (len(self._reference) + len(self._recent)) // 2))
        while len(self._recent) > compared:
            oldest = self._recent.popleft()
            if not self.drifted:
                self._reference.append(oldest)
        self._look_back()
        if not self.comparing:
            return
        self.moved = median(self._recent) - median(self._reference)
        self.drifted = abs(self.moved) > (OVER if self.drifted else 1.0) * self.limit

    def _look_back(self) -> None:
        """A step that goes on the same way was the beginning of a drift: what was known before it counts again."""
        step = self._step
        if step is None:
            return
        step.ago += 1
        if step.ago > WITHIN:
            self._step = None
        elif step.ago >= AFTER_STOP:
            now, limit = median(list(self._recent)[-AFTER_STOP:]), self._full_limit
            further = (now - step.level) * (1.0 if step.size > 0 else -1.0)
            if further > GOES_ON * limit and abs(now - median(step.before)) > limit:
                self._reference.clear()
                self._reference.extend(step.before)
                self._step = None


def _short(values: Sequence[float] | deque[float]) -> list[float]:
    return [float(f"{v:.6g}") for v in values]
