"""Steel plant energy: kWh in the quarter of an hour twelve hours ahead, and the band that holds 80 % of them.

Split by time: the last 20 % of the year is the test. A row knows readings up to its own time, and the calendar of the
quarter forecast (public holidays included), nothing else of it. The test is walked through as a plant would: each
forecast uses every reading up to its own time, and all trees are fitted anew every fortnight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.models.row import Row, mean_of, over_seeds
from benchmarks.models.setting import Setting
from lineside_plugins.learning import conformal
from lineside_plugins.learning.analogues import Analogues, Moments
from lineside_plugins.learning.windows import lagged, rolling_mean
from lineside_workers.learning import calibration
from lineside_workers.learning.calibration import Bounds
from lineside_workers.learning.datasets import steel
from lineside_workers.learning.quantile_forest import QuantileForest, pooled

AHEAD = 48  # quarters of an hour
DAY, WEEK = 96, 672
TEST_FROM, CALIBRATE = 0.80, 0.12  # shares of the year
REFIT = 2 * WEEK  # quarters between two fits of the trees
COVERAGE = 0.80
STEP_KWH = 0.5  # change of the band's margin per miss
GOAL_MAE = 8.0
# Chosen on the year's days from 50 to 80 %: any of half or twice these costs up to 0.3 kWh there.
LIKE = Analogues(nearest=41, other_kind=1.0, ageing=1.0)
LIKE_QUANTILES, MEDIAN = ((1 - COVERAGE) / 2, 0.25, 0.5, 0.75, (1 + COVERAGE) / 2), 2
HOURS, FADES_H, WEEKLY = 48, 12.0, 0.5
RUNNING_KWH, FULL_KWH = 20.0, 75.0  # a plant that stands uses 3 to 5 kWh, one that runs about 50 or about 100
DRAWS = 6  # targets from each tree's leaf
SATURDAY, SUNDAY = 5, 6
# Public holidays of South Korea, where the plant stands, in 2018. Source: Act on Public Holidays, calendar of 2018
HOLIDAYS = (
    "2018-01-01", "2018-02-15", "2018-02-16", "2018-02-17", "2018-03-01", "2018-05-05",
    "2018-05-07", "2018-05-22", "2018-06-06", "2018-06-13", "2018-08-15", "2018-09-24",
    "2018-09-25", "2018-09-26", "2018-10-03", "2018-10-09", "2018-12-25",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Feature ``rows`` (R, F) in time order, ``target`` (R,) kWh, ``weekly`` (R,) the same quarter a week earlier."""

    rows: NDArray[np.float64]
    target: NDArray[np.float64]
    weekly: NDArray[np.float64]
    day: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Forest:
    """Randomised trees."""

    trees: int
    leaf: int
    share: float

    def drawn(
        self, fit: NDArray[np.float32], target: NDArray[np.float64], rows: NDArray[np.float32], seed: int
    ) -> NDArray[np.float64]:
        """Targets (D, R) that came true in the leaves that ``rows`` fall into."""
        return QuantileForest.fit(self._of(seed), fit, target).drawn(rows, DRAWS, seed)

    def said(
        self, fit: NDArray[np.float32], target: NDArray[np.float64], rows: NDArray[np.float32], seed: int
    ) -> NDArray[np.float64]:
        """Leaf means (trees, R), each tree's own."""
        forest = self._of(seed).fit(fit, target)
        return np.asarray([tree.predict(rows) for tree in forest.estimators_])

    def _of(self, seed: int) -> ExtraTreesRegressor:
        return ExtraTreesRegressor(self.trees, min_samples_leaf=self.leaf, max_features=self.share, random_state=seed)


# Chosen on six fortnights from 30 to 80 % of the year; trees alone, as many as both forests together, are the baseline.
OF_ANALOGUES, OF_DAYS, ALONE = Forest(60, 8, 0.3), Forest(40, 8, 0.3), Forest(100, 3, 0.5)
FORTNIGHTS = (0.30, 0.39, 0.48, 0.57, 0.66, 0.755)  # --validate walks through a fortnight from each share of the year


def run(setting: Setting) -> list[Row]:
    """Error of two forests' common median, one reading analogues, one the days before; the analogues' band."""
    readings = steel.read(setting.data)
    data = forecasts(readings)
    rows = len(data.target)
    first = int(rows * (FORTNIGHTS[-1] if setting.validate else TEST_FROM))
    starts = [int(rows * share) for share in FORTNIGHTS] if setting.validate else range(first, rows, REFIT)
    blocks = [np.arange(start, min(start + REFIT, rows)) for start in starts]
    test = np.concatenate(blocks)
    like = LIKE.forecast(described(readings), 0, LIKE_QUANTILES)
    tables = _filled(data.rows), _filled(data.rows, like.T), _filled(data.rows, days_before(readings))
    target, errors = data.target[test], []
    for seed in range(setting.seeds):
        median = _walked(tables, data.target, blocks, seed, quick=setting.quick)
        errors.append(np.abs(median - target))
        setting.say(f"steel: seed {seed} MAE {errors[-1].mean():.2f}")
    alone = np.abs(_alone(tables[0], data.target, blocks, quick=setting.quick) - target).mean()
    setting.say(f"steel: trees alone {alone:.2f}")
    end = int(blocks[-1][-1]) + 1
    calibrate = slice(first - int(rows * CALIBRATE), end)
    inside, width = _band(Bounds(like[0, calibrate], like[-1, calibrate]), data.target[calibrate], end - first)
    mae = over_seeds(data.day[test], [mean_of(e) for e in errors])
    cover = over_seeds(data.day[first:end], [mean_of(inside)])
    weekly = float(np.abs(data.weekly[test] - target).mean())
    nearest = float(np.abs(like[MEDIAN, test] - target).mean())
    note = f"walked through; analogues alone {nearest:.2f}, same quarter a week before {weekly:.2f} kWh"
    width_note = f"goal 0.77 to 0.83; mean width {width:.1f} kWh"
    return [
        Row("steel", "mae", mae.value, mae.low, mae.high, mae.seeds, GOAL_MAE, False, float(alone), note=note),
        Row("steel", "coverage", cover.value, cover.low, cover.high, cover.seeds, note=width_note),
    ]


def forecasts(readings: steel.Readings) -> Forecasts:
    """One row per moment whose target lies in the year; features as the module says."""
    usage = readings.values[:, :1]
    ahead = readings.end[AHEAD:] - np.timedelta64(steel.PERIOD_MIN, "m")  # start of the quarter forecast
    now = len(readings.end) - AHEAD
    same_day = [lagged(usage, DAY * k - AHEAD) for k in range(1, 8)]
    same_week = [lagged(usage, WEEK * k - AHEAD) for k in range(1, 5)]
    near = [lagged(usage, base - AHEAD + o) for base in (DAY, WEEK) for o in (-4, -2, -1, 1, 2, 4)]
    recent = [lagged(usage, k) for k in (0, 1, 2, 3, 4, 8, 12, 16, 24, 32, 48)]
    levels = [rolling_mean(usage, width) for width in (4, 16, 48, DAY, WEEK)]
    around = [lagged(rolling_mean(usage, 9), base - AHEAD - 4) for base in (DAY, WEEK)]
    usual = [_mean(same_day), _mean(same_week)]
    others = [readings.values[:, 1:], lagged(readings.values[:, 1:], DAY - AHEAD)]
    past = np.concatenate([*same_day, *same_week, *near, *recent, *levels, *around, *usual, *others], axis=1)[:now]
    date = ahead.astype("datetime64[D]")
    return Forecasts(
        rows=np.column_stack([past, _calendar(ahead)]),
        target=usage[AHEAD:, 0],
        weekly=same_week[0][:now, 0],
        day=date.astype(str),
    )


def described(readings: steel.Readings) -> Moments:
    """Moments as ``Analogues`` compares them: the last two days by hour, the latest hours counting most.

    Square roots, so that a furnace that starts counts as much as a second one beside it.
    """
    usage = np.sqrt(rolling_mean(readings.values[:, :1], 4))
    hours = [lagged(usage, 4 * h) * np.exp(-h / FADES_H) for h in range(HOURS)]
    weeks = [lagged(np.sqrt(readings.values[:, :1]), WEEK * k - AHEAD) * WEEKLY for k in (1, 2)]
    now = len(readings.end) - AHEAD
    calendar = _calendar(readings.end[AHEAD:] - np.timedelta64(steel.PERIOD_MIN, "m"))
    minute, weekday, holiday = calendar[:, 0], calendar[:, 1], calendar[:, 3]
    return Moments(
        described=np.nan_to_num(np.concatenate([*hours, *weeks], axis=1))[:now],
        slot=(minute // steel.PERIOD_MIN).astype(np.int64),
        kind=np.where(holiday > 0, SUNDAY, np.where(weekday >= SATURDAY, weekday, 0)).astype(np.int64),
        target=readings.values[AHEAD:, 0],
        ahead=AHEAD,
    )


def days_before(readings: steel.Readings) -> NDArray[np.float64]:
    """How the last days went, hour by hour and at the quarter forecast, and the other tags lately: (R, F)."""
    usage, others = readings.values[:, :1], readings.values[:, 1:]
    hourly, calm = rolling_mean(usage, 4), rolling_mean(others, 16)
    now = len(readings.end) - AHEAD
    weeks = [lagged(usage, WEEK * k - AHEAD) for k in range(5, 9)]
    days = [lagged(usage, DAY * k - AHEAD) for k in range(8, 15)]
    hours = [lagged(hourly, 4 * h) for h in range(HOURS)]
    around = [lagged(hourly, DAY * k - AHEAD - 4 * h) for k in (1, 2, 7) for h in range(-3, 4)]
    lately = [*(lagged(calm, k) for k in (0, 16, 32, 48)), lagged(rolling_mean(others, 4), WEEK - AHEAD)]
    table = np.concatenate([*weeks, *days, *hours, *around, *lately], axis=1)[:now]
    return np.concatenate([recent(readings), table], axis=1)


def recent(readings: steel.Readings) -> NDArray[np.float64]:
    """What lately happened at the quarter forecast, and how the plant ran while it ran: (R, F)."""
    usage = readings.values[:, :1]
    now = len(readings.end) - AHEAD
    days = np.concatenate([lagged(usage, DAY * k - AHEAD) for k in range(1, 21)], axis=1)[:now]
    weeks = np.concatenate([lagged(usage, WEEK * k - AHEAD) for k in range(1, 7)], axis=1)[:now]
    columns = []
    for table in (days[:, :5], days[:, :10], days, weeks):
        columns += [_quantiles(table), (np.nan_to_num(table) > RUNNING_KWH).mean(axis=1, keepdims=True)]
    running, full = usage > RUNNING_KWH, usage > FULL_KWH
    for width in (DAY // 2, DAY, 3 * DAY, WEEK):
        share = rolling_mean(running.astype(np.float64), width)
        level = rolling_mean(np.where(running, usage, 0.0), width) / np.maximum(share, 1.0 / width)
        columns += [level[:now], share[:now], rolling_mean(full.astype(np.float64), width)[:now]]
    return np.concatenate(columns, axis=1)


def _quantiles(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quartiles (R, 3) of each row; a reading from before the year counts as none used."""
    return np.asarray(np.quantile(np.nan_to_num(table), (0.25, 0.5, 0.75), axis=1).T)


def _mean(columns: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    stacked = np.concatenate(columns, axis=1)
    seen = np.isfinite(stacked)
    total = np.where(seen, stacked, 0.0).sum(axis=1, keepdims=True)
    return np.where(seen.any(axis=1, keepdims=True), total / np.maximum(seen.sum(axis=1, keepdims=True), 1), np.nan)


def _calendar(start: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Minute of day, weekday, minute of week, holiday, day before or after one: (R, 6)."""
    date = start.astype("datetime64[D]")
    minute = (start - date).astype(np.float64)
    weekday = ((date.astype(np.int64) + 3) % 7).astype(np.float64)
    off = np.asarray(HOLIDAYS, dtype="datetime64[D]")
    marks = [np.isin(date + np.timedelta64(shift, "D"), off).astype(np.float64) for shift in (0, 1, -1)]
    return np.column_stack([minute, weekday, weekday * 1440 + minute, *marks])


def _walked(
    tables: tuple[NDArray[np.float32], ...],
    target: NDArray[np.float64],
    blocks: list[NDArray[np.intp]],
    seed: int,
    *,
    quick: bool,
) -> NDArray[np.float64]:
    """Common median (R,) of both forests, fitted anew before each block of rows on targets known by then."""
    said = []
    for now in blocks:
        fit = np.arange(WEEK, now[0] - AHEAD)
        drawn = [
            _thrifty(forest, quick=quick).drawn(table[fit], target[fit], table[now], seed)
            for forest, table in ((OF_ANALOGUES, tables[1]), (OF_DAYS, tables[2]))
        ]
        said.append(pooled(drawn, (0.5,))[0])
    return np.concatenate(said)


def _alone(
    rows: NDArray[np.float32], target: NDArray[np.float64], blocks: list[NDArray[np.intp]], *, quick: bool
) -> NDArray[np.float64]:
    """Median (R,) of trees that know neither analogues nor the days before, fitted anew just as often.

    A median, since near stops and starts of production the mean lies where the plant never is.
    """
    said = []
    for now in blocks:
        fit = np.arange(WEEK, now[0] - AHEAD)
        said.append(np.median(_thrifty(ALONE, quick=quick).said(rows[fit], target[fit], rows[now], 0), axis=0))
    return np.concatenate(said)


def _thrifty(forest: Forest, *, quick: bool) -> Forest:
    return replace(forest, trees=10) if quick else forest


def _filled(*tables: NDArray[np.float64]) -> NDArray[np.float32]:
    """Columns of all ``tables``; what was not yet there is below any reading."""
    return np.nan_to_num(np.concatenate(tables, axis=1), nan=-1.0).astype(np.float32)


def _band(bounds: Bounds, target: NDArray[np.float64], rows: int) -> tuple[NDArray[np.bool_], float]:
    """Which of the last ``rows`` targets the band holds, and its mean width.

    Rows before them set the margin it starts with; it follows what came true 12 h later.
    """
    score = conformal.scores(bounds.low, bounds.high, target)
    start = conformal.quantile(score[: -rows - AHEAD], COVERAGE)
    margin = calibration.followed(score[-rows:], start, COVERAGE, AHEAD, STEP_KWH)
    band = Bounds(bounds.low[-rows:], bounds.high[-rows:]).widened(margin, 0.0, np.inf)
    return band.covers(target[-rows:]), band.width
