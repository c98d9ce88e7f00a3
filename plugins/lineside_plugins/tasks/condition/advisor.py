"""From a batch of windows to advice, or to abstention where nothing like them was learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.trees import TreeEnsemble, sigmoid
from lineside_plugins.tasks.condition import features
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.novelty import Novelty
from lineside_plugins.types import Abstention, Advice, ContractError, DeviceHealth, ModelData, Reason, WindowBatch

Floats: TypeAlias = NDArray[np.float64]
WORTH_EXPLAINING = 0.5  # of the threshold
NO_SIGN = Reason("", 0.0, "nothing in the window points to it")


class Scorer(Protocol):
    """Log-odds (R,) of features (R, F) with NaN."""

    def __call__(self, rows: Floats) -> Floats:
        """Raw score; calibrated afterwards."""


@dataclass(frozen=True, slots=True)
class Advisor:
    """One trained model. Stateless between batches."""

    score: Scorer
    novelty: Novelty
    calibration: tuple[float, float]
    threshold: float
    tags: tuple[str, ...]
    question: str

    @classmethod
    def from_model(cls, model: ModelData, device: str, config: ConditionConfig) -> Advisor:
        """Build from stored tensors; torch is imported only if a network won.

        Raises:
            ContractError: The model was trained on other tags, units or windows than the configuration names.
        """
        learned = cast("Mapping[str, Any]", model.config)
        tags = {str(tag): str(unit) for tag, unit in learned["tags"]}
        now = {"tags": dict(config.tags), "length": config.length, "period_s": config.period_s}
        for name, then in (("tags", tags), ("length", learned["length"]), ("period_s", learned["period_s"])):
            if then != now[name]:
                raise ContractError(
                    f"model {model.version} was trained with {name} {then}, the configuration has {now[name]}; "
                    f"set config.{name} of task 'condition' to the model's, or fine-tune for the configuration"
                )
        score: Scorer
        if learned["winner"] == "trees":
            score = TreeEnsemble.from_tensors(model.tensors, "trees.").margin
        elif learned["winner"] == "naive":
            score = partial(_constant, 0.0)
        else:
            from lineside_plugins.tasks.condition.model import EmbeddedTrees, Network  # noqa: PLC0415  imports torch

            kind = EmbeddedTrees if learned["winner"] == "trees_on_embedding" else Network
            score = kind.from_model(model, device)
        threshold = float(learned["threshold"]) if config.threshold is None else config.threshold
        slope, offset = learned["calibration"]
        novelty = Novelty.from_tensors(model.tensors)
        return cls(score, novelty, (slope, offset), threshold, tuple(tags), str(learned["question"]))

    def probability(self, rows: Floats) -> Floats:
        """Calibrated probability (R,) that the event follows."""
        return sigmoid(self.calibration[0] * self.score(rows) + self.calibration[1])

    def advise(self, batch: WindowBatch) -> list[Advice | Abstention | None]:
        """One entry per window, in the batch's order; None where no tag was seen."""
        order = [batch.channel(tag) for tag in self.tags]
        rows = features.statistics(batch.values[:, :, order])
        strange = self.novelty.score(rows)
        said = self.probability(rows)
        return [self._entry(rows[i], float(strange[i]), float(said[i])) for i in range(len(batch))]

    def _entry(self, row: Floats, strange: float, p: float) -> Advice | Abstention | None:
        if not np.isfinite(row[:: len(features.PARTS)]).any():
            return None
        if strange > 1.0:
            tag, seen, usual = self.novelty.strangest(row)
            return Abstention(
                f"{self.tags[tag]} is unlike anything learned from: mean {seen:.3g}, usually {usual:.3g}; window "
                f"{strange:.1f} times beyond the limit; check the sensor, or train with such windows",
                tag=self.tags[tag],
                score=strange,
            )
        flag = p > self.threshold
        health = DeviceHealth.MAINTENANCE_REQUIRED if flag else DeviceHealth.NORMAL
        value: dict[str, bool | float | int] = {
            "flag": flag, "failure_probability": p, "novelty": strange, "device_health": int(health)
        }  # fmt: skip
        reasons = self._reasons(row, p) if p > WORTH_EXPLAINING * self.threshold else (NO_SIGN,)
        return Advice(value, p if flag else 1.0 - p, reasons=reasons)

    def _reasons(self, row: Floats, p: float) -> tuple[Reason, ...]:
        """The tags without which the probability falls most. Source: Zeiler and Fergus (2014), occlusion."""
        parts = len(features.PARTS)
        without = np.repeat(row[None], len(self.tags), axis=0)
        for tag in range(len(self.tags)):
            own = slice(tag * parts, (tag + 1) * parts)
            without[tag, own] = self.novelty.middle[own]
        fell = np.maximum(p - self.probability(without), 0.0)
        total = max(float(fell.sum()), 1e-9)
        found = [t for t in np.argsort(-fell)[:3].tolist() if fell[t] > 0]
        return tuple(
            Reason(self.tags[t], float(fell[t] / total), f"{self.tags[t]} at {row[t * parts]:.3g}, usually "
                   f"{self.novelty.middle[t * parts]:.3g}")
            for t in found
        ) or (NO_SIGN,)  # fmt: skip


def _constant(log_odds: float, rows: Floats) -> Floats:
    return np.full(len(rows), log_odds)
