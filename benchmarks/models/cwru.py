"""CWRU: which part of a bearing is damaged, for bearings that training never saw.

Each faulty bearing is held out in turn. There is one sound bearing: training sees the first part of its record, the
test the last. A window counts as one row; the interval draws bearings, not windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from benchmarks.models.row import Row, over_seeds
from benchmarks.models.setting import Setting
from lineside_plugins.learning import metrics, spectra
from lineside_workers.learning.datasets import cwru

WINDOW = 16_384  # rows, 1.4 s or 40 turns of the shaft
SKF_6205 = spectra.Bearing(inner=5.4152, outer=3.5848, ball=4.7135, cage=0.39828)  # Source: CWRU Bearing Data Center
BANDS = spectra.Bands(((0, 6000), (500, 2000), (2000, 4000), (4000, 5900), (2500, 3500), (1000, 3000)))
_SOUND_FIT, _SOUND_TEST = 0.45, 0.5  # shares of the sound record, with a gap so that no window is in both
PRIOR = 0.661  # accuracy of the first transformer under this split, the only earlier figure known to us


def run(setting: Setting) -> list[Row]:
    """Balanced accuracy and AUROC over four classes, and AUROC of damaged against sound."""
    data = setting.cached("cwru", [spectra], lambda: _windows(setting))
    label, bearing, rows = data["label"], data["bearing"], data["rows"]
    found: dict[str, list[NDArray[np.float64]]] = {"forest": [], "boosted": []}
    tested = (label != 0) | (data["place"] >= _SOUND_TEST)
    for seed in range(setting.seeds):
        count = 60 if setting.quick else 200
        forest = ExtraTreesClassifier(
            count, class_weight="balanced", min_samples_leaf=5, max_features=0.3, random_state=seed
        )
        found["forest"].append(_held_out(forest, rows, data)[tested])
        if seed == 0:
            boosted = HistGradientBoostingClassifier(max_iter=60, class_weight="balanced", random_state=seed)
            found["boosted"].append(_held_out(boosted, rows, data)[tested])
        setting.say(f"cwru: seed {seed} {_balanced(label[tested], found['forest'][-1]):.3f}")
    label, bearing = label[tested], bearing[tested]
    damaged = [p.copy() for p in found["forest"]]
    balanced = _estimate(label, bearing, found["forest"], _balanced)
    ranked = _estimate(label, bearing, found["forest"], metrics.macro_auroc)
    detected = _estimate(label, bearing, damaged, _damaged)
    trees = found["boosted"][0]
    source = f"{PRIOR} was an earlier accuracy under this split; random splits score 1.000"
    seeds = setting.seeds
    return [
        Row(
            "cwru", "balanced_accuracy", *balanced, seeds, goal=0.80, trees=_balanced(label, trees), anchor=PRIOR,
            anchor_source=source,
        ),
        Row(
            "cwru", "auroc", *ranked, seeds, goal=0.92, trees=metrics.macro_auroc(label, trees),
            note="mean over the four classes, each against the rest",
        ),
        Row("cwru", "auroc_damaged", *detected, seeds, trees=_damaged(label, trees), note="damaged against sound"),
    ]  # fmt: skip


def _windows(setting: Setting) -> dict[str, NDArray[np.generic]]:
    rows, label, bearing, place = [], [], [], []
    for record in cwru.read(setting.data):
        for start in range(0, len(record.signal) - WINDOW + 1, WINDOW // 2):
            stretch = record.signal[start : start + WINDOW]
            rows.append(spectra.features(stretch, cwru.RATE_HZ, record.shaft_hz, SKF_6205, BANDS))
            label.append(cwru.FAULTS.index(record.fault))
            bearing.append(record.bearing)
            place.append(start / len(record.signal))
    return {
        "rows": np.asarray(rows),
        "label": np.asarray(label),
        "bearing": np.asarray(bearing),
        "place": np.asarray(place),
    }


def _held_out(model: Any, rows: NDArray[Any], data: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Probabilities (R, 4), each bearing's from a model that never saw it."""
    label, bearing, place = data["label"], data["bearing"], data["place"]
    probability = np.zeros((len(label), len(cwru.FAULTS)))
    known = (label != 0) | (place + WINDOW / 243_938 < _SOUND_FIT)
    for name in np.unique(bearing):
        test = bearing == name
        fit = known & (~test | (label == 0))
        probability[test] = model.fit(rows[fit], label[fit]).predict_proba(rows[test])
    return probability


def _balanced(label: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    return metrics.balanced_accuracy(label, probability.argmax(axis=1))


def _damaged(label: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    return metrics.auroc(label != 0, 1.0 - probability[:, 0])


def _estimate(
    label: NDArray[np.int64], bearing: NDArray[np.str_], found: list[NDArray[np.float64]], measure: Any
) -> tuple[float, float, float]:
    statistics = [lambda rows, p=p: float(measure(label[rows], p[rows])) for p in found]
    estimate = over_seeds(bearing, statistics)
    return estimate.value, estimate.low, estimate.high
