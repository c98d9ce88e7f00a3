"""From a batch of windows to advice, or to abstention where nothing like them was learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.condition import features, scorers
from lineside_plugins.tasks.condition.answering import Answer
from lineside_plugins.tasks.condition.answers import answer_of
from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_plugins.tasks.condition.fields import fields_of
from lineside_plugins.tasks.condition.novelty import Novelty
from lineside_plugins.types import Abstention, Advice, ContractError, DeviceHealth, ModelData, Reason, WindowBatch

Floats: TypeAlias = NDArray[np.float64]
NO_SIGN = Reason("", 0.0, "nothing in the window points to it")
NAMED = 3  # tags in a list of reasons
HEAD_KEYS = {
    Head.CLASSIFICATION: (),
    Head.CLASSES: ("classes",),
    Head.REGRESSION: ("unit",),
    Head.QUANTILES: ("unit", "quantiles"),
    Head.FORECASTING: ("forecast_tag", "ahead_h"),
    Head.ANOMALY: (),
}  # what of the configuration the model must have been trained with, besides tags and window


@dataclass(frozen=True, slots=True)
class Advisor:
    """One trained model. Stateless between batches."""

    score: scorers.Scorer
    answer: Answer
    novelty: Novelty
    tags: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def from_model(cls, model: ModelData, device: str, config: ConditionConfig) -> Advisor:
        """Build from stored tensors; torch is imported only if a network won.

        Raises:
            ContractError: The model was trained for another head, or on other tags, units or windows than configured.
        """
        learned = cast("Mapping[str, Any]", model.config)
        trained = _trained(model, learned, config)
        own = {name: getattr(config, name) for name in ("threshold", "alarm_above", "alarm_below")}
        answer = answer_of(trained.model_copy(update=own), learned["answer"])
        names = tuple(f.name for f in fields_of(trained))
        score = scorers.stored(model, device)
        return cls(score, answer, Novelty.from_tensors(model.tensors), tuple(trained.tags), names)

    def quantities(self, rows: Floats) -> Floats:
        """What is published of features (R, F), as numbers (R, Q)."""
        return self.answer.quantities(self.score(rows), rows)

    def advise(self, batch: WindowBatch) -> list[Advice | Abstention | None]:
        """One entry per window, in the batch's order; None where no tag was seen."""
        order = [batch.channel(tag) for tag in self.tags]
        rows = features.statistics(batch.values[:, :, order])
        strange, said = self.novelty.score(rows), self.quantities(rows)
        out: list[Advice | Abstention | None] = [None] * len(rows)
        seen = np.isfinite(rows[:, :: len(features.PARTS)]).any(axis=1) & np.isfinite(said).all(axis=1)
        refused = seen & (strange > 1.0) & self.answer.abstains
        for i in np.flatnonzero(refused).tolist():
            out[i] = self._abstention(rows[i], float(strange[i]))
        able = np.flatnonzero(seen & ~refused)
        if len(able):
            for i, advice in zip(able.tolist(), self._advice(rows[able], strange[able], said[able]), strict=True):
                out[i] = advice
        return out

    def _abstention(self, row: Floats, strange: float) -> Abstention:
        tag, seen, usual = self.novelty.strangest(row)
        mean = f"mean {seen:.3g}" if np.isfinite(seen) else "hardly a good value in it"
        return Abstention(
            f"{self.tags[tag]} is unlike anything learned from: {mean}, usually {usual:.3g}; window "
            f"{strange:.1f} times beyond the limit; check the sensor, or train with such windows",
            tag=self.tags[tag],
            score=strange,
        )

    def _advice(self, rows: Floats, strange: Floats, said: Floats) -> list[Advice]:
        flags, sure = self.answer.flag(said), self.answer.confidence(said)
        reasons: list[tuple[Reason, ...]] = [(NO_SIGN,)] * len(rows)
        explained = np.flatnonzero(self.answer.worth_explaining(said))
        if len(explained):
            for i, found in zip(explained.tolist(), self._reasons(rows[explained], said[explained]), strict=True):
                reasons[i] = found
        out = []
        for i, numbers in enumerate(said):
            flag = bool(flags[i])
            health = DeviceHealth.MAINTENANCE_REQUIRED if flag else DeviceHealth.NORMAL
            value: dict[str, bool | float | int] = {
                "flag": flag, **dict(zip(self.names, numbers.tolist(), strict=True)), "novelty": float(strange[i]),
                "device_health": int(health),
            }  # fmt: skip
            out.append(Advice(value, float(sure[i]), self.answer.interval(numbers), reasons[i]))
        return out

    def _reasons(self, rows: Floats, said: Floats) -> list[tuple[Reason, ...]]:
        """For each row the tags without which the main quantity goes furthest back to that of a usual window.

        Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks (2014), occlusion.
        """
        main, parts, usual = self.answer.main, len(features.PARTS), self.novelty.middle
        towards = np.ones(len(rows))
        if not self.answer.one_sided:
            towards = np.sign(said[:, main] - self.quantities(usual[None])[0, main])
        moved = np.empty((len(rows), len(self.tags)))
        for tag in range(len(self.tags)):
            without = rows.copy()
            own = slice(tag * parts, (tag + 1) * parts)
            without[:, own] = usual[own]
            moved[:, tag] = np.maximum(towards * (said[:, main] - self.quantities(without)[:, main]), 0.0)
        return [
            self._named(row, shares / max(float(shares.sum()), 1e-9)) for row, shares in zip(rows, moved, strict=True)
        ]

    def _named(self, row: Floats, shares: Floats) -> tuple[Reason, ...]:
        parts = len(features.PARTS)
        found = [t for t in np.argsort(-shares)[:NAMED].tolist() if shares[t] > 0]
        return tuple(
            Reason(self.tags[t], float(shares[t]), f"{self.tags[t]} at {row[t * parts]:.3g}, usually "
                   f"{self.novelty.middle[t * parts]:.3g}")
            for t in found
        ) or (NO_SIGN,)  # fmt: skip


def _trained(model: ModelData, learned: Mapping[str, Any], config: ConditionConfig) -> ConditionConfig:
    """What the model was trained for, tags in the order of its features; checked against what is configured."""
    if "answer" not in learned:
        raise ContractError(
            f"model {model.version} is of an earlier kind; fine-tune again with this version of Lineside"
        )
    trained = ConditionConfig.from_stored(learned["task"])
    for name in ("head", "tags", "length", "period_s", *HEAD_KEYS[trained.head]):
        then, now = getattr(trained, name), getattr(config, name)
        if then != now:
            raise ContractError(
                f"model {model.version} was trained with {name} {then}, the configuration has {now}; "
                f"set config.{name.removesuffix('_tag')} of task 'condition' to the model's, or fine-tune for that "
                "configuration"
            )
    return trained
