"""Training and evaluation of the compensation task: trees and a network, chosen and calibrated by plants.

Imports torch and scikit-learn; loaded by ``CompensationTask.fit`` and ``evaluate`` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.learning import conformal, metrics
from lineside_plugins.learning.measured import Rows, measured_parts
from lineside_plugins.learning.normal import NormalHead
from lineside_plugins.learning.normal_network import fit_network, fit_trees
from lineside_plugins.tasks.compensation import features as f
from lineside_plugins.tasks.compensation.advisor import SCALE_UM, SPREAD_UM, Advisor
from lineside_plugins.tasks.compensation.config import CompensationConfig
from lineside_plugins.types import ModelData

Floats: TypeAlias = NDArray[np.float64]
PER_MILL_TRAIN, PER_MILL_JUDGE = 3000, 3000
COVERAGE = 0.9
MEAN_TREES = {"learning_rate": 0.06, "max_iter": 250, "max_leaf_nodes": 24, "max_depth": 6, "min_samples_leaf": 60}
VARIANCE_TREES = {"learning_rate": 0.08, "max_iter": 60, "max_leaf_nodes": 8, "max_depth": 4, "min_samples_leaf": 400}


@dataclass(frozen=True, slots=True)
class Courses:
    """P measured parts.

    Features ``x`` (P, F); ``course`` (P,) um; ``offset`` (P,) um in force; ``off`` (P,) defective for its dimension;
    ``deviation`` (P,) um as measured; ``unit`` (P,) the plant.
    """

    x: Floats
    course: Floats
    offset: Floats
    off: NDArray[np.bool_]
    deviation: Floats
    unit: NDArray[np.str_]

    def __len__(self) -> int:
        """P."""
        return len(self.course)


def courses(recordings: Sequence[Recording], per_mill: int, seed: int) -> Courses:
    """About ``per_mill`` measured parts of every mill, drawn at random.

    Raises:
        ContractError: No recording has a mill with inspected parts.
    """
    rng = np.random.default_rng(seed)

    def some(_number: int, rows: Rows, _end_s: Floats) -> Rows:
        return np.sort(rng.permutation(rows)[:per_mill])

    found = []
    for block in measured_parts(recordings, some):
        x = f.course_features(block.cells, block.end_s, block.part, block.inspected)
        offset = block.part[:, 1]
        unit = np.full(len(x), block.unit)
        found.append((x, block.deviation + offset, offset, block.off, block.deviation, unit))
    return Courses(*(np.concatenate(column) for column in zip(*found, strict=True)))


def fit(train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str) -> TrainedModel:
    """Train both candidates; ship the one with the smaller validation error; margin of the interval by plants."""
    fitting, judging = courses(train, PER_MILL_TRAIN, seed), courses(validation, PER_MILL_JUDGE, seed)
    tolerance = measured_tolerance(fitting)
    candidates: dict[str, NormalHead] = {
        "trees": fit_trees(
            fitting.x, fitting.course, mean=MEAN_TREES, variance=VARIANCE_TREES, bounds=SPREAD_UM, seed=seed
        ),
        "network": fit_network(
            (fitting.x, fitting.course), (judging.x, judging.course),
            bounds=SPREAD_UM, scale=SCALE_UM, seed=seed, device=device,
        ),
    }  # fmt: skip
    predicted = {name: head.mean_and_spread(judging.x) for name, head in candidates.items()}
    error = {name: float(np.sqrt(np.mean((judging.course - mean) ** 2))) for name, (mean, _) in predicted.items()}
    winner = min(error, key=lambda name: error[name])
    mean, spread = predicted[winner]
    margin = conformal.quantile(np.abs(judging.course - mean) / spread, COVERAGE, _weights(judging.unit))
    rows: list[Mapping[str, object]] = [
        {"candidate": n, "split": "validation", **_measures(judging, m, tolerance)} for n, (m, _) in predicted.items()
    ]
    rows.append({"candidate": "as recorded", "split": "validation", **_measures(judging, judging.offset, tolerance)})
    return TrainedModel(
        config={"winner": winner, "margin": round(margin, 4), "tolerance_um": tolerance, "features": list(f.NAMES)},
        tensors=candidates[winner].to_tensors(),
        metrics={"winner": winner, "training": _counts(fitting), "validation": _counts(judging)},
        report=tuple(rows),
    )


def evaluate(model: ModelData, test: Sequence[Recording], *, device: str) -> Mapping[str, object]:
    """Measure ``model`` on ``test``, with 95 % intervals over plants, beside the compensation that was recorded."""
    advisor = Advisor.from_model(model, device, CompensationConfig())
    parts = courses(test, PER_MILL_JUDGE, 0)
    mean, spread = advisor.head.mean_and_spread(parts.x)
    inside = np.abs(parts.course - mean) <= advisor.margin * spread
    covered = metrics.over_units(parts.unit, lambda rows: float(inside[rows].mean()), draws=50)
    return {
        "counts": _counts(parts),
        "advised": _measures(parts, mean, advisor.tolerance_um, intervals=True),
        "as_recorded": _measures(parts, parts.offset, advisor.tolerance_um, intervals=True),
        "interval_covers": [round(v, 4) for v in covered],
    }


def measured_tolerance(parts: Courses) -> float:
    """The deviation (um) beyond which the bench called parts defective, as the labels show it."""
    size = np.abs(parts.deviation)
    order = np.argsort(size)
    bad = parts.off[order]
    wrong = np.cumsum(bad) + (~bad)[::-1].cumsum()[::-1] - ~bad  # bad ones below, good ones above
    return round(float(size[order][np.argmin(wrong)]), 2)


def _weights(unit: NDArray[np.str_]) -> Floats:
    _, inverse, counts = np.unique(unit, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[inverse])


def _measures(
    parts: Courses, offset: Floats, tolerance: float, *, intervals: bool = False
) -> dict[str, float | list[float]]:
    """What parts would have measured under ``offset`` (P,): error in um and share out of tolerance."""
    left = parts.course - offset
    out: dict[str, float | list[float]] = {}
    for name, each in (
        ("rmse_um", left**2),
        ("mean_abs_um", np.abs(left)),
        ("off_dimension", (np.abs(left) > tolerance).astype(np.float64)),
    ):

        def of(rows: Rows, each: Floats = each, name: str = name) -> float:
            mean = float(each[rows].mean())
            return mean**0.5 if name == "rmse_um" else mean

        if intervals:
            out[name] = [round(v, 5) for v in metrics.over_units(parts.unit, of, draws=50)]
        else:
            out[name] = round(of(np.arange(len(left))), 5)
    return out


def _counts(parts: Courses) -> dict[str, int]:
    return {"parts": len(parts), "off_dimension": int(parts.off.sum()), "plants": len(set(parts.unit.tolist()))}
