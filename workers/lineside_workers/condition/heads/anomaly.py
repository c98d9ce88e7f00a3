"""How unlike healthy windows a window is: learned from healthy ones alone, chosen by the events of validation units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from lineside_plugins.learning import metrics
from lineside_plugins.learning.encoder import Headed
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns
from lineside_plugins.tasks.condition import features
from lineside_plugins.tasks.condition.answering import Answer
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.model import Network, Reconstruction
from lineside_plugins.tasks.condition.novelty import Novelty
from lineside_plugins.tasks.condition.scorers import ControlChart, Grown, Nearest, Scorer
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
from lineside_workers.errors import LabelError

REACH = 1.5  # standard deviations by which a mixture moves a tag
FALSE_ALARMS = 0.01  # share of healthy validation windows beyond the limit


class Anomaly(Problem):
    """Label 0 is healthy; label 1 judges, and teaches nothing."""

    def __init__(self, task: ConditionConfig, fit: Rows, costs: Costs) -> None:
        """Raises LabelError where no window is known to be healthy."""
        super().__init__(task, fit, costs)
        if not (fit.label == 0).any():
            raise LabelError(
                f"none of {len(fit)} labelled training windows is healthy (label 0); label some, or move units with "
                "--split"
            )

    @staticmethod
    def usable(rows: Rows) -> Rows:
        """Rows with a label."""
        return rows.known

    @staticmethod
    def teaching(rows: Rows) -> Rows:
        """Healthy rows."""
        return rows.where(rows.label == 0)

    def naive(self, fit: Rows) -> Scorer:
        """The feature furthest from its mean, in standard deviations."""
        seen = Normaliser.fit(fit.x)
        return ControlChart(seen.mean.astype(np.float64), seen.std.astype(np.float64))

    def grow(self, prepare: Prepare, fit: Rows, settings: Settings, seed: int) -> Grown:
        """Boosting tells windows from mixtures of them that reach further.

        Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2009), 14.2.4.
        """
        both = np.concatenate([fit.x, _mixed(fit.x, np.random.default_rng(seed))])
        model = HistGradientBoostingClassifier(**settings, early_stopping=False, random_state=seed)
        which = np.repeat([0, 1], len(fit))
        return Grown((TreeEnsemble.from_gradient_boosting(model.fit(seen_columns(prepare(both)), which)),))

    def others(self, fit: Rows, seed: int) -> Mapping[str, Callable[[Floats], Grown | Nearest]]:
        """Distance to the nearest healthy windows."""
        return {"nearest": lambda x: Nearest(Novelty.fit(x, fit.unit, seed))}

    def targets(self, rows: Rows, scaled: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """The features themselves, and which were seen."""
        features = rows.x.shape[1]
        return scaled[:, :features], 1.0 - scaled[:, features:]

    def loss(self, out: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """Squared error of what was seen."""
        return (rest[1] * (out - rest[0]) ** 2).sum() / rest[1].sum().clamp(min=1)

    def network_outputs(self, features: int) -> int:
        """Every feature again."""
        return features

    def network(self, headed: Headed, normaliser: Normaliser) -> Scorer:
        """The error of saying the window again."""
        return Reconstruction(Network(headed, normaliser))

    def calibrate(self, raw: Floats, choose: Rows) -> Learned:
        """The limit that healthy validation windows keep to, and what a distance from it is worth.

        Raises:
            LabelError: Validation has no healthy window, or no other.
        """
        both_classes("validation", choose)
        limit = float(np.quantile(raw[choose.label == 0, 0], 1.0 - FALSE_ALARMS))
        slope, offset = platt(raw[:, 0] - limit, choose.label)
        return {"limit": limit, "slope": slope, "offset": offset}

    def error(self, answer: Answer, raw: Floats, rows: Rows) -> float:
        """Chance that a healthy window looks stranger than one before an event."""
        del answer
        return 1.0 - metrics.auroc(rows.label == 1, raw[:, 0])

    def measures(self, answer: Answer, raw: Floats, rows: Rows) -> dict[str, float]:
        """Ranking, and the flag."""
        said, label = answer.quantities(raw, rows.x), rows.label == 1
        flag = answer.flag(said)
        return {
            "auroc": metrics.auroc(label, raw[:, 0]),
            "average_precision": metrics.average_precision(label, raw[:, 0]),
            "recall": float(flag[label].mean()) if label.any() else float("nan"),
            "f1": metrics.f1(label, flag),
            "false_alarm_rate": metrics.false_alarm_rate(label, flag),
        }


def _mixed(x: Floats, rng: np.random.Generator) -> Floats:
    """Windows (R, F) that nobody saw: each tag from a window of its own, at another level, with another course.

    A tag's statistics move together: a mean outside its own quantiles would tell a mixture at once, and teach nothing.
    """
    parts, deviation = len(features.PARTS), np.nan_to_num(np.nanstd(x, axis=0))
    level = [features.PARTS.index(p) for p in ("mean", "low", "middle", "high")]
    course = [features.PARTS.index(p) for p in ("late", "slope")]
    out = x.copy()
    for first in range(0, x.shape[1], parts):
        own = x[rng.permutation(len(x)), first : first + parts]
        own[:, level] += REACH * deviation[first] * rng.standard_normal((len(x), 1))
        own[:, course] += REACH * deviation[first : first + parts][course] * rng.standard_normal((len(x), 2))
        own[:, features.PARTS.index("spread")] *= np.exp(0.5 * rng.standard_normal(len(x)))
        out[:, first : first + parts] = own
    return out
