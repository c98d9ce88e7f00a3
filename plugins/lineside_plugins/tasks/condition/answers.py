"""What each head says: raw scores to quantities with units, the flag, its confidence, and an interval.

Everything a head learned besides its scorer is a small mapping of plain numbers, written by fine-tuning and kept in the
model's configuration as ``answer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lineside_plugins.learning.trees import sigmoid
from lineside_plugins.tasks.condition import features
from lineside_plugins.tasks.condition.answering import Answer, Flags, Floats
from lineside_plugins.tasks.condition.classes import Classes
from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_plugins.tasks.condition.fields import COVERAGE, LARGEST, order_of


@dataclass(frozen=True, slots=True)
class Probability(Answer):
    """Classification: the calibrated probability that the event follows."""

    slope: float
    offset: float
    threshold: float

    @property
    def limits(self) -> tuple[float, ...]:
        """The threshold."""
        return (self.threshold,)

    def quantities(self, raw: Floats, rows: Floats) -> Floats:
        """Probability (R, 1) of log-odds (R, 1)."""
        del rows
        return sigmoid(self.slope * raw[:, :1] + self.offset)

    def flag(self, said: Floats) -> Flags:
        """Above the threshold that costs least."""
        return np.asarray(said[:, 0] > self.threshold)

    def confidence(self, said: Floats) -> Floats:
        """The probability, or that of the contrary."""
        return np.where(self.flag(said), said[:, 0], 1.0 - said[:, 0])

    def worth_explaining(self, said: Floats) -> Flags:
        """What is near the threshold or above it."""
        return np.asarray(said[:, 0] > 0.5 * self.threshold)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Values below or above which the flag is raised; None where there is no such bound."""

    below: float | None = None
    above: float | None = None

    @property
    def limits(self) -> tuple[float, ...]:
        """Those that are set."""
        return tuple(limit for limit in (self.below, self.above) if limit is not None)

    def raised(self, values: Floats) -> Flags:
        """Which values (...,) lie beyond."""
        low = -np.inf if self.below is None else self.below
        high = np.inf if self.above is None else self.above
        return np.asarray((values < low) | (values > high))


@dataclass(frozen=True, slots=True)
class Values(Answer):
    """Regression and forecasting: K values, each with its interval.

    ``middle`` and ``spread`` (K,) undo the scale of training; a forecast is the change from where the tag is, ``tag``
    (its number; None for no forecast). The interval follows the level of each value: its ``edges`` (L - 1,) part L
    levels, ``low`` and ``high`` (L,) are the errors there. ``errors`` (K, N) are quantiles of all errors, ``within``
    what the quantity can be.
    """

    one_sided: ClassVar[bool] = False
    middle: Floats
    spread: Floats
    edges: tuple[Floats, ...]
    low: tuple[Floats, ...]
    high: tuple[Floats, ...]
    errors: Floats
    within: tuple[float, float]
    alarm: Alarm
    tag: int | None = None

    @property
    def limits(self) -> tuple[float, ...]:
        """The alarm's bounds."""
        return self.alarm.limits

    @property
    def main(self) -> int:
        """The value furthest ahead."""
        return 3 * (len(self.middle) - 1)

    def quantities(self, raw: Floats, rows: Floats) -> Floats:
        """Value, low and high of each output: (R, 3 * K)."""
        value = self.values(raw, rows)
        out = np.empty((len(value), 3 * value.shape[1]))
        for k in range(value.shape[1]):
            level = np.digitize(value[:, k], self.edges[k])
            bounds = (value[:, k], value[:, k] + self.low[k][level], value[:, k] + self.high[k][level])
            out[:, 3 * k : 3 * k + 3] = np.clip(np.column_stack(bounds), *self.within)
        return out

    def values(self, raw: Floats, rows: Floats) -> Floats:
        """Values (R, K) in their unit."""
        found = raw * self.spread + self.middle
        if self.tag is not None:
            found = found + now(rows, self.tag)[:, None]
        out: Floats = np.clip(found, *self.within)
        return out

    def flag(self, said: Floats) -> Flags:
        """Any value beyond the alarm's bounds."""
        return np.asarray(self.alarm.raised(said[:, ::3]).any(axis=1))

    def confidence(self, said: Floats) -> Floats:
        """Share of errors with which the truth stands on the same side, for the value furthest ahead."""
        if self.alarm == Alarm():
            return np.full(len(said), COVERAGE)
        truth = said[:, self.main, None] + self.errors[-1]
        beyond = self.alarm.raised(truth).mean(axis=1)
        sure: Floats = np.where(self.flag(said), beyond, 1.0 - beyond)
        return sure

    def interval(self, said: Floats) -> tuple[float, float]:
        """Of the value furthest ahead."""
        return float(said[self.main + 1]), float(said[self.main + 2])


@dataclass(frozen=True, slots=True)
class Quantiles(Answer):
    """Quantiles of a quantity, the one nearest the median first; the outermost are moved out by ``margin``."""

    one_sided: ClassVar[bool] = False
    levels: Floats
    middle: float
    spread: float
    margin: float
    within: tuple[float, float]
    alarm: Alarm

    @property
    def limits(self) -> tuple[float, ...]:
        """The alarm's bounds."""
        return self.alarm.limits

    def quantities(self, raw: Floats, rows: Floats) -> Floats:
        """Quantiles (R, K), the middle one first, then rising."""
        del rows
        order = order_of(self.levels)
        out: Floats = self.rising(raw)[:, order]
        return out

    def rising(self, raw: Floats) -> Floats:
        """Quantiles (R, K) from low to high: sorted, because they were learned one by one and may cross."""
        found = np.sort(raw * self.spread + self.middle, axis=1)
        found[:, 0] -= self.margin
        found[:, -1] += self.margin
        out: Floats = np.clip(np.sort(found, axis=1), *self.within)
        return out

    def flag(self, said: Floats) -> Flags:
        """The middle one beyond the alarm's bounds."""
        return self.alarm.raised(said[:, 0])

    def confidence(self, said: Floats) -> Floats:
        """Probability between the quantiles, by straight lines, that the truth stands on the same side."""
        if self.alarm == Alarm():
            return np.full(len(said), float(self.levels[-1] - self.levels[0]))
        rising = np.sort(said, axis=1)
        below, above = np.zeros(len(said)), np.zeros(len(said))
        for i, row in enumerate(rising):
            if self.alarm.below is not None:
                below[i] = np.interp(self.alarm.below, row, self.levels)
            if self.alarm.above is not None:
                above[i] = 1.0 - np.interp(self.alarm.above, row, self.levels)
        beyond = np.minimum(below + above, 1.0)
        return np.where(self.flag(said), beyond, 1.0 - beyond)

    def interval(self, said: Floats) -> tuple[float, float]:
        """The outermost quantiles."""
        return float(said.min()), float(said.max())


@dataclass(frozen=True, slots=True)
class Strangeness(Answer):
    """Anomaly: how far beyond the limit of healthy windows; ``slope`` and ``offset`` make that a probability."""

    abstains: ClassVar[bool] = False  # what is unlike anything learned from is what it is there to tell
    limit: float
    slope: float
    offset: float

    @property
    def limits(self) -> tuple[float, ...]:
        """The score is told in limits."""
        return (1.0,)

    def quantities(self, raw: Floats, rows: Floats) -> Floats:
        """Score (R, 1) of logarithmic scores (R, 1): 1 at the limit."""
        del rows
        out: Floats = np.exp(np.clip(raw[:, :1] - self.limit, -np.log(LARGEST), np.log(LARGEST)))
        return out

    def flag(self, said: Floats) -> Flags:
        """Beyond the limit."""
        return np.asarray(said[:, 0] > 1.0)

    def confidence(self, said: Floats) -> Floats:
        """Calibrated on validation units."""
        p = sigmoid(self.slope * np.log(said[:, 0]) + self.offset)
        return np.where(self.flag(said), p, 1.0 - p)

    def worth_explaining(self, said: Floats) -> Flags:
        """What is near the limit or beyond."""
        return np.asarray(said[:, 0] > 0.5)


def now(rows: Floats, tag: int) -> Floats:
    """Where tag number ``tag`` is at the end of each window: the mean of its last quarter (R,)."""
    at = tag * len(features.PARTS)
    mean, late = (rows[:, at + features.PARTS.index(p)] for p in ("mean", "late"))
    out: Floats = mean + np.nan_to_num(late)
    return out


def answer_of(config: ConditionConfig, learned: Mapping[str, Any]) -> Answer:
    """What was ``learned``, with the bounds that ``config`` sets itself."""
    if config.head is Head.CLASSIFICATION:
        return Probability(learned["slope"], learned["offset"], config.threshold or learned["threshold"])
    if config.head is Head.CLASSES:
        slope, offset = (np.asarray(learned[n], dtype=np.float64) for n in ("slope", "offset"))
        return Classes(slope, offset, config.threshold or learned["threshold"])
    if config.head is Head.ANOMALY:
        return Strangeness(learned["limit"], learned["slope"], learned["offset"])
    below, above = learned["alarm"]
    alarm = Alarm(
        below if config.alarm_below is None else config.alarm_below,
        above if config.alarm_above is None else config.alarm_above,
    )
    low, high = learned["within"]
    within = (-np.inf if low is None else low, np.inf if high is None else high)
    if config.head is Head.QUANTILES:
        levels = np.asarray(config.quantiles)
        return Quantiles(levels, learned["middle"], learned["spread"], learned["margin"], within, alarm)
    middle, spread, errors = (np.asarray(learned[n], dtype=np.float64) for n in ("middle", "spread", "errors"))
    edges, lows, highs = (tuple(np.asarray(a, dtype=np.float64) for a in learned[n]) for n in ("edges", "low", "high"))
    tag = list(config.tags).index(config.forecast_tag) if config.head is Head.FORECASTING else None
    return Values(middle, spread, edges, lows, highs, errors, within, alarm, tag)
