"""Quantiles of a labelled quantity: pinball loss, the outermost moved out until they cover what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from lineside_plugins.learning import conformal
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns
from lineside_plugins.tasks.condition.answering import Answer
from lineside_plugins.tasks.condition.answers import Quantiles
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.scorers import Constant, Grown, Scorer
from lineside_workers.condition.heads.base import Costs, Floats, Learned, Prepare, Settings
from lineside_workers.condition.heads.values import Regression
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError


class QuantileRegression(Regression):
    """The labelled quantity as quantiles. Source: Koenker and Bassett, Regression Quantiles (1978)."""

    def __init__(self, task: ConditionConfig, fit: Rows, costs: Costs) -> None:
        """One output per quantile."""
        super().__init__(task, fit, costs)
        self.levels = np.asarray(task.quantiles)
        self.outputs = len(self.levels)
        self.coverage = float(self.levels[-1] - self.levels[0])

    def naive(self, fit: Rows) -> Scorer:
        """Quantiles of the training rows."""
        return Constant(np.quantile(self._scaled(fit)[:, 0], self.levels))

    def grow(self, prepare: Prepare, fit: Rows, settings: Settings, seed: int) -> Grown:
        """One ensemble per quantile."""
        columns, wanted = seen_columns(prepare(fit.x)), self._scaled(fit)[:, 0]
        grown = []
        for q in self.levels.tolist():
            model = HistGradientBoostingRegressor(
                **settings, loss="quantile", quantile=q, early_stopping=False, random_state=seed
            )
            grown.append(TreeEnsemble.from_gradient_boosting(model.fit(columns, wanted)))
        return Grown(tuple(grown))

    def loss(self, out: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """Pinball loss."""
        levels = torch.tensor(self.levels, dtype=out.dtype, device=out.device)
        off = rest[0] - out
        return torch.maximum(levels * off, (levels - 1.0) * off).mean()

    def calibrate(self, raw: Floats, choose: Rows) -> Learned:
        """Scale and margin. Source: Romano et al., Conformalized Quantile Regression (2019).

        Raises:
            LabelError: Too few rows for the outermost quantiles.
        """
        known = {
            "middle": float(self.middle[0]), "spread": float(self.spread[0]), "within": list(self.within),
            "alarm": [self.task.alarm_below, self.task.alarm_above],
        }  # fmt: skip
        rising = self._answer({**known, "margin": 0.0}).rising(raw)
        score = conformal.scores(rising[:, 0], rising[:, -1], choose.value)
        _, which, count = np.unique(choose.machine, return_inverse=True, return_counts=True)
        try:
            margin = conformal.quantile(score, self.coverage, 1.0 / count[which])
        except ValueError as e:
            raise LabelError(f"{e}, or ask for --quantiles nearer to the middle") from e
        return {**known, "margin": margin}

    def short(self, answer: Answer, raw: Floats, rows: Rows) -> Floats:
        """How far beyond the outermost quantiles the value lies; 0 between them."""
        assert isinstance(answer, Quantiles)  # noqa: S101  this head is served so
        rising = answer.rising(raw)
        return np.maximum(conformal.scores(rising[:, 0], rising[:, -1], rows.value), 0.0)[:, None]

    def moved_out(self, learned: Learned, by: Floats) -> Learned:
        """With the outermost quantiles so much further out."""
        return {**learned, "margin": learned["margin"] + float(by[0])}

    def told(self, by: Floats) -> str:
        """In the quantity's unit."""
        return f"outermost quantiles {by[0]:.3g} {self.task.unit} further out"

    def error(self, answer: Answer, raw: Floats, rows: Rows) -> float:
        """Pinball loss on the scale of training rows, mean over quantiles."""
        assert isinstance(answer, Quantiles)  # noqa: S101  this head is served so
        return pinball(answer.rising(raw), self.levels, rows.value) / float(self.spread[0])

    def measures(self, answer: Answer, raw: Floats, rows: Rows) -> dict[str, float]:
        """Of the quantiles, in the quantity's unit."""
        return quantile_measures(answer.quantities(raw, rows.x), self.levels, rows.value)

    def _answer(self, learned: Learned) -> Quantiles:
        answer = self.answer(learned)
        assert isinstance(answer, Quantiles)  # noqa: S101  this head is served so
        return answer


def pinball(rising: Floats, levels: Floats, truth: Floats) -> float:
    """Mean pinball loss of quantiles (R, K) against ``truth`` (R,)."""
    off = truth[:, None] - rising
    return float(np.maximum(levels * off, (levels - 1.0) * off).mean())


def quantile_measures(said: Floats, levels: Floats, truth: Floats) -> dict[str, float]:
    """Of quantities (R, K) as published, the middle one first."""
    rising = np.sort(said, axis=1)
    return {
        "pinball": pinball(rising, levels, truth),
        "mae": float(np.abs(said[:, 0] - truth).mean()),
        "coverage": float(((rising[:, 0] <= truth) & (truth <= rising[:, -1])).mean()),
        "width": float((rising[:, -1] - rising[:, 0]).mean()),
    }
