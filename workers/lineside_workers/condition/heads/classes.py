"""Which of several conditions: a score per class, calibrated together, and the threshold that costs least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from lineside_plugins.learning import metrics
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns
from lineside_plugins.tasks.condition.answering import Answer
from lineside_plugins.tasks.condition.classes import softmax
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.scorers import Constant, Grown, Scorer
from lineside_workers.condition.heads.base import Costs, Floats, Learned, Prepare, Problem, Settings
from lineside_workers.condition.heads.classification import best_threshold
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError

PULL = 0.01  # per row and parameter towards no change: a class that validation units lack keeps a finite offset


class SeveralClasses(Problem):
    """The labelled value is the number of the class."""

    def __init__(self, task: ConditionConfig, fit: Rows, costs: Costs) -> None:
        """Raises LabelError where a class has no training row, or a value is the number of none."""
        super().__init__(task, fit, costs)
        self.outputs = len(task.classes)
        self._count = np.bincount(classes_of(fit, self.outputs), minlength=self.outputs)
        if missing := [c for c, n in zip(task.classes, self._count, strict=True) if not n]:
            raise LabelError(
                f"no training window is of class {', '.join(missing)}; label some, or move units with --split"
            )

    @staticmethod
    def usable(rows: Rows) -> Rows:
        """Rows with a value."""
        return rows.where(np.isfinite(rows.value))

    def naive(self, fit: Rows) -> Scorer:
        """The rate of each class, which calibration puts in."""
        del fit
        return Constant(np.zeros(self.outputs))

    def grow(self, prepare: Prepare, fit: Rows, settings: Settings, seed: int) -> Grown:
        """One ensemble per class, against all others: the scores are log-odds."""
        x, which = seen_columns(prepare(fit.x)), classes_of(fit, self.outputs)
        models = (
            HistGradientBoostingClassifier(**settings, early_stopping=False, random_state=seed).fit(x, which == k)
            for k in range(self.outputs)
        )
        return Grown(tuple(TreeEnsemble.from_gradient_boosting(m) for m in models))

    def targets(self, rows: Rows, scaled: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """Class numbers."""
        del scaled
        return (rows.value.astype(np.float32),)

    def loss(self, out: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """Cross-entropy, all classes weighing alike."""
        weight = torch.tensor(self._count.sum() / (self.outputs * self._count), dtype=out.dtype, device=out.device)
        return nn.functional.cross_entropy(out, rest[0].long(), weight)

    def calibrate(self, raw: Floats, choose: Rows) -> Learned:
        """A slope and an offset per class by the least log loss, and the threshold."""
        which, k = classes_of(choose, self.outputs), self.outputs

        def loss(parameters: Floats) -> tuple[float, Floats]:
            slope, offset = np.exp(parameters[:k]), parameters[k:]
            p = softmax(raw * slope + offset)
            off = p - np.eye(k)[which]
            gradient = np.concatenate([(off * raw * slope).mean(axis=0), off.mean(axis=0)])
            value = -np.log(np.clip(p[np.arange(len(which)), which], 1e-12, 1.0)).mean()
            return float(value + PULL * (parameters**2).sum()), gradient + 2 * PULL * parameters

        found = minimize(loss, np.zeros(2 * k), jac=True, method="L-BFGS-B").x
        known = {"slope": np.exp(found[:k]).tolist(), "offset": found[k:].tolist(), "threshold": 0.5}
        fault = self.answer(known).quantities(raw, choose.x)[:, 0]
        return {**known, "threshold": best_threshold(fault, which > 0, self.costs)}

    def error(self, answer: Answer, raw: Floats, rows: Rows) -> float:
        """Log loss."""
        return log_loss(answer.quantities(raw, rows.x)[:, 1:], classes_of(rows, self.outputs))

    def measures(self, answer: Answer, raw: Floats, rows: Rows) -> dict[str, float]:
        """Of the classes, and of the flag."""
        said, which = answer.quantities(raw, rows.x), classes_of(rows, self.outputs)
        flag = answer.flag(said)
        return {
            **class_measures(said[:, 1:], which),
            "flag_f1": metrics.f1(which > 0, flag),
            "false_alarm_rate": metrics.false_alarm_rate(which > 0, flag),
        }


def classes_of(rows: Rows, count: int) -> NDArray[np.int64]:
    """Class numbers (R,) of usable rows, below ``count``.

    Raises:
        LabelError: A value is the number of no class.
    """
    if bad := sorted(set(rows.value.tolist()) - set(range(count))):
        raise LabelError(f"value {bad[0]:g} is the number of no class; the classes are 0 to {count - 1}")
    return rows.value.astype(np.int64)


def log_loss(p: Floats, which: NDArray[np.int64]) -> float:
    """Mean of -log of the probability given to the class that it was."""
    return float(-np.log(np.clip(p[np.arange(len(which)), which], 1e-6, 1.0)).mean())


def class_measures(p: Floats, which: NDArray[np.int64]) -> dict[str, float]:
    """Of probabilities (R, K); F1 and calibration error are means over the classes that are there or are said."""
    likeliest = p.argmax(axis=1)
    there = sorted({*which.tolist(), *likeliest.tolist()})
    return {
        "accuracy": float((likeliest == which).mean()),
        "macro_f1": float(np.mean([metrics.f1(which == k, likeliest == k) for k in there])),
        "log_loss": log_loss(p, which),
        "calibration_error": float(np.mean([metrics.calibration_error(which == k, p[:, k]) for k in there])),
    }


def confusion(p: Floats, which: NDArray[np.int64]) -> NDArray[np.int64]:
    """Windows (K, K): the class it was by the likeliest one."""
    k = p.shape[1]
    return np.bincount(k * which + p.argmax(axis=1), minlength=k * k).reshape(k, k)


def cost_matrix(k: int, miss: float, alarm: float) -> Floats:
    """Cost (K, K) of a window of class i (rows) taken for class j: a fault for normal, any class for another."""
    out = np.full((k, k), alarm)
    out[1:, 0] = miss
    np.fill_diagonal(out, 0.0)
    return out
