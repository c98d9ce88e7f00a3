"""Regression and forecasting: values with intervals, as changes on the scale of training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from lineside_plugins.learning import metrics
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns
from lineside_plugins.tasks.condition.answering import Answer
from lineside_plugins.tasks.condition.answers import Values, now
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.fields import COVERAGE
from lineside_plugins.tasks.condition.scorers import Constant, Grown, Scorer
from lineside_workers.condition.heads.base import Costs, Floats, Learned, Prepare, Problem, Settings
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError
from lineside_workers.learning.calibration import LevelBand, alike

PER_LEVEL = 40  # validation rows of a level of the value, at least, for an interval of its own
LEVELS = 4
MOST_STRETCHED = 3.0  # what needs more is not told by an interval
ENDS = ("low", "high", "errors")
ERRORS = np.linspace(0.005, 0.995, 100)


class Regression(Problem):
    """The labelled quantity."""

    coverage: float = COVERAGE

    def __init__(self, task: ConditionConfig, fit: Rows, costs: Costs) -> None:
        """Keep the scale of the training rows."""
        super().__init__(task, fit, costs)
        wanted = self.wanted(fit)
        self.middle, self.spread = np.nanmean(wanted, axis=0), np.maximum(np.nanstd(wanted, axis=0), 1e-9)
        self.outputs = wanted.shape[1]
        self.within: tuple[float | None, float | None] = (float(np.nanmin(wanted)), float(np.nanmax(wanted)))

    @staticmethod
    def usable(rows: Rows) -> Rows:
        """Rows with a value."""
        return rows.where(np.isfinite(rows.value))

    def wanted(self, rows: Rows) -> Floats:
        """What the network is to say (R, K), before scaling."""
        return rows.value[:, None]

    def truth(self, rows: Rows) -> Floats:
        """What the answer is to say (R, K)."""
        return self.wanted(rows)

    def naive(self, fit: Rows) -> Scorer:
        """The mean of training rows; for a forecast, that the tag stays where it is."""
        del fit
        return Constant(np.zeros(self.outputs))

    def grow(self, prepare: Prepare, fit: Rows, settings: Settings, seed: int) -> Grown:
        """One ensemble per value on squared error."""
        columns, wanted = seen_columns(prepare(fit.x)), self._scaled(fit)
        known = np.isfinite(wanted)
        grown = []
        for k in range(self.outputs):
            model = HistGradientBoostingRegressor(**settings, early_stopping=False, random_state=seed)
            model.fit(columns[known[:, k]], wanted[known[:, k], k])
            grown.append(TreeEnsemble.from_gradient_boosting(model))
        return Grown(tuple(grown))

    def targets(self, rows: Rows, scaled: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """Scaled values, and which are known."""
        del scaled
        wanted = self._scaled(rows)
        return np.nan_to_num(wanted).astype(np.float32), np.isfinite(wanted).astype(np.float32)

    def loss(self, out: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """Squared error of what is known."""
        return (rest[1] * (out - rest[0]) ** 2).sum() / rest[1].sum().clamp(min=1)

    def calibrate(self, raw: Floats, choose: Rows) -> Learned:
        """Scale, and an interval by level of the value."""
        known = {"middle": self.middle.tolist(), "spread": self.spread.tolist(), "within": list(self.within)}
        bare = {**known, "edges": [], "low": [], "high": [], "errors": [], "alarm": [None, None]}
        answer = self.answer(bare)
        assert isinstance(answer, Values)  # noqa: S101  both heads are served so
        said, truth = answer.values(raw, choose.x), self.truth(choose)
        bands = [_band(said[:, k], truth[:, k], choose.machine) for k in range(self.outputs)]
        return {
            **known,
            "edges": [b.edges.tolist() for b in bands],
            "low": [b.low.tolist() for b in bands],
            "high": [b.high.tolist() for b in bands],
            "errors": np.nanquantile(truth - said, ERRORS, axis=0).T.tolist(),
            "alarm": [self.task.alarm_below, self.task.alarm_above],
        }

    def short(self, answer: Answer, raw: Floats, rows: Rows) -> Floats:
        """How many times as wide each interval must be; 1 where it is wide enough."""
        said, truth = answer.quantities(raw, rows.x), self.truth(rows)
        return np.column_stack([_stretch(said[:, 3 * k : 3 * k + 3], truth[:, k]) for k in range(self.outputs)])

    def moved_out(self, learned: Learned, by: Floats) -> Learned:
        """With all errors so many times as large."""
        ends = {side: [(np.asarray(e) * f).tolist() for e, f in zip(learned[side], by, strict=True)] for side in ENDS}
        return {**learned, **ends}

    def told(self, by: Floats) -> str:
        """Factors."""
        return ", ".join(f"{b:.2f} times as wide" for b in by)

    def error(self, answer: Answer, raw: Floats, rows: Rows) -> float:
        """Root mean squared error on the scale of training rows, mean over values."""
        off = answer.quantities(raw, rows.x)[:, ::3] - self.truth(rows)
        return float((np.sqrt(np.nanmean(off**2, axis=0)) / self.spread).mean())

    def measures(self, answer: Answer, raw: Floats, rows: Rows) -> dict[str, float]:
        """Errors and intervals of each value, in its unit."""
        return value_measures(answer.quantities(raw, rows.x), self.truth(rows), self.names())

    def names(self) -> tuple[str, ...]:
        """What tells the values apart in a report."""
        return ("",)

    def _scaled(self, rows: Rows) -> Floats:
        out: Floats = (self.wanted(rows) - self.middle) / self.spread
        return out


class Forecasting(Regression):
    """Where the tag will be, as a change from where it is."""

    def __init__(self, task: ConditionConfig, fit: Rows, costs: Costs) -> None:
        """A tag may go where it has not been."""
        self._tag = list(task.tags).index(task.forecast_tag)
        super().__init__(task, fit, costs)
        self.middle = np.zeros(self.outputs)  # so that the naive rule says that the tag stays
        self.within = (None, None)

    @staticmethod
    def usable(rows: Rows) -> Rows:
        """Rows after which the tag was recorded for long enough, at one distance at least."""
        return rows.where(np.asarray(np.isfinite(rows.later).any(axis=1)))

    def wanted(self, rows: Rows) -> Floats:
        """Change from where the tag is."""
        out: Floats = rows.later - now(rows.x, self._tag)[:, None]
        return out

    def truth(self, rows: Rows) -> Floats:
        """Where it was."""
        return rows.later

    def names(self) -> tuple[str, ...]:
        """How far ahead."""
        return tuple(f"_{h:g}h" for h in self.task.ahead_h)


def value_measures(said: Floats, truth: Floats, names: Sequence[str]) -> dict[str, float]:
    """Errors and intervals of quantities (R, 3 * K) against ``truth`` (R, K); rows without truth left out."""
    out: dict[str, float] = {}
    for k, name in enumerate(names):
        known = np.isfinite(truth[:, k]) & np.isfinite(said[:, 3 * k])
        value, low, high = said[known, 3 * k : 3 * k + 3].T
        real = truth[known, k]
        out |= {
            f"rmse{name}": metrics.rmse(real, value),
            f"mae{name}": float(np.abs(value - real).mean()),
            f"coverage{name}": float(((low <= real) & (real <= high)).mean()),
            f"width{name}": float((high - low).mean()),
        }
    return out


def _stretch(said: Floats, truth: Floats) -> Floats:
    """By how much (R,) the interval about a value must be stretched to reach ``truth``, NaN where that is unknown.

    ``said`` (R, 3) has the value, its low and its high.
    """
    value, low, high = said.T
    error = truth - value
    reach = np.where(error > 0, high - value, low - value)
    factor = np.divide(error, reach, out=np.full(len(error), MOST_STRETCHED), where=reach != 0)
    return np.where(np.isnan(error), np.nan, np.clip(factor, 1.0, MOST_STRETCHED))


def _band(said: Floats, truth: Floats, machine: NDArray[np.str_]) -> LevelBand:
    """Errors by level of the value, as many levels as the rows allow.

    Raises:
        LabelError: Too few rows for an interval at all.
    """
    known = np.isfinite(truth) & np.isfinite(said)
    said, truth = said[known], truth[known]
    _, unit = np.unique(machine[known], return_inverse=True)
    weight = alike(unit.astype(np.int64))
    for levels in range(LEVELS, 0, -1):
        level = np.digitize(said, np.quantile(said, np.linspace(0, 1, levels + 1)[1:-1]) if len(said) else [])
        if levels > 1 and np.bincount(level, minlength=levels).min() < PER_LEVEL:
            continue  # too few, or so many alike that a level is empty
        try:
            return LevelBand.fit(said, truth, weight, COVERAGE, levels)
        except ValueError:
            continue
    raise LabelError(f"{len(said)} validation windows with a value give no interval of {COVERAGE:.0%}; label more")
