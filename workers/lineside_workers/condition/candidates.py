"""What fine-tuning compares: the naive rule, boosted trees, trees on an embedding, and networks in four ways."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from lineside_plugins.learning.encoder import Encoder, Headed
from lineside_plugins.learning.network import Schedule, train
from lineside_plugins.tasks.condition.model import OnEmbedding, with_embedding
from lineside_plugins.tasks.condition.scorers import Grown, Nearest, Scorer
from lineside_workers.condition.heads.base import Floats, Problem, Settings
from lineside_workers.condition.pretraining import Pretrained
from lineside_workers.condition.windows import Rows
from lineside_workers.learning import low_rank
from lineside_workers.learning.pace import Pace

NAIVE, SCRATCH = "naive", "network_from_scratch"
BATCH, EPOCHS = 256, 40
FEW_EPOCHS = 3  # on the CPU, to compare with


class Range(NamedTuple):
    """Where a setting may lie: its usual value and bounds; a whole number where those are."""

    usual: float
    low: float
    high: float


TREES = {
    "max_iter": Range(80, 30, 250),
    "learning_rate": Range(0.08, 0.02, 0.3),
    "max_leaf_nodes": Range(8, 4, 24),
    "min_samples_leaf": Range(20, 10, 60),
    "l2_regularization": Range(5.0, 0.1, 30.0),
}
NETWORK = {
    "learning_rate": Range(2e-3, 3e-4, 1e-2),
    "weight_decay": Range(1e-2, 1e-4, 0.3),
    "noise": Range(0.05, 0.01, 0.5),
}
HEAD_ONLY = {**NETWORK, "learning_rate": Range(1e-2, 1e-3, 5e-2)}
LORA = {**HEAD_ONLY, "rank": Range(4, 1, 16)}


@dataclass(frozen=True, slots=True)
class Bench:
    """What all candidates share: rows to learn from, rows to stop and choose by, the encoder, seed and device.

    ``spent`` counts the rows that went through networks, and the seconds that took.
    """

    problem: Problem
    pretrained: Pretrained
    fit: Rows
    stop: Rows
    seed: int
    device: str
    epochs: int = EPOCHS
    spent: dict[str, float] = field(default_factory=lambda: {"rows": 0.0, "seconds": 0.0})

    def network(self, encoder: Encoder, settings: Settings, watch: Watch, prepare: Callable[[Headed], None]) -> Scorer:
        """A head on ``encoder``, of which ``prepare`` says what may change."""
        torch.manual_seed(self.seed)
        normaliser = self.pretrained.normaliser
        outputs = self.problem.network_outputs(self.fit.x.shape[1])
        model = Headed(copy.deepcopy(encoder), outputs).to(self.device)
        prepare(model)
        data, held = (self._tensors(rows) for rows in (self.fit, self.stop))
        plan = Schedule(
            epochs=self.epochs, batch=BATCH, learning_rate=settings["learning_rate"],
            weight_decay=settings["weight_decay"], noise=settings["noise"],
        )  # fmt: skip

        def each_epoch(epoch: int, loss: float) -> None:
            self.spent["rows"] += len(self.fit)
            watch(epoch, loss)

        began = time.perf_counter()
        try:
            train(model, data, held, self.problem.loss, seed=self.seed, schedule=plan, each_epoch=each_epoch)
        finally:
            self.spent["seconds"] += time.perf_counter() - began
        low_rank.merge(model)
        return self.problem.network(model.cpu().eval(), normaliser)

    def pace(self) -> Pace:
        """How fast networks learned, beside a few epochs on the CPU where it was another device."""
        found = Pace((self.device,), round(self.spent["rows"]), self.spent["seconds"])
        return found.compared(self._on_cpu)

    def _on_cpu(self) -> float:
        few = replace(self, device="cpu", epochs=FEW_EPOCHS, spent={"rows": 0.0, "seconds": 0.0})
        _full(few, Candidate(_full, NETWORK).usual, unwatched)
        return few.pace().rate

    def _tensors(self, rows: Rows) -> list[torch.Tensor]:
        scaled = self.pretrained.normaliser(rows.x)
        return [torch.from_numpy(a).to(self.device) for a in (scaled, *self.problem.targets(rows, scaled))]


Watch = Callable[[int, float], None]
Learn = Callable[[Bench, Settings, Watch], Scorer]


@dataclass(frozen=True, slots=True)
class Candidate:
    """How it learns, and which settings it has."""

    learn: Learn
    space: Mapping[str, Range] = field(default_factory=dict)

    @property
    def usual(self) -> dict[str, float]:
        """Settings without a search."""
        return {name: r.usual for name, r in self.space.items()}


def candidates(bench: Bench) -> dict[str, Candidate]:
    """All that are compared, by name."""
    found = {
        NAIVE: Candidate(lambda b, _s, _w: b.problem.naive(b.fit)),
        "trees": Candidate(_trees, TREES),
        "trees_on_embedding": Candidate(_trees_on_embedding, TREES),
        SCRATCH: Candidate(_from_scratch, NETWORK),
        "network_pretrained": Candidate(_full, NETWORK),
        "network_head_only": Candidate(_head_only, HEAD_ONLY),
        "network_lora": Candidate(_lora, LORA),
    }
    for name, learn in bench.problem.others(bench.fit, bench.seed).items():
        found[name] = Candidate(_plain(learn))
        found[f"{name}_on_embedding"] = Candidate(_embedded(learn))
    return found


def unwatched(_epoch: int, _loss: float) -> None:
    """Nobody looks on."""


def _trees(bench: Bench, settings: Settings, _watch: Watch) -> Scorer:
    return bench.problem.grow(_as_they_are, bench.fit, _whole(settings), bench.seed)


def _trees_on_embedding(bench: Bench, settings: Settings, _watch: Watch) -> Scorer:
    own, prepare = bench.pretrained, _embedding(bench)
    return OnEmbedding(
        bench.problem.grow(prepare, bench.fit, _whole(settings), bench.seed), own.encoder, own.normaliser
    )


def _whole(settings: Settings) -> dict[str, Any]:
    return {name: round(v) if isinstance(TREES[name].usual, int) else v for name, v in settings.items()}


def _as_they_are(x: Floats) -> Floats:
    return x


def _embedding(bench: Bench) -> Callable[[Floats], Floats]:
    return lambda x: with_embedding(x, bench.pretrained.encoder, bench.pretrained.normaliser)


def _plain(learn: Callable[[Floats], Scorer]) -> Learn:
    return lambda bench, _settings, _watch: learn(bench.fit.x)


def _embedded(learn: Callable[[Floats], Grown | Nearest]) -> Learn:
    def on_embedding(bench: Bench, _settings: Settings, _watch: Watch) -> Scorer:
        own = bench.pretrained
        return OnEmbedding(learn(_embedding(bench)(bench.fit.x)), own.encoder, own.normaliser)

    return on_embedding


def _from_scratch(bench: Bench, settings: Settings, watch: Watch) -> Scorer:
    torch.manual_seed(bench.seed)
    own = bench.pretrained
    fresh = Encoder(2 * len(own.normaliser.mean), own.recipe.hidden, own.recipe.embedding)
    return bench.network(fresh, settings, watch, _everything)


def _full(bench: Bench, settings: Settings, watch: Watch) -> Scorer:
    return bench.network(bench.pretrained.encoder, settings, watch, _everything)


def _head_only(bench: Bench, settings: Settings, watch: Watch) -> Scorer:
    return bench.network(bench.pretrained.encoder, settings, watch, lambda m: _freeze(m.encoder))


def _lora(bench: Bench, settings: Settings, watch: Watch) -> Scorer:
    rank = round(settings["rank"])
    return bench.network(bench.pretrained.encoder, settings, watch, lambda m: low_rank.adapt(m.encoder, rank))


def _everything(model: nn.Module) -> None:
    model.requires_grad_(requires_grad=True)


def _freeze(module: nn.Module) -> None:
    module.requires_grad_(requires_grad=False)
