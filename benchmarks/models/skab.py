"""SKAB: is a second of a water rig anomalous; F1 and false-alarm rate without point adjustment.

Each experiment is scored on all rows after its first 400, which scale it. The main row learns from the labels of
*other* experiments (six folds of experiments) at probability 0.5; the published figures use no labels, so the same
statistics without labels stand in a row of their own. Both temperatures are left out: they rise with running time, and
time since the start gives the anomaly away in this set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from benchmarks.models.row import Row, Statistic, over_seeds
from benchmarks.models.setting import Setting
from lineside_plugins.learning import metrics
from lineside_plugins.learning.monitoring import NormalModel
from lineside_plugins.learning.windows import rolling_line, rolling_mean
from lineside_workers.learning.datasets import skab

FOLDS = 6
LEFT_OUT = ("Temperature", "Thermocouple")
WIDTHS = (5, 15, 30, 60)  # seconds
KEPT = 3  # main directions of six tags
_SETTLED = 60  # rows until the longest window is full
_EVERY = 3  # neighbouring seconds say the same; a third of them trains as well
_MARGIN = 2.0  # the label-free alarm stands at this multiple of the 99 % level of the first 400 rows
ANCHOR = 0.78
SOURCE = "SKAB leaderboard: Conv-AE, F1 0.78 at FAR 13.55 %, no labels"


def run(setting: Setting) -> list[Row]:
    """F1 and false-alarm rate of randomised trees on labels of other experiments, and of the label-free distance."""
    experiments = skab.read(setting.data)
    tables = [statistics(e) for e in experiments]
    names = np.concatenate([np.repeat(e.name, len(e.values) - skab.FIT_ROWS) for e in experiments])
    label = np.concatenate([e.anomalous[skab.FIT_ROWS :] for e in experiments])
    forest: list[NDArray[np.bool_]] = []
    boosted: list[NDArray[np.bool_]] = []
    for seed in range(setting.seeds):
        count = 50 if setting.quick else 100
        trees = ExtraTreesClassifier(count, min_samples_leaf=10, max_features=0.3, random_state=seed)
        forest.append(_held_out(trees, tables, experiments, seed))
        if seed == 0:  # the baseline costs as much as the model
            boosting = HistGradientBoostingClassifier(max_iter=80, learning_rate=0.06, max_leaf_nodes=8, random_state=0)
            boosted.append(_held_out(boosting, tables, experiments, seed))
        setting.say(f"skab: seed {seed} F1 {metrics.f1(label, forest[-1]):.3f}")
    free = np.concatenate([_without_labels(table) for table in tables])
    rows = []
    for metric, measure, goal, higher in (
        ("f1", metrics.f1, 0.82, True),
        ("false_alarm_rate", metrics.false_alarm_rate, 0.12, False),
    ):
        found = over_seeds(names, [_of(measure, label, decided) for decided in forest])
        base = float(np.mean([measure(label, decided) for decided in boosted]))
        anchor = ANCHOR if higher else 0.1355
        rows.append(
            Row(
                "skab", metric, found.value, found.low, found.high, setting.seeds, goal, higher, base, anchor, SOURCE
            )
        )  # fmt: skip
    alone = over_seeds(names, [_of(metrics.f1, label, free)])
    note = f"no labels; false-alarm rate {metrics.false_alarm_rate(label, free):.3f}"
    return [
        *rows,
        Row("skab", "f1_no_labels", alone.value, alone.low, alone.high, 1, anchor=ANCHOR, note=note),
    ]


def statistics(experiment: skab.Experiment) -> NDArray[np.float64]:
    """Features (T, F) in units of the experiment's own first rows; the last column is the label-free distance."""
    chosen = [i for i, tag in enumerate(experiment.tags) if tag not in LEFT_OUT]
    values = experiment.values[:, chosen]
    normal = NormalModel.fit(values[: skab.FIT_ROWS], KEPT)
    scaled = normal.scaled(values)
    means = [rolling_mean(scaled, width) for width in WIDTHS]
    spreads = [rolling_line(scaled, width)[1] for width in (15, 60)]
    distances = np.log1p(normal.distances(scaled))
    far = [rolling_mean(distances, width) for width in WIDTHS]
    extreme = [np.abs(mean).max(axis=1, keepdims=True) for mean in means]
    overall = [np.sqrt((mean**2).mean(axis=1, keepdims=True)) for mean in reversed(means)]
    return np.concatenate([*means, *spreads, rolling_line(scaled, 30)[0] * 30, *far, *extreme, *overall], axis=1)


def _held_out(
    model: Any, tables: list[NDArray[np.float64]], experiments: list[skab.Experiment], seed: int
) -> NDArray[np.bool_]:
    """Decisions for all scored rows, each experiment's from a model that never saw it."""
    fold = np.random.default_rng(seed).permutation(len(tables)) % FOLDS
    decided: list[NDArray[np.bool_]] = [np.zeros(0, dtype=np.bool_)] * len(tables)
    for k in range(FOLDS):
        fit = np.flatnonzero(fold != k)
        rows = np.concatenate([tables[i][_SETTLED::_EVERY] for i in fit])
        model.fit(rows, np.concatenate([experiments[i].anomalous[_SETTLED::_EVERY] for i in fit]))
        for i in np.flatnonzero(fold == k):
            decided[i] = model.predict_proba(tables[i][skab.FIT_ROWS :])[:, 1] >= 0.5
    return np.concatenate(decided)


def _without_labels(table: NDArray[np.float64]) -> NDArray[np.bool_]:
    distance = table[:, -1]
    out: NDArray[np.bool_] = distance[skab.FIT_ROWS :] > _MARGIN * np.quantile(distance[_SETTLED : skab.FIT_ROWS], 0.99)
    return out


def _of(measure: Any, label: NDArray[np.bool_], decided: NDArray[np.bool_]) -> Statistic:
    return lambda rows: float(measure(label[rows], decided[rows]))
