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
from lineside_plugins.learning.trees import Tensors, TreeEnsemble, seen_columns
from lineside_plugins.tasks.maintenance import decision, survival
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.tasks.maintenance.advisor import Advisor, lives
from lineside_plugins.tasks.maintenance.config import MaintenanceConfig
from lineside_plugins.tasks.maintenance.dataset import Rows, fit_compensation, machines, rows
from lineside_plugins.tasks.maintenance.hazards import Hazards, HazardTrees, expand
from lineside_plugins.tasks.maintenance.model import HazardNetwork, NetworkHazards, survival_loss
from lineside_plugins.types import ContractError, ModelData

Floats: TypeAlias = NDArray[np.float64]
SCORE_STRIDE = 3  # cells of 15 minutes between two replayed looks
TRAIN_EVERY = 2  # of those rows, neighbours tell the same
FOLDS = 5  # of plants, for the rule: each is scored by a model that saw neither it nor chose by it
LAGS = (0, 2)  # the flag must hold now and half an hour ago
COVERAGE = 0.9
SHARE_OF_PLANTS = 0.8
ENOUGH_ROWS = 100  # of lives that ended in failure, for a plant to have a margin of its own
THRESHOLDS = np.round(np.geomspace(0.005, 0.9, 60), 4)
AGES_H = np.arange(20.0, 300.0, 10.0)
Measure: TypeAlias = Callable[[NDArray[np.bool_], Floats], float]
MEASURES: dict[str, Measure] = {
    "auroc": metrics.auroc,
    "average_precision": metrics.average_precision,
    "brier": metrics.brier,
    "calibration_error": metrics.calibration_error,
}
Learn: TypeAlias = Callable[[Rows, Rows], HazardTrees | NetworkHazards]
LATE_H = 24.0  # the crew's finding at a life's end describes the hours before it
TREES = {
    "learning_rate": 0.08,
    "max_iter": 120,
    "max_leaf_nodes": 12,
    "max_depth": 5,
    "min_samples_leaf": 150,
    "l2_regularization": 5.0,
}


def fit(train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str) -> TrainedModel:
    """Train every candidate, ship the one with the lower validation loss, tune its rule across all plants."""
    known, held = ([m for r in part for m in machines(r)] for part in (train, validation))
    compensation = fit_compensation(known)
    table = rows([*known, *held], compensation, stride=SCORE_STRIDE, lags=LAGS)
    training = np.isin(table.unit, [r.unit for r in train])
    fitting, judging = _thinned(table, training), table.where(~training)
    learn: dict[str, Learn] = {
        "trees": lambda a, b: _fit_trees(a, b, np.arange(f.FEATURES), seed),
        "network": lambda a, b: _fit_network(a, b, seed, device),
        "age": lambda a, b: _fit_trees(a, b, _columns("age_h", "mill"), seed),
    }
    candidates = {name: learner(fitting, judging) for name, learner in learn.items()}
    costs = decision.measured_costs([*known, *held])
    loss = {name: _loss(model, judging) for name, model in candidates.items()}
    winner = min(("trees", "network"), key=lambda name: loss[name])
    tensors: Tensors = {"compensation": compensation.coefficients, **candidates[winner].to_tensors()}
    late = fitting.until_h < LATE_H
    tensors |= _finding(fitting, fitting.mode, late, seed).to_tensors("mode.")
    tensors |= _finding(fitting, fitting.drifted, late, seed).to_tensors("drift.")
    rule = _rule(table, _across_plants(table, learn[winner]), costs)
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
    score = _lasting(advisor.hazards, judged)[advisor.rule.horizon_h]
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
    trees = TreeEnsemble.from_gradient_boosting(model.fit(seen_columns(x), event.reshape(-1)[seen] > 0))
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
    return TreeEnsemble.from_gradient_boosting(model.fit(seen_columns(fitting.x[used, 0]), label[used]))


def _lasting(model: Hazards, judged: Rows) -> dict[float, Floats]:
    """The scores the flag may be decided by, by horizon: the least failure probability over the lags (R,)."""
    r, looks, width = judged.x.shape
    hazard = model.hazard(judged.x.reshape(-1, width), survival.DECISION_INTERVALS)
    return _least(hazard.reshape(r, looks, -1))


def _least(hazard: Floats) -> dict[float, Floats]:
    """The least failure probability over the looks of ``hazard`` (R, looks, K), by horizon."""
    curves = [survival.curve(hazard[:, i]) for i in range(hazard.shape[1])]
    return {
        h: np.min([survival.failure_probability(curve, h) for curve in curves], axis=0) for h in survival.ACT_HORIZONS_H
    }


def _loss(model: Hazards, judged: Rows) -> float:
    return survival.negative_log_likelihood(
        model.hazard(judged.x[:, 0]), *survival.targets(judged.until_h, judged.failed)
    )


def _thinned(table: Rows, chosen: NDArray[np.bool_]) -> Rows:
    return table.where(chosen & (np.arange(len(table)) % TRAIN_EVERY == 0))


def _across_plants(table: Rows, learn: Learn) -> Floats:
    """Hazards (R, looks, K) of every row by a model trained and stopped on other plants."""
    names = np.unique(table.unit)
    fold = np.arange(len(names)) % min(FOLDS, len(names))
    of_row = fold[np.searchsorted(names, table.unit)]
    out = np.empty((*table.x.shape[:2], survival.INTERVALS))
    for k in np.unique(fold):
        stop = (k + 1) % (fold.max() + 1)
        model = learn(_thinned(table, (of_row != k) & (of_row != stop)), table.where(of_row == stop))
        x = table.x[of_row == k]
        out[of_row == k] = model.hazard(x.reshape(-1, x.shape[2])).reshape(*x.shape[:2], -1)
    return out


def _rule(table: Rows, hazard: Floats, costs: decision.Costs) -> dict[str, Any]:
    """Horizon and threshold by replayed cost, conformal margins by coverage, all from ``hazard`` of unseen plants."""
    horizon, threshold, replayed = decision.best_horizon(table, _least(hazard), costs, THRESHOLDS)
    ended = table.failed
    truth = np.log1p(np.minimum(table.until_h, survival.RUL_CAP_H))[ended]
    low, high = np.log1p(survival.quantile(survival.curve(hazard[ended, 0]), np.array([0.05, 0.95]))).T
    return {
        "threshold": threshold,
        "horizon_h": horizon,
        "lags": list(LAGS),
        "low_margin": _margin(low - truth, table.unit[ended]),
        "high_margin": _margin(truth - high, table.unit[ended]),
        "replay_across_plants": _replayed(replayed),
    }


def _margin(outside: Floats, units: NDArray[np.str_]) -> float:
    """Conformal margin for one side that holds in ``SHARE_OF_PLANTS``: plants differ more than the rows of one."""
    each = [outside[units == unit] for unit in np.unique(units)]
    needed = [conformal.quantile(rows, (1 + COVERAGE) / 2) for rows in each if len(rows) >= ENOUGH_ROWS]
    if not needed:
        return conformal.quantile(outside, (1 + COVERAGE) / 2)
    return float(np.quantile(needed, SHARE_OF_PLANTS))


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
    horizon, threshold, replayed = decision.best_horizon(judged, _lasting(model, judged), costs, THRESHOLDS)
    age, by_age = decision.best_age(judged.lives, costs, AGES_H)
    found["best_replay"] = {"horizon_h": horizon, "threshold": threshold, **_replayed(replayed)}
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
