"""A row of the benchmark's table, and how the table and its last JSON line are written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning import metrics
from lineside_workers.training import table

Say = Callable[[str], None]
Statistic = Callable[[NDArray[np.intp]], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ``<dataset>.<metric>`` as measured, its interval, the tree baseline and a published figure.

    ``goal`` is a bound: met at or above it where ``higher_is_better``, else at or below. ``within`` is a goal of two
    sides, for a figure that may be neither lower nor higher. ``anchor_source`` names the publication, or says that
    there is none under this split.
    """

    dataset: str
    metric: str
    value: float
    low: float
    high: float
    seeds: int
    goal: float | None = None
    higher_is_better: bool = True
    trees: float | None = None
    anchor: float | None = None
    anchor_source: str = ""
    note: str = ""
    within: Sequence[float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.within is not None:
            return self.within[0] <= self.value <= self.within[1]
        if self.goal is None or math.isnan(self.value):
            return None
        return self.value >= self.goal if self.higher_is_better else self.value <= self.goal

    def cells(self) -> dict[str, object]:
        """The row as shown in the table."""
        verdict = {True: "met", False: "missed", None: ""}[self.met]
        sign = ">=" if self.higher_is_better else "<="
        goal = "" if self.goal is None else f"{sign} {self.goal:g}"
        return {
            "metric": f"{self.dataset}.{self.metric}",
            "value": self.value,
            "95 % interval": f"[{self.low:.4g}, {self.high:.4g}]",
            "seeds": self.seeds,
            "trees": self.trees,
            "anchor": self.anchor,
            "goal": f"{self.within[0]:g} to {self.within[1]:g}" if self.within else goal,
            "verdict": verdict,
            "note": self.note or self.anchor_source,
        }

    def figures(self) -> dict[str, float | None]:
        """The row as it stands in the last JSON line; a figure that is not there is null."""
        values = {"value": self.value, "low": self.low, "high": self.high, "trees": self.trees, "anchor": self.anchor}
        return {k: None if v is None or math.isnan(v) else round(float(v), 6) for k, v in values.items()}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic's mean over seeds and its 95 % interval over units drawn anew."""

    value: float
    low: float
    high: float
    seeds: int


def over_seeds(units: Sequence[str] | NDArray[np.str_], statistics: Sequence[Statistic], draws: int = 200) -> Estimate:
    """Mean over seeds of a statistic of rows, interval by drawing whole units; one ``Statistic`` per seed.

    Source: Efron, bootstrap percentile interval, cluster version.
    """

    def mean(rows: NDArray[np.intp]) -> float:
        return float(np.mean([statistic(rows) for statistic in statistics]))

    value, low, high = metrics.over_units(units, mean, draws=draws)
    return Estimate(value, low, high, len(statistics))


def mean_of(values: NDArray[np.generic]) -> Statistic:
    """The mean of ``values`` (R,) over the rows drawn."""
    numbers = np.asarray(values, dtype=np.float64)
    return lambda rows: float(numbers[rows].mean())


def print_table(rows: Iterable[Row], say: Say) -> None:
    """The table for people, then one line of JSON for programs."""
    listed = list(rows)
    say(table(row.cells() for row in listed))
    say(json.dumps({f"{row.dataset}.{row.metric}": row.figures() for row in listed}))
