"""One pretraining: model, optimiser and where they stand, in one process or in each of a group."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from lineside_plugins.learning.encoder import Encoder, Pretext, pretext_loss
from lineside_workers.errors import ModelError
from lineside_workers.learning.encoders import Unlabelled
from lineside_workers.learning.group import Place

CHECKPOINT, STATE = "checkpoint.safetensors", "checkpoint.json"
LAG_H, LAGS = 48.0, 3.5  # scale of the age head, and the longest lag on it: a week, on which it was chosen
FEW_STEPS, WARM_UP_STEPS = 20, 3


@dataclass(frozen=True, slots=True)
class Recipe:
    """Size of the encoder and length of its pretraining; it stops after ``patience`` epochs without a better loss.

    ``pairs`` of windows make a step, over all devices together.
    """

    hidden: tuple[int, ...] = (64, 32)
    embedding: int = 16
    epochs: int = 30
    patience: int = 8
    pairs: int = 128
    learning_rate: float = 3e-3
    noise: float = 0.1
    dropout: float = 0.1


class Run:
    """An epoch depends on seed and number alone, so that a resumed run is the same as one that was not interrupted.

    In a group each member takes its share of the pairs of a step, which all draw alike, and losses are divided by the
    counts of the whole step: the gradient is that of one process with all of them.
    """

    def __init__(self, recipe: Recipe, train: Unlabelled, judge: Unlabelled, place: Place, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.seed, self.place = recipe, seed, place
        encoder = Encoder(train.rows.shape[1], recipe.hidden, recipe.embedding, recipe.dropout)
        self.model = Pretext(encoder, train.coming.shape[1]).to(place.device)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=recipe.learning_rate, weight_decay=1e-2)
        self.epoch, self.since, self.losses = 0, 0, list[float]()
        self.best_state = {k: v.clone() for k, v in self.model.state_dict().items()}
        self._forward = place.parallel(self.model)
        self._train, self._judge = train, judge
        self._lag_h = max(LAG_H, _longest(train) / LAGS)
        self._judged = _pairs(judge, 8 * recipe.pairs, np.random.default_rng(seed))

    @property
    def goes_on(self) -> bool:
        """Whether there is another epoch."""
        return self.epoch < self.recipe.epochs and self.since < self.recipe.patience

    @property
    def steps(self) -> int:
        """Steps of an epoch, which sees about as many rows as there are."""
        return max(1, len(self._train.rows) // (2 * self.recipe.pairs))

    def rate(self) -> float:
        """Learning rate of the epoch that is due: a cosine down to a fiftieth."""
        share = min(1.0, self.epoch / self.recipe.epochs)
        return self.recipe.learning_rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * share)))

    def one_epoch(self) -> float:
        """Train for an epoch and judge it; the mean training loss over the group."""
        rng = np.random.default_rng((self.seed, self.epoch))
        torch.manual_seed(self.seed * 10_007 + self.epoch + 1_000_003 * self.place.rank)  # what drops out
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.model.train()
        total = float(torch.stack([self._step(rng) for _ in range(self.steps)]).sum())
        self.model.eval()
        with torch.inference_mode():
            now = float(self._loss(self._judge, self._judged, self._judge.rows[self._judged], self.model))
        now = self.place.of_the_first(now)
        better = not self.losses or now < min(self.losses)
        if better:
            self.best_state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.since = 0 if better else self.since + 1
        self.losses.append(now)
        self.epoch += 1
        return self.place.total(total) / self.steps

    def few_steps(self) -> float:
        """Samples per second of a few steps; the model is no use afterwards."""
        rng = np.random.default_rng(self.seed)
        self.model.train()
        for _ in range(WARM_UP_STEPS):
            self._step(rng)
        began = time.perf_counter()
        for _ in range(FEW_STEPS):
            self._step(rng)
        return 2 * self.recipe.pairs * FEW_STEPS / (time.perf_counter() - began)

    def _step(self, rng: np.random.Generator) -> torch.Tensor:
        """One step on this member's share of a batch; its share of the loss."""
        at = _pairs(self._train, self.recipe.pairs, rng)
        given = self._train.rows[at]
        given = given + self.recipe.noise * rng.standard_normal(given.shape, dtype=np.float32)
        loss = self._loss(self._train, at, given, self._forward, self.place)
        self.optimiser.zero_grad(set_to_none=True)
        (self.place.world * loss).backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        self.optimiser.step()
        return loss.detach()

    def _loss(
        self,
        data: Unlabelled,
        at: NDArray[np.int64],
        given: NDArray[np.float32],
        forward: Any,
        share: Place | None = None,
    ) -> torch.Tensor:
        """Loss of rows ``at`` (2 * P,), or of a ``share`` of their pairs, over the counts of all of them."""
        place, device = share or Place(), self.place.device
        own = np.arange(len(at)).reshape(-1, 2)[place.rank :: place.world].reshape(-1)
        rows = torch.from_numpy(np.ascontiguousarray(given[own])).to(device)
        rounded = torch.autocast("cuda", torch.bfloat16, enabled=share is not None and device.startswith("cuda"))
        with rounded:
            age, ahead = forward(rows)
        hours = torch.from_numpy((data.time[at[own]] / self._lag_h).astype(np.float32)).to(device)
        coming = torch.from_numpy(data.coming[at[own]]).to(device)
        counts = len(at) // 2, int(np.isfinite(data.coming[at]).sum())
        return pretext_loss(age.float(), ahead.float(), hours, coming, counts=counts)

    def keep(self, out: Path, identity: Mapping[str, Any]) -> None:
        """Write the checkpoint: weights first, then the line that makes them valid."""
        tensors = {f"now.{k}": v.cpu().contiguous() for k, v in self.model.state_dict().items()}
        tensors |= {f"best.{k}": v.cpu().contiguous() for k, v in self.best_state.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{k}": torch.as_tensor(v).cpu().clone() for k, v in state.items()}
        save_file(tensors, out / f".{CHECKPOINT}", {"epoch": str(self.epoch)})
        (out / f".{CHECKPOINT}").replace(out / CHECKPOINT)
        state = {"identity": identity, "epoch": self.epoch, "since": self.since, "losses": self.losses}
        (out / f".{STATE}").write_text(json.dumps(state), encoding="utf-8")
        (out / f".{STATE}").replace(out / STATE)

    def resume(self, out: Path, state: Mapping[str, Any] | None) -> None:
        """Take up the checkpoint in ``out``, whose ``state`` was read, if there is one."""
        if state is None:
            return
        tensors = load_file(out / CHECKPOINT)
        self.model.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("now.")})
        self.best_state = {k[5:]: v for k, v in tensors.items() if k.startswith("best.")}
        whole = self.optimiser.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, field = name.split(".")
                whole["state"].setdefault(int(number), {})[field] = value
        self.optimiser.load_state_dict(whole)
        self.epoch, self.since, self.losses = state["epoch"], state["since"], list(state["losses"])


def stored_state(out: Path, identity: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Where the checkpoint in ``out`` stands; None where there is none.

    Raises:
        ModelError: It belongs to another run.
    """
    if not (out / STATE).is_file() or not (out / CHECKPOINT).is_file():
        return None
    state: Mapping[str, Any] = json.loads((out / STATE).read_text(encoding="utf-8"))
    if state["identity"] != json.loads(json.dumps(identity)):
        raise ModelError(f"{out} holds the checkpoint of another run; choose another --out, or remove {STATE} there")
    return state


def follow(
    place: Place, recipe: Recipe, train: Unlabelled, judge: Unlabelled, seed: int, out: Path, state: Any
) -> None:
    """What every member of a group but the first does: the same epochs, and nothing else."""
    run = Run(recipe, train, judge, place, seed)
    run.resume(out, state)
    while run.goes_on:
        run.one_epoch()


def _longest(data: Unlabelled) -> float:
    """Time between the first and the last row of a recording, the longest of all."""
    starts = np.flatnonzero(np.diff(data.recording, prepend=-1) != 0)
    lasts = np.append(starts[1:], len(data.recording)) - 1
    return float((data.time[lasts] - data.time[starts]).max())


def _pairs(data: Unlabelled, pairs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows (2 * pairs,): two moments of one machine behind each other."""
    starts = np.flatnonzero(np.diff(data.recording, prepend=-1) != 0)
    lengths = np.diff(np.append(starts, len(data.recording)))
    chosen = rng.choice(len(starts), pairs, p=lengths / lengths.sum())
    within = (rng.random((pairs, 2)) * lengths[chosen, None]).astype(np.int64)
    out: NDArray[np.int64] = (starts[chosen, None] + within).reshape(-1)
    return out
