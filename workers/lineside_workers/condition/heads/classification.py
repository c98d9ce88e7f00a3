"""Does a labelled event follow: log-odds, calibrated on validation units, and the threshold that costs least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from lineside_plugins.learning import metrics
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns
from lineside_plugins.tasks.condition.answering import Answer
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.scorers import Constant, Grown, Scorer
from lineside_workers.condition.heads.base import (
    Costs,
    Floats,
    Learned,
    Prepare,
    Problem,
    Settings,
    both_classes,
    platt,
)
from lineside_workers.condition.windows import Rows

THRESHOLDS = np.round(np.linspace(0.02, 0.98, 49), 3)


class Classification(Problem):
    """Labels 0 and 1."""

    def __init__(self, task: ConditionConfig, fit: Rows, costs: Costs) -> None:
        """Raises LabelError where there is one class only."""
        super().__init__(task, fit, costs)
        both_classes("training", fit)
        self._rare = float((fit.label == 0).sum() / (fit.label == 1).sum())

    @staticmethod
    def usable(rows: Rows) -> Rows:
        """Rows with a label."""
        return rows.known

    def naive(self, fit: Rows) -> Scorer:
        """The plain rate of the event, which calibration puts in."""
        del fit
        return Constant(np.zeros(1))

    def grow(self, prepare: Prepare, fit: Rows, settings: Settings, seed: int) -> Grown:
        """One ensemble on log loss."""
        model = HistGradientBoostingClassifier(**settings, early_stopping=False, random_state=seed)
        return Grown((TreeEnsemble.from_gradient_boosting(model.fit(seen_columns(prepare(fit.x)), fit.label)),))

    def targets(self, rows: Rows, scaled: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """Labels as numbers."""
        del scaled
        return (rows.label.astype(np.float32),)

    def loss(self, out: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """Log loss, both classes weighing alike."""
        weight = torch.tensor(self._rare, device=out.device)
        return nn.functional.binary_cross_entropy_with_logits(out[:, 0], rest[0], pos_weight=weight)

    def calibrate(self, raw: Floats, choose: Rows) -> Learned:
        """Slope, offset and threshold."""
        slope, offset = platt(raw[:, 0], choose.label)
        known = {"slope": slope, "offset": offset, "threshold": 0.5}
        p = self.answer(known).quantities(raw, choose.x)[:, 0]
        return {**known, "threshold": best_threshold(p, choose.label == 1, self.costs)}

    def error(self, answer: Answer, raw: Floats, rows: Rows) -> float:
        """Log loss."""
        p = np.clip(answer.quantities(raw, rows.x)[:, 0], 1e-6, 1 - 1e-6)
        return float(-np.where(rows.label == 1, np.log(p), np.log(1 - p)).mean())

    def measures(self, answer: Answer, raw: Floats, rows: Rows) -> dict[str, float]:
        """Ranking, calibration, and the flag."""
        said, label = answer.quantities(raw, rows.x), rows.label == 1
        p, flag = said[:, 0], answer.flag(said)
        return {
            "auroc": metrics.auroc(label, p),
            "average_precision": metrics.average_precision(label, p),
            "brier": metrics.brier(label, p),
            "calibration_error": metrics.calibration_error(label, p),
            "f1": metrics.f1(label, flag),
            "false_alarm_rate": metrics.false_alarm_rate(label, flag),
        }


def best_threshold(p: Floats, label: NDArray[np.bool_], costs: Costs) -> float:
    """The probability above which the flag costs least; what the costs alone say where nothing happened."""
    if not label.any():
        return costs.alarm / (costs.alarm + costs.miss)
    cost = [costs.miss * (label & (p <= t)).sum() + costs.alarm * (~label & (p > t)).sum() for t in THRESHOLDS]
    return float(THRESHOLDS[int(np.argmin(cost))])
