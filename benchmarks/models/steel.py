"""Steel plant energy: kWh in the quarter of an hour twelve hours ahead, and the band that holds 80 % of them.

Split by time: the last 20 % of the year is the test. A row knows readings up to its own time, and the calendar of the
quarter forecast (public holidays included), nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

from benchmarks.models.row import Row, mean_of, over_seeds
from benchmarks.models.setting import Setting
from lineside_plugins.learning import conformal
from lineside_plugins.learning.windows import lagged, rolling_mean
from lineside_workers.learning import calibration
from lineside_workers.learning.calibration import Bounds
from lineside_workers.learning.datasets import steel

AHEAD = 48  # quarters of an hour
DAY, WEEK = 96, 672
TEST_FROM, CALIBRATE_FROM = 0.80, 0.68  # shares of the year
COVERAGE = 0.80
STEP_KWH = 0.5  # change of the band's margin per miss
GOAL_MAE = 8.0
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


def run(setting: Setting) -> list[Row]:
    """Mean absolute error of randomised trees' median, beside boosting; coverage of the band."""
    data = forecasts(steel.read(setting.data))
    end = int(len(data.target) * (TEST_FROM if setting.validate else 1.0))
    fit, calibrate, test = _split(len(data.target), end, 0.65 if setting.validate else TEST_FROM)
    errors, boosted, covered, widths = [], [], [], []
    for seed in range(setting.seeds):
        trees = 150 if setting.quick else 400
        both = np.concatenate([fit, calibrate])
        said = _forest_median(data, both, test, trees // 4, seed)
        errors.append(np.abs(said - data.target[test]))
        if seed == 0:
            alone = _boosting(trees, seed).fit(data.rows[both], data.target[both]).predict(data.rows[test])
            boosted.append(np.abs(alone - data.target[test]).mean())
        inside, width = _band(data, fit, calibrate, test, trees // 2, seed)
        covered.append(inside)
        widths.append(width)
        setting.say(f"steel: seed {seed} MAE {errors[-1].mean():.2f}, covered {inside.mean():.3f}")
    days = data.day[test]
    error = over_seeds(days, [mean_of(e) for e in errors])
    cover = over_seeds(days, [mean_of(c) for c in covered])
    weekly = float(np.abs(data.weekly[test] - data.target[test]).mean())
    note = f"same quarter a week before: {weekly:.2f} kWh; no published figure 12 h ahead"
    width_note = f"goal 0.77 to 0.83; mean width {np.mean(widths):.1f} kWh"
    trees_mae = float(np.mean(boosted))
    return [
        Row("steel", "mae", error.value, error.low, error.high, error.seeds, GOAL_MAE, False, trees_mae, note=note),
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


def _split(rows: int, end: int, test_from: float) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows to fit, to calibrate and to test, in time; a gap of the horizon keeps targets apart."""
    first_test = int(rows * test_from)
    first_calibrate = int(first_test * CALIBRATE_FROM / TEST_FROM)
    fit = np.arange(WEEK, first_calibrate - AHEAD)
    return fit, np.arange(first_calibrate, first_test - AHEAD), np.arange(first_test, end)


def _boosting(trees: int, seed: int, quantile: float = 0.5) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        loss="quantile", quantile=quantile, max_iter=trees, learning_rate=0.03, max_leaf_nodes=16,
        min_samples_leaf=40, l2_regularization=5.0, max_features=0.5, early_stopping=False, random_state=seed,
    )  # fmt: skip


def _forest_median(
    data: Forecasts, fit: NDArray[np.intp], test: NDArray[np.intp], trees: int, seed: int
) -> NDArray[np.float64]:
    """Median (R,) over randomised trees: near stops and starts of production the mean lies where the plant never is."""
    filled = np.nan_to_num(data.rows, nan=-1.0).astype(np.float32)
    forest = ExtraTreesRegressor(trees, min_samples_leaf=3, max_features=0.5, random_state=seed)
    forest.fit(filled[fit], data.target[fit])
    return np.asarray(np.median([tree.predict(filled[test]) for tree in forest.estimators_], axis=0))


def _band(
    data: Forecasts, fit: NDArray[np.intp], calibrate: NDArray[np.intp], test: NDArray[np.intp], trees: int, seed: int
) -> tuple[NDArray[np.bool_], float]:
    """Which test targets the band holds, and its mean width; the margin follows what came true 12 h later."""
    tails = ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)
    models = [_boosting(trees, seed, q).fit(data.rows[fit], data.target[fit]) for q in tails]
    before, during = (Bounds(*(m.predict(data.rows[part]) for m in models)) for part in (calibrate, test))
    start = conformal.quantile(conformal.scores(before.low, before.high, data.target[calibrate]), COVERAGE)
    score = conformal.scores(during.low, during.high, data.target[test])
    margin = calibration.followed(score, start, COVERAGE, AHEAD, STEP_KWH)
    band = during.widened(margin, 0.0, np.inf)
    return band.covers(data.target[test]), band.width
