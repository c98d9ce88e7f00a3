"""A sensor that leaves the others, followed cell by cell on one machine.

What the other tags do not foretell (``learning.relations``) is compared with what it was on the same machine before.
A level that steps while the machine stands is a sensor mounted anew, or a service: what came before counts no more. A
level that moves while it works is a drift, until it moves back or the machine has stood.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, log
from typing import Any

import numpy as np

from lineside_workers.learning.relations import AT_LOAD, LONG_STOP, STANDING, Relation

RECENT = 48  # cells at load that are compared: eight hours of work in cells of ten minutes
REFERENCE_LEAST, REFERENCE_MOST = 48, 144  # cells at load they are compared with: from a shift to a day of work
BY_RATIO = log(1.65)  # a gain that is told; docs/drift.md has delays and false alarms measured with it
IN_SPREADS = 4.0  # of one cell, for tags that are not compared by ratio
OVER = 0.6  # of the limit, below which a drift is over
STEP = 0.6  # of the limit: what steps at a stop by more was mounted anew
AFTER_STOP = 18  # cells at load by which a step is measured
LOADS = 432  # cells by which the driver's usual level is known: three days of ten minutes
LOADS_LEAST = 36


@dataclass(slots=True)
class SensorWatch:
    """Follows one tag of one machine. ``moved`` is how far it stands from where it was, in the relation's terms."""

    relation: Relation
    moved: float = 0.0
    drifted: bool = False
    _loads: deque[float] = field(default_factory=lambda: deque(maxlen=LOADS))
    _reference: list[float] = field(default_factory=list)
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _stood: int = 0
    _fresh: list[float] | None = None

    @property
    def limit(self) -> float:
        """From where on it is told."""
        return BY_RATIO if self.relation.by_ratio else IN_SPREADS * self.relation.scale

    @property
    def times(self) -> float:
        """How many times the limit it has moved."""
        return abs(self.moved) / self.limit

    @property
    def gain(self) -> float | None:
        """How many times its former level it shows; None for tags that are not compared by ratio."""
        return exp(self.moved) if self.relation.by_ratio else None

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
        kept = {"loads": self._loads, "reference": self._reference, "recent": self._recent, "fresh": self._fresh}
        lists = {name: None if v is None else [float(f"{x:.6g}") for x in v] for name, v in kept.items()}
        return {"tag": self.relation.tag, "moved": self.moved, "drifted": self.drifted, "stood": self._stood, **lists}

    @classmethod
    def from_json(cls, relation: Relation, row: Mapping[str, Any]) -> SensorWatch:
        """Inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: Not of this version.
        """
        out = cls(relation, float(row["moved"]), bool(row["drifted"]))
        out._loads.extend(map(float, row["loads"]))
        out._reference.extend(map(float, row["reference"]))
        out._recent.extend(map(float, row["recent"]))
        out._stood = int(row["stood"])
        out._fresh = None if row["fresh"] is None else list(map(float, row["fresh"]))
        return out

    def _cell(self, load: float, rest: float) -> None:
        if load == load:  # noqa: PLR0124 - not NaN
            self._loads.append(load)
        if len(self._loads) < LOADS_LEAST:
            return
        high = float(np.quantile(self._loads, 0.9))
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

    def _after_stop(self, fresh: list[float]) -> None:
        before = float(np.median(list(self._recent)[-AFTER_STOP:]))
        if abs(float(np.median(fresh)) - before) > STEP * self.limit:
            self._reference.clear()
            self._recent.clear()
            self.moved, self.drifted = 0.0, False
        for rest in fresh:
            self._take(rest)

    def _take(self, rest: float) -> None:
        if len(self._recent) == RECENT and len(self._reference) < REFERENCE_MOST and not self.drifted:
            self._reference.append(self._recent[0])
        self._recent.append(rest)
        if len(self._reference) < REFERENCE_LEAST:
            return
        self.moved = float(np.median(self._recent) - np.median(self._reference))
        self.drifted = abs(self.moved) > (OVER if self.drifted else 1.0) * self.limit
