"""Training and evaluation of the maintenance task: trees, network and the age rule on one scale, chosen by plants.

Imports torch and scikit-learn; loaded by ``MaintenanceTask.fit`` and ``evaluate`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.learning import conformal, metrics, network
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.trees import Tensors, TreeEnsemble
from lineside_plugins.tasks.maintenance import decision, survival
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.tasks.maintenance.advisor import Advisor, lives
from lineside_plugins.tasks.maintenance.config import MaintenanceConfig
from lineside_plugins.tasks.maintenance.dataset import Rows, fit_compensation, machines, rows
from lineside_plugins.tasks.maintenance.hazards import Hazards, HazardTrees, expand
from lineside_plugins.tasks.maintenance.model import HazardNetwork, NetworkHazards, survival_loss
from lineside_plugins.types import ContractError, ModelData

Floats: TypeAlias = NDArray[np.float64]
TRAIN_STRIDE, SCORE_STRIDE = 6, 2  # cells of 15 minutes between two training rows, and between two replayed looks
LAGS = (0, 2)  # the flag must hold now and half an hour ago
COVERAGE = 0.9
THRESHOLDS = np.round(np.geomspace(0.02, 0.9, 40), 3)
AGES_H = np.arange(20.0, 300.0, 10.0)
Measure: TypeAlias = Callable[[NDArray[np.bool_], Floats], float]
MEASURES: dict[str, Measure] = {
    "auroc": metrics.auroc,
    "average_precision": metrics.average_precision,
    "brier": metrics.brier,
    "calibration_error": metrics.calibration_error,
}
LATE_H = 24.0  # the crew's finding at a life's end describes the hours before it
TREES = {
    "learning_rate": 0.06,
    "max_iter": 160,
    "max_leaf_nodes": 12,
    "min_samples_leaf": 150,
    "l2_regularization": 5.0,
}


def fit(train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str) -> TrainedModel:
    """Train every candidate, ship the one with the lower validation loss, tune its rule on validation plants."""
    known, held = ([m for r in part for m in machines(r)] for part in (train, validation))
    compensation = fit_compensation(known)
    fitting = rows(known, compensation, stride=TRAIN_STRIDE)
    judging = rows(held, compensation, stride=SCORE_STRIDE, lags=LAGS)
    trees = _fit_trees(fitting, judging, np.arange(f.FEATURES), seed)
    net = _fit_network(fitting, judging, seed, device)
    age = _fit_trees(fitting, judging, _columns("age_h", "mill"), seed)
    costs = decision.measured_costs([*known, *held])
    candidates: dict[str, Hazards] = {"trees": trees, "network": net, "age": age}
    loss = {name: _loss(model, judging) for name, model in candidates.items()}
    winner = min(("trees", "network"), key=lambda name: loss[name])
    chosen: HazardTrees | NetworkHazards = trees if winner == "trees" else net
    rule = _rule(chosen, judging, costs)
    tensors: Tensors = {"compensation": compensation.coefficients, **chosen.to_tensors()}
    late = fitting.until_h < LATE_H
    tensors |= _finding(fitting, fitting.mode, late, seed).to_tensors("mode.")
    tensors |= _finding(fitting, fitting.drifted, late, seed).to_tensors("drift.")
    config = {"winner": winner, "rule": rule, "features": list(f.feature_names()), "costs_h": _as_dict(costs)}
    report = [
        {"candidate": name, "split": "validation", "loss": loss[name], **_measures(model, judging, costs)}
        for name, model in candidates.items()
    ]
    summary = {"winner": winner, "validation_loss": loss, "training": _counts(fitting), "validation": _counts(judging)}
    return TrainedModel(config=config, tensors=tensors, metrics=summary, report=tuple(report))


def evaluate(model: ModelData, test: Sequence[Recording], *, device: str) -> Mapping[str, object]:
    """Measure ``model`` on ``test``: every number with a 95 % interval over plants where plants can be drawn anew.

    Raises:
        ContractError: A test plant has no life that can be judged.
    """
    advisor = Advisor.from_model(model, device, MaintenanceConfig())
    found = [m for r in test for m in machines(r)]
    judged = rows(found, advisor.compensation, stride=SCORE_STRIDE, lags=advisor.rule.lags)
    if not len(judged):
        raise ContractError("no test life can be judged; record plants with State and condition tags")
    stored = model.config["costs_h"]
    assert isinstance(stored, Mapping)  # noqa: S101  written by fit
    costs = decision.Costs(float(stored["repair_h"]), float(stored["planned_h"]))
    score = _lasting(advisor.hazards, judged)
    moments = decision.first_moments(judged, score, advisor.rule.threshold)
    out = {"test": _counts(judged), **_measures(advisor.hazards, judged, costs, intervals=True)}
    out |= _life_measures(advisor, judged)
    out |= _finding_measures(advisor, judged)
    out["replay"] = _replayed(decision.replay(judged.lives, moments, costs))
    out["replay_age_70_h"] = _replayed(_age_replay(judged, 70.0, costs))
    return out


def _columns(*names: str) -> NDArray[np.intp]:
    return np.array([f.feature_names().index(name) for name in names])


def _fit_trees(fitting: Rows, judging: Rows, columns: NDArray[np.intp], seed: int) -> HazardTrees:
    """Boosted trees on person-period rows; as many trees as validate best."""
    at_risk, event = survival.targets(fitting.until_h, fitting.failed)
    seen = at_risk.reshape(-1) > 0
    x = expand(fitting.x[:, 0][:, columns], survival.INTERVALS)[seen]
    model = HistGradientBoostingClassifier(**TREES, early_stopping=False, random_state=seed)
    trees = TreeEnsemble.from_gradient_boosting(model.fit(x, event.reshape(-1)[seen] > 0))
    at_risk, event = survival.targets(judging.until_h, judging.failed)
    seen = at_risk.reshape(-1) > 0
    rows_seen = expand(judging.x[:, 0][:, columns], survival.INTERVALS)[seen]
    label = event.reshape(-1)[seen] > 0
    tried = [trees.first(n) for n in range(40, len(trees.roots) + 1, 20)]
    best = min(tried, key=lambda t: float(np.logaddexp(0.0, np.where(label, -1.0, 1.0) * t.margin(rows_seen)).sum()))
    return HazardTrees(best, columns)


def _fit_network(fitting: Rows, judging: Rows, seed: int, device: str) -> NetworkHazards:
    torch.manual_seed(seed)
    normaliser = Normaliser.fit(fitting.x[:, 0])
    model = HazardNetwork()
    data, held_out = (
        [torch.from_numpy(a).float() for a in (normaliser(part.x[:, 0]), *survival.targets(part.until_h, part.failed))]
        for part in (fitting, judging)
    )
    network.train(model, data, held_out, survival_loss, seed=seed)
    return NetworkHazards(model, normaliser, device)


def _finding(fitting: Rows, label: NDArray[np.int64], late: NDArray[np.bool_], seed: int) -> TreeEnsemble:
    """What the crew will find, from the last hours of lives somebody looked into."""
    used = late & (label >= 0)
    model = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=8, max_depth=4, min_samples_leaf=60, l2_regularization=5.0, random_state=seed
    )
    return TreeEnsemble.from_gradient_boosting(model.fit(fitting.x[used, 0], label[used]))


def _lasting(model: Hazards, judged: Rows) -> Floats:
    """The score the flag is decided by: the least failure probability over the lags (R,)."""
    r, looks, width = judged.x.shape
    hazard = model.hazard(judged.x.reshape(-1, width), survival.DECISION_INTERVALS)
    return np.asarray(survival.failure_probability(survival.curve(hazard)).reshape(r, looks).min(axis=1))


def _loss(model: Hazards, judged: Rows) -> float:
    return survival.negative_log_likelihood(
        model.hazard(judged.x[:, 0]), *survival.targets(judged.until_h, judged.failed)
    )


def _rule(model: Hazards, judging: Rows, costs: decision.Costs) -> dict[str, Any]:
    score = _lasting(model, judging)
    threshold, replayed = decision.best_threshold(judging, score, costs, THRESHOLDS)
    curve = survival.curve(model.hazard(judging.x[:, 0]))
    ended = judging.failed
    weight = 1.0 / np.bincount(judging.life)[judging.life][ended]
    truth = np.log1p(np.minimum(judging.until_h, survival.RUL_CAP_H))[ended]
    margins = []
    for low in (True, False):
        edge = np.log1p(survival.quantile(curve, 0.05 if low else 0.95))[ended]
        outside = edge - truth if low else truth - edge
        margins.append(conformal.quantile(outside, (1 + COVERAGE) / 2, weight))
    return {
        "threshold": threshold,
        "lags": list(LAGS),
        "low_margin": margins[0],
        "high_margin": margins[1],
        "validation_replay": _replayed(replayed),
    }


def _measures(model: Hazards, judged: Rows, costs: decision.Costs, *, intervals: bool = False) -> dict[str, object]:
    """Ranking and calibration of the failure probability where its truth is known, and the best rule's downtime."""
    known = judged.failed | (judged.until_h >= survival.HORIZON_H)
    p = survival.failure_probability(survival.curve(model.hazard(judged.x[:, 0])))[known]
    label = (judged.failed & (judged.until_h <= survival.HORIZON_H))[known]
    units = judged.unit[known]
    found: dict[str, object] = {}
    for name, measure in MEASURES.items():

        def of(chosen: NDArray[np.intp], measure: Measure = measure) -> float:
            return measure(label[chosen], p[chosen])

        everything = np.arange(len(label))
        found[name] = _rounded(metrics.over_units(units, of, draws=100)) if intervals else round(of(everything), 4)
    threshold, replayed = decision.best_threshold(judged, _lasting(model, judged), costs, THRESHOLDS)
    age, by_age = decision.best_age(judged.lives, costs, AGES_H)
    found["best_replay"] = {"threshold": threshold, **_replayed(replayed)}
    found["best_age_replay"] = {"age_h": age, **_replayed(by_age)}
    return found


def _life_measures(advisor: Advisor, judged: Rows) -> dict[str, object]:
    """Error of the median remaining life and coverage of its interval, over lives that ended in failure."""
    ended = judged.failed
    curve = survival.curve(advisor.hazards.hazard(judged.x[:, 0]))[ended]
    truth = np.minimum(judged.until_h, survival.RUL_CAP_H)[ended]
    median, low, high = lives(curve, advisor.rule).T
    error = np.abs(median - truth)
    inside = (truth >= low) & (truth <= high)
    near = truth <= 2 * survival.HORIZON_H
    units, near_units = judged.unit[ended], judged.unit[ended][near]
    return {
        "rul_mae_h": _rounded(metrics.over_units(units, lambda r: float(error[r].mean()), draws=100)),
        "rul_mae_last_48h_h": _rounded(
            metrics.over_units(near_units, lambda r: float(error[near][r].mean()), draws=100)
        ),
        "rul_coverage": _rounded(metrics.over_units(units, lambda r: float(inside[r].mean()), draws=100)),
        "rul_width_last_48h_h": round(float((high - low)[near].mean()), 1),
    }


def _finding_measures(advisor: Advisor, judged: Rows) -> dict[str, object]:
    late = judged.until_h < LATE_H
    out: dict[str, object] = {}
    for name, trees, truth in (("mode", advisor.modes, judged.mode), ("drift", advisor.drift, judged.drifted)):
        used = late & (truth >= 0)
        said = trees.margin(judged.x[used, 0]) > 0
        out[f"{name}_accuracy"] = round(float((said == (truth[used] > 0)).mean()), 4)
        out[f"{name}_share"] = round(float((truth[used] > 0).mean()), 4)
    return out


def _age_replay(judged: Rows, age_h: float, costs: decision.Costs) -> decision.Replay:
    return decision.replay(judged.lives, [life.start_s + 3600.0 * age_h for _, life in judged.lives], costs)


def _rounded(values: tuple[float, float, float]) -> list[float]:
    return [round(v, 4) for v in values]


def _replayed(r: decision.Replay) -> dict[str, float]:
    return {
        "unplanned_share": round(r.unplanned_share, 5),
        "downtime_share": round(r.downtime_share, 5),
        "cost": round(r.cost, 5),
        "failures": r.failures,
        "renewals": r.renewals,
        "hours": round(r.hours, 1),
    }


def _as_dict(costs: decision.Costs) -> dict[str, float]:
    return {"repair_h": round(costs.repair_h, 3), "planned_h": round(costs.planned_h, 3)}


def _counts(part: Rows) -> dict[str, int]:
    return {
        "rows": len(part),
        "plants": len(set(part.unit.tolist())),
        "lives": len(part.lives),
        "failures": sum(life.failed for _, life in part.lives),
    }
