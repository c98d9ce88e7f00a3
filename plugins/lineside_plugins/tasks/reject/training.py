"""Training and evaluation of the reject task: trees and networks per head, chosen and calibrated by plants.

Imports torch and scikit-learn; loaded by ``RejectTask.fit`` and ``evaluate`` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.learning import metrics, network
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns
from lineside_plugins.tasks.reject import curves as c
from lineside_plugins.tasks.reject import decision
from lineside_plugins.tasks.reject import features as f
from lineside_plugins.tasks.reject.advisor import Advisor
from lineside_plugins.tasks.reject.config import RejectConfig
from lineside_plugins.tasks.reject.dataset import Parts, dimension_parts, porosity_parts
from lineside_plugins.tasks.reject.heads import (
    Calibration,
    DimensionHead,
    DimensionTrees,
    PorosityTrees,
    outside_score,
)
from lineside_plugins.tasks.reject.model import (
    SCALE_UM,
    CurveNetwork,
    DimensionNetwork,
    NetworkDimension,
    NetworkPorosity,
    label_loss,
    normal_loss,
)
from lineside_plugins.types import ModelData

Floats: TypeAlias = NDArray[np.float64]
PER_MILL_TRAIN, PER_MILL_JUDGE = 2500, 6000
CURVES = 30_000  # training curves at most; all porous ones are among them
COPIES = 4  # of a porous curve, each shifted along the stroke, for the signature sits elsewhere in every plant
SHIFT = 12  # points
STOP_CURVES = 8_000  # sound validation curves that decide when to stop; all are used to calibrate
MEAN_TREES = {"learning_rate": 0.08, "max_iter": 120, "max_leaf_nodes": 24, "max_depth": 6, "min_samples_leaf": 60}
VARIANCE_TREES = {"learning_rate": 0.08, "max_iter": 60, "max_leaf_nodes": 8, "max_depth": 4, "min_samples_leaf": 400}
CURVE_TREES = {"learning_rate": 0.08, "max_iter": 150, "max_leaf_nodes": 12, "max_depth": 6, "min_samples_leaf": 40}


def fit(train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str) -> TrainedModel:
    """Train both candidates of both heads; ship the lower validation log loss; tune thresholds on the bench."""
    fitting = dimension_parts(train, PER_MILL_TRAIN, seed), porosity_parts(train)
    judging = dimension_parts(validation, PER_MILL_JUDGE, seed, whole_blocks=True), porosity_parts(validation)
    tolerance = measured_tolerance(fitting[0])
    dimension: dict[str, DimensionTrees | NetworkDimension] = {
        "trees": _dimension_trees(fitting[0], seed),
        "network": _dimension_network(fitting[0], judging[0], seed, device),
    }
    chosen_curves = _subset(fitting[1], seed)
    porosity: dict[str, PorosityTrees | NetworkPorosity] = {
        "trees": _porosity_trees(*chosen_curves, seed),
        "network": _porosity_network(*chosen_curves, judging[1], seed, device),
    }
    scores = {
        "dimension": {n: _outside(head, judging[0], tolerance) for n, head in dimension.items()},
        "porosity": {n: head.score(judging[1].x) for n, head in porosity.items()},
    }
    calibration: dict[str, Calibration] = {}
    winner: dict[str, str] = {}
    report: list[Mapping[str, object]] = []
    for (head, candidates), parts in zip(scores.items(), judging, strict=True):
        winner[head], calibration[head], lines = _chosen(head, candidates, parts)
        report += lines
    p = [calibration[h](scores[h][winner[h]]) for h in ("dimension", "porosity")]
    thresholds = decision.fit_thresholds(judging[0], p[0], judging[1], p[1])
    summary = {
        "winner": winner,
        "bench": decision.replay(judging[0], p[0], judging[1], p[1], thresholds).as_dict(),
        "training": [_counts(part) for part in fitting],
        "validation": [_counts(part) for part in judging],
    }
    return TrainedModel(
        config={
            "winner": winner, "rule": _rule(tolerance, calibration, thresholds, judging), "features": list(f.NAMES)
        },
        tensors={**dimension[winner["dimension"]].to_tensors(), **porosity[winner["porosity"]].to_tensors()},
        metrics=summary,
        report=tuple(report),
    )  # fmt: skip


def _chosen(
    head: str, candidates: Mapping[str, Floats], parts: Parts
) -> tuple[str, Calibration, list[Mapping[str, object]]]:
    """The candidate of lower log loss on validation parts, its calibration, and a line of the report for each."""
    fitted = {n: calibrate(score, parts.bad) for n, score in candidates.items()}
    loss = {n: _log_loss(fitted[n](score), parts.bad) for n, score in candidates.items()}
    winner = min(loss, key=lambda n: loss[n])
    lines: list[Mapping[str, object]] = [
        {"head": head, "candidate": n, "split": "validation", "log_loss": loss[n], **_measures(fitted[n](s), parts)}
        for n, s in candidates.items()
    ]
    naive = np.full(len(parts), parts.bad.mean())
    lines.append({"head": head, "candidate": "usual share", "split": "validation", **_measures(naive, parts)})
    return winner, fitted[winner], lines


def _rule(
    tolerance: float,
    calibration: Mapping[str, Calibration],
    thresholds: decision.Thresholds,
    judging: tuple[Parts, Parts],
) -> dict[str, object]:
    """What the advisor needs beside the heads: how scores become probabilities, and probabilities flags."""
    return {
        "tolerance_um": tolerance,
        "dimension": [calibration["dimension"].slope, calibration["dimension"].intercept],
        "porosity": [calibration["porosity"].slope, calibration["porosity"].intercept],
        "thresholds": [thresholds.dimension, thresholds.porosity, thresholds.every],
        "usual_dimension": round(float(judging[0].bad.mean()), 5),
        "usual_porosity": round(float(judging[1].bad.mean()), 5),
    }


def evaluate(model: ModelData, test: Sequence[Recording], *, device: str) -> Mapping[str, object]:
    """Measure ``model`` on ``test``: every number with a 95 % interval over plants, and the replayed bench."""
    advisor = Advisor.from_model(model, device, RejectConfig())
    rule = advisor.rule
    dimension, porosity = dimension_parts(test, PER_MILL_JUDGE, 0, whole_blocks=True), porosity_parts(test)
    mean, _ = advisor.dimension.mean_and_spread(dimension.x)
    p_dimension = rule.dimension(_outside(advisor.dimension, dimension, rule.tolerance_um))
    p_porosity = rule.porosity(advisor.porosity.score(porosity.x))
    return {
        "dimension": {**_counts(dimension), **_measures(p_dimension, dimension, intervals=True)},
        "dimension_error_um": round(float(np.abs(mean - _uncompensated(dimension)).mean()), 3),
        "dimension_spread_um": round(float(np.std(dimension.deviation)), 3),
        "porosity": {**_counts(porosity), **_measures(p_porosity, porosity, intervals=True)},
        "bench": decision.replay(dimension, p_dimension, porosity, p_porosity, rule.thresholds).as_dict(),
    }


def measured_tolerance(parts: Parts) -> float:
    """The deviation (um) beyond which the bench called parts defective, as the labels show it."""
    size = np.abs(parts.deviation)
    order = np.argsort(size)
    bad = parts.bad[order]
    wrong = np.cumsum(bad) + (~bad)[::-1].cumsum()[::-1] - ~bad  # bad ones below, good ones above
    return round(float(size[order][np.argmin(wrong)]), 2)


def calibrate(score: Floats, bad: NDArray[np.bool_]) -> Calibration:
    """Logistic calibration of ``score`` to the labels."""
    model = LogisticRegression(C=1e3).fit(score[:, None], bad)
    return Calibration(float(model.coef_[0, 0]), float(model.intercept_[0]))


def _dimension_trees(parts: Parts, seed: int) -> DimensionTrees:
    mean = HistGradientBoostingRegressor(**MEAN_TREES, early_stopping=False, random_state=seed)
    x, target = seen_columns(parts.x), _uncompensated(parts) - f.measured_course(parts.x)
    flat = TreeEnsemble.from_gradient_boosting(mean.fit(x, target))
    left = np.log((target - flat.margin(parts.x)) ** 2 + 0.1)
    variance = HistGradientBoostingRegressor(**VARIANCE_TREES, early_stopping=False, random_state=seed)
    return DimensionTrees(flat, TreeEnsemble.from_gradient_boosting(variance.fit(x, left)))


def _dimension_network(parts: Parts, judging: Parts, seed: int, device: str) -> NetworkDimension:
    torch.manual_seed(seed)
    normaliser = Normaliser.fit(parts.x)
    model = DimensionNetwork()
    data, held_out = (
        [
            torch.from_numpy(normaliser(p.x)),
            torch.from_numpy((_uncompensated(p) - f.measured_course(p.x)) / SCALE_UM).float(),
        ]
        for p in (parts, judging)
    )
    network.train(model, data, held_out, normal_loss, seed=seed)
    return NetworkDimension(model, normaliser, device)


def _subset(parts: Parts, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All porous curves, each also shifted along the stroke, and as many others as fit.

    Porous ones are far more frequent here than in a plant; calibration on all curves of other plants undoes that.
    """
    rng = np.random.default_rng(seed)
    bad, good = np.flatnonzero(parts.bad), np.flatnonzero(~parts.bad)
    kept = rng.permutation(good)[:CURVES]
    copies = [parts.x[bad]] + [_shifted(parts.x[bad], rng) for _ in range(COPIES - 1)]
    others = parts.x[kept].copy()
    half = len(kept) // 2
    others[:half] = _shifted(others[:half], rng)
    label = np.concatenate([np.ones(COPIES * len(bad)), np.zeros(len(kept))]) > 0
    return np.concatenate([*copies, others]).astype(np.float32), label


def _shifted(curves: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    moved = np.arange(c.CURVE) - rng.integers(-SHIFT, SHIFT + 1, size=len(curves))[:, None]
    return np.take_along_axis(curves, np.clip(moved, 0, c.CURVE - 1), axis=1)


def _porosity_trees(curves: NDArray[np.float32], label: NDArray[np.bool_], seed: int) -> PorosityTrees:
    model = HistGradientBoostingClassifier(**CURVE_TREES, early_stopping=False, random_state=seed)
    return PorosityTrees(TreeEnsemble.from_gradient_boosting(model.fit(c.curve_features(curves), label)))


def _porosity_network(
    curves: NDArray[np.float32], label: NDArray[np.bool_], judging: Parts, seed: int, device: str
) -> NetworkPorosity:
    torch.manual_seed(seed)
    model = CurveNetwork()
    good = np.random.default_rng(seed).permutation(np.flatnonzero(~judging.bad))[:STOP_CURVES]
    kept = np.concatenate([np.flatnonzero(judging.bad), good])
    data, held_out = (
        [torch.from_numpy(c.curve_rows(x)), torch.from_numpy(y).float()]
        for x, y in ((curves, label), (judging.x[kept], judging.bad[kept]))
    )
    plan = network.Schedule(epochs=16, batch=256, patience=6)
    network.train(model, data, held_out, label_loss, seed=seed, schedule=plan)
    return NetworkPorosity(model, device)


def _uncompensated(parts: Parts) -> Floats:
    """What the bench would have measured (P,), um, had the mill kept to the usual course of its compensation."""
    return parts.deviation + parts.compensation


def _outside(head: DimensionHead, parts: Parts, tolerance: float) -> Floats:
    mean, spread = head.mean_and_spread(parts.x)
    return outside_score(mean - parts.compensation, spread, tolerance)


def _log_loss(p: Floats, bad: NDArray[np.bool_]) -> float:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return round(float(-np.mean(np.where(bad, np.log(p), np.log1p(-p)))), 6)


def _measures(p: Floats, parts: Parts, *, intervals: bool = False) -> dict[str, object]:
    """Ranking and calibration, and the share of defects among the 2 % of parts that look worst."""
    out: dict[str, object] = {}
    for name, measure in (
        ("auroc", metrics.auroc),
        ("average_precision", metrics.average_precision),
        ("brier", metrics.brier),
        ("calibration_error", metrics.calibration_error),
        ("caught_by_worst_2_percent", _caught),
    ):
        everything = np.arange(len(p))

        def of(rows: NDArray[np.intp], measure=measure) -> float:  # type: ignore[no-untyped-def]  # bound at once
            return float(measure(parts.bad[rows], p[rows]))

        if intervals:
            out[name] = [round(v, 5) for v in metrics.over_units(parts.unit, of, draws=50)]
        else:
            out[name] = round(of(everything), 5)
    return out


def _caught(bad: NDArray[np.bool_], p: Floats) -> float:
    worst = np.argsort(-p, kind="stable")[: max(1, len(p) // 50)]
    return float(bad[worst].sum() / max(1, bad.sum()))


def _counts(parts: Parts) -> dict[str, int]:
    return {"parts": len(parts), "defects": int(parts.bad.sum()), "plants": len(set(parts.unit.tolist()))}
