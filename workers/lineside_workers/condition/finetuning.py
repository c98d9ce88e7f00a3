"""``lineside finetune``: candidates on labelled windows, chosen by validation units."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from lineside_plugins.contract import TrainedModel
from lineside_plugins.learning import metrics
from lineside_plugins.learning.encoder import Encoder, Headed
from lineside_plugins.learning.network import Schedule, train
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns, sigmoid
from lineside_plugins.tasks.condition import features
from lineside_plugins.tasks.condition.model import EmbeddedTrees, Network, with_embedding
from lineside_plugins.tasks.condition.novelty import Novelty
from lineside_workers.condition.pretraining import Pretrained
from lineside_workers.condition.splitting import Split
from lineside_workers.condition.windows import Rows, counts
from lineside_workers.errors import LabelError, SplitError

Say = Callable[[str], None]
Floats = NDArray[np.float64]
NAIVE = "naive"
TREES = {"max_iter": 80, "learning_rate": 0.08, "max_leaf_nodes": 8, "min_samples_leaf": 20, "l2_regularization": 5.0}
THRESHOLDS = np.round(np.linspace(0.02, 0.98, 49), 3)
DECILES = np.linspace(0.0, 1.0, 11)


class Scorer(Protocol):
    """Log-odds (R,) of features (R, F)."""

    def __call__(self, rows: Floats) -> Floats:
        """Raw score."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a window costs in which the flag is wrong: an event not announced, an alarm for nothing."""

    miss: float = 8.0
    alarm: float = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scorer with the two numbers that make its scores probabilities on validation units."""

    score: Scorer
    slope: float
    offset: float
    tensors: Mapping[str, NDArray[Any]]

    def probability(self, rows: Floats) -> Floats:
        """Calibrated probability (R,)."""
        return sigmoid(self.slope * self.score(rows) + self.offset)


def finetune(
    data: Rows, pretrained: Pretrained, question: str, costs: Costs, *, seed: int, device: str, say: Say
) -> TrainedModel:
    """Train every candidate on labelled training units, ship the one with the lowest validation loss.

    Raises:
        LabelError: A side of the split has no labelled row, or training has only one class.
    """
    split = pretrained.split
    fit, choose, test = (data.of(getattr(split, part)).known for part in ("train", "validation", "test"))
    _check_balance(fit, choose, test)
    candidates: dict[str, Candidate] = {}
    for name, learn in _learners(pretrained, seed, device).items():
        score, tensors = learn(fit, choose)
        slope, offset = _calibration(score(choose.x), choose.label)
        candidates[name] = Candidate(score, slope, offset, tensors)
        say(f"{name}: validation loss {_loss(candidates[name], choose):.4f}")
    losses = {name: _loss(c, choose) for name, c in candidates.items()}
    winner = min(losses, key=lambda name: losses[name])
    threshold = best_threshold(candidates[winner].probability(choose.x), choose.label == 1, costs)
    seen = data.of((*split.train, *split.validation))
    novelty = Novelty.fit(seen.x, seen.unit, seed)
    report = [_measured(name, part, c, rows, threshold) for name, c in candidates.items()
              for part, rows in (("validation", choose), ("test", test))]  # fmt: skip
    won = candidates[winner]
    config = {
        "winner": winner, "tags": [list(t) for t in pretrained.config.tags.items()], "length": pretrained.config.length,
        "period_s": pretrained.config.period_s, "threshold": threshold, "calibration": [won.slope, won.offset],
        "encoder": {"hidden": list(pretrained.recipe.hidden), "embedding": pretrained.recipe.embedding},
        "question": question,
        "reference": {
            **reference(data.of(split.train), list(pretrained.config.tags)),
            "": [float(v) for v in np.quantile(won.probability(data.of(split.train).x), DECILES)],
        },
        "costs": {"miss": costs.miss, "alarm": costs.alarm},
    }  # fmt: skip
    measured = {r["candidate"]: r for r in report if r["split"] == "test"}
    units = {part: list(getattr(split, part)) for part in ("train", "validation", "test")}
    figures = {
        "units": units,
        "rows": counts(data, split),
        "winner": winner,
        "test": measured[winner],
        "losses": losses,
    }
    say(f"ships: {winner}")
    return TrainedModel(config, {**won.tensors, **novelty.to_tensors()}, _finite(figures), tuple(map(_finite, report)))


def reference(data: Rows, tags: list[str]) -> dict[str, list[float]]:
    """Deciles of each tag's window mean over training windows, for the drift watch."""
    means = data.x[:, :: len(features.PARTS)]
    return {tag: [float(v) for v in np.nanquantile(means[:, c], DECILES)] for c, tag in enumerate(tags)}


def check_split(pretrained: Pretrained, wanted: Split) -> None:
    """Compare a split with the one the encoder was trained by.

    Raises:
        SplitError: The encoder has learned from, or was chosen by, a unit that is to judge now.
    """
    seen = {*pretrained.split.train, *pretrained.split.validation}
    if both := sorted(seen & set(wanted.test)):
        raise SplitError(
            f"the split leaks: {', '.join(both)} is to test, and the encoder was pretrained with it; "
            "pretrain with the same --split"
        )


def best_threshold(p: Floats, label: NDArray[np.bool_], costs: Costs) -> float:
    """The probability above which the flag costs least; what the costs alone say where nothing happened."""
    if not label.any():
        return costs.alarm / (costs.alarm + costs.miss)
    cost = [costs.miss * (label & (p <= t)).sum() + costs.alarm * (~label & (p > t)).sum() for t in THRESHOLDS]
    return float(THRESHOLDS[int(np.argmin(cost))])


Learned = tuple[Scorer, Mapping[str, NDArray[Any]]]


def _learners(pretrained: Pretrained, seed: int, device: str) -> dict[str, Callable[[Rows, Rows], Learned]]:
    torch.manual_seed(seed)
    fresh = Encoder(2 * len(pretrained.normaliser.mean), pretrained.recipe.hidden, pretrained.recipe.embedding)

    def naive(_fit: Rows, _choose: Rows) -> Learned:
        return lambda rows: np.zeros(len(rows)), {}

    def trees(fit: Rows, _choose: Rows) -> Learned:
        grown = _grow(fit.x, fit.label, seed)
        return grown.margin, grown.to_tensors("trees.")

    def on_embedding(fit: Rows, _choose: Rows) -> Learned:
        grown = _grow(with_embedding(fit.x, pretrained.encoder, pretrained.normaliser), fit.label, seed)
        model = EmbeddedTrees(grown, pretrained.encoder, pretrained.normaliser)
        return model, model.to_tensors()

    def network(encoder: Encoder, *, frozen: bool) -> Callable[[Rows, Rows], Learned]:
        def learn(fit: Rows, choose: Rows) -> Learned:
            model = _headed(encoder, pretrained.normaliser, fit, choose, frozen=frozen, seed=seed, device=device)
            return model, model.to_tensors()

        return learn

    return {
        NAIVE: naive,
        "trees": trees,
        "trees_on_embedding": on_embedding,
        "network_from_scratch": network(fresh, frozen=False),
        "network_pretrained": network(pretrained.encoder, frozen=False),
        "network_head_only": network(pretrained.encoder, frozen=True),
    }


def _grow(x: Floats, label: NDArray[np.int64], seed: int) -> TreeEnsemble:
    model = HistGradientBoostingClassifier(**TREES, early_stopping=False, random_state=seed)
    model.fit(seen_columns(x), label)
    return TreeEnsemble.from_gradient_boosting(model)


def _headed(
    encoder: Encoder, normaliser: Normaliser, fit: Rows, choose: Rows, *, frozen: bool, seed: int, device: str
) -> Network:
    torch.manual_seed(seed)
    model = Headed(copy.deepcopy(encoder)).to(device)
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(not frozen)
    known, held = ([torch.from_numpy(normaliser(r.x)).to(device), torch.from_numpy(r.label).float().to(device)]
                   for r in (fit, choose))  # fmt: skip
    rare = torch.tensor(float((fit.label == 0).sum() / max(1, (fit.label == 1).sum())))

    def loss(out: Tensor, rest: Any) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(out[:, 0], rest[0], pos_weight=rare.to(out.device))

    plan = Schedule(epochs=40, batch=256, learning_rate=1e-2 if frozen else 2e-3, weight_decay=1e-2, noise=0.05)
    train(model, known, held, loss, seed=seed, schedule=plan)
    return Network(model.cpu().eval(), normaliser)


def _calibration(score: Floats, label: NDArray[np.int64]) -> tuple[float, float]:
    """Slope and offset of the log-odds on validation units. Source: Platt, Probabilistic Outputs (1999)."""
    if len(set(label.tolist())) < 2 or float(np.ptp(score)) < 1e-9:
        rate = (float((label == 1).sum()) + 0.5) / (len(label) + 1.0)
        return (0.0, float(np.log(rate / (1 - rate))))
    fitted = LogisticRegression(C=10.0).fit(score[:, None], label)
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:  # ranks the wrong way round on validation units: the plain rate is more honest
        return _calibration(np.zeros(len(score)), label)
    return slope, float(fitted.intercept_[0])


def _loss(candidate: Candidate, rows: Rows) -> float:
    p = np.clip(candidate.probability(rows.x), 1e-6, 1 - 1e-6)
    return float(-np.where(rows.label == 1, np.log(p), np.log(1 - p)).mean())


def _measured(name: str, part: str, candidate: Candidate, rows: Rows, threshold: float) -> dict[str, object]:
    p, label = candidate.probability(rows.x), rows.label == 1
    return {
        "candidate": name,
        "split": part,
        "loss": _loss(candidate, rows),
        "auroc": metrics.auroc(label, p),
        "average_precision": metrics.average_precision(label, p),
        "brier": metrics.brier(label, p),
        "calibration_error": metrics.calibration_error(label, p),
        "f1": metrics.f1(label, p > threshold),
        "false_alarm_rate": metrics.false_alarm_rate(label, p > threshold),
    }


def _check_balance(fit: Rows, choose: Rows, test: Rows) -> None:
    for part, rows in (("train", fit), ("validation", choose), ("test", test)):
        if not len(rows):
            raise LabelError(f"no label falls on any {part} unit; label those too, or move units with --split")
    if len(set(fit.label.tolist())) < 2:
        only = "positive" if fit.label[0] == 1 else "negative"
        raise LabelError(
            f"all {len(fit)} labelled training windows are {only}; training needs both: record longer, widen "
            "--horizon-h of lineside label, or move units with --split"
        )


def _finite(row: Any) -> Any:
    """Numbers that are not (a ranking without both classes) become None: JSON has no NaN."""
    if isinstance(row, Mapping):
        return {k: _finite(v) for k, v in row.items()}
    return None if isinstance(row, float) and not np.isfinite(row) else row
