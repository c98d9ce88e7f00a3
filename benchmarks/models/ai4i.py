"""AI4I 2020: machine failure from five readings and a grade; 5-fold, stratified, out-of-fold F1 at probability 0.5.

Three derived quantities are what a maintenance engineer reads: mechanical power, strain and the heat flow's drive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import StratifiedKFold

from benchmarks.models.row import Row, Statistic, over_seeds
from benchmarks.models.setting import Setting
from lineside_plugins.learning import metrics
from lineside_workers.learning.datasets import ai4i

FOLDS = 5
GOAL_F1 = 0.88


def run(setting: Setting) -> list[Row]:
    """F1 of random forests on derived quantities, beside gradient boosting on the raw readings."""
    data = ai4i.read(setting.data)
    rows = derived(data.values)
    forest: list[NDArray[np.float64]] = []
    boosted: list[NDArray[np.float64]] = []
    for seed in range(setting.seeds):
        trees = 50 if setting.quick else 100
        model = RandomForestClassifier(trees, max_features=0.5, random_state=seed)
        forest.append(_out_of_fold(model, rows, data.failed, seed))
        boosted.append(_out_of_fold(HistGradientBoostingClassifier(random_state=seed), data.values, data.failed, seed))
        setting.say(f"ai4i: seed {seed} F1 {metrics.f1(data.failed, forest[-1] >= 0.5):.3f}")
    units = np.arange(len(data.failed)).astype(str)
    found = over_seeds(units, [_f1(data.failed, p) for p in forest])
    return [
        Row(
            "ai4i",
            "f1",
            found.value,
            found.low,
            found.high,
            found.seeds,
            goal=GOAL_F1,
            trees=over_seeds(units, [_f1(data.failed, p) for p in boosted], draws=1).value,
            anchor_source="no published figure under this split without the failure-mode columns",
        )
    ]


def derived(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Readings (R, 6) with power in W, temperature difference in K, and strain in Nm min, also by grade: (R, 10)."""
    air, process, speed, torque, wear, grade = values.T
    power = torque * speed * 2 * np.pi / 60
    strain = torque * wear
    return np.column_stack([values, power, process - air, strain, strain / (1 + grade)])


def _out_of_fold(
    model: RandomForestClassifier | HistGradientBoostingClassifier,
    rows: NDArray[np.float64],
    failed: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.float64]:
    probability = np.zeros(len(failed))
    for fit, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, failed):
        probability[test] = model.fit(rows[fit], failed[fit]).predict_proba(rows[test])[:, 1]
    return probability


def _f1(failed: NDArray[np.bool_], probability: NDArray[np.float64]) -> Statistic:
    return lambda rows: metrics.f1(failed[rows], probability[rows] >= 0.5)
