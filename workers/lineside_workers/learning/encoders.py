"""Pretraining on unlabelled recordings, and fine-tuning on few labelled ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lineside_plugins.learning.encoder import Encoder, Headed, Pretext, pretext_loss
from lineside_plugins.learning.network import Schedule, train

Rows: TypeAlias = NDArray[np.float32]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PretrainRecipe:
    """Size of the encoder and length of its pretraining; ``lag`` is the longest lag asked for, in rows.

    ``lag_weight`` 0 leaves the lag out: the encoder then learns from what comes alone.
    """

    hidden: tuple[int, ...] = (96, 48)
    embedding: int = 24
    epochs: int = 12
    pairs: int = 256
    lag: float = 150.0
    lag_weight: float = 1.0
    learning_rate: float = 3e-3
    noise: float = 0.1


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Scaled ``rows`` float32 (R, F) of many recordings, which (R,) each belongs to, its ``time`` (R,) in rows.

    ``coming`` float32 (R, C) is how each channel will have changed some rows later, at one horizon or more; NaN where
    the recording ends before.
    """

    rows: Rows
    recording: NDArray[np.int64]
    time: NDArray[np.float64]
    coming: Rows


def pretrain(data: Unlabelled, recipe: PretrainRecipe, seed: int, say: Say, device: str = "cpu") -> Pretext:
    """Train an encoder and its heads on pairs of moments of one recording; deterministic given ``seed`` and threads.

    On a GPU in bfloat16; what is returned lies on the CPU.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Pretext(Encoder(data.rows.shape[1], recipe.hidden, recipe.embedding), data.coming.shape[1]).to(device)
    starts = np.flatnonzero(np.diff(data.recording, prepend=-1) != 0)
    lengths = np.diff(np.append(starts, len(data.recording)))
    steps = recipe.epochs * max(1, len(data.rows) // (2 * recipe.pairs))
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-2)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, steps)
    rows, coming = torch.from_numpy(data.rows).to(device), torch.from_numpy(data.coming).to(device)
    time = torch.from_numpy((data.time / recipe.lag).astype(np.float32)).to(device)
    rounded = torch.autocast(rows.device.type, torch.bfloat16, enabled=rows.device.type == "cuda")
    share, total = lengths / lengths.sum(), 0.0
    for step in range(1, steps + 1):
        chosen = rng.choice(len(starts), recipe.pairs, p=share)
        pair = starts[chosen, None] + (rng.random((recipe.pairs, 2)) * lengths[chosen, None]).astype(np.int64)
        at = torch.from_numpy(pair.reshape(-1)).to(device)
        given = rows[at] + recipe.noise * torch.randn(len(at), rows.shape[1]).to(device)
        with rounded:
            age, ahead = model(given)
        loss = pretext_loss(age.float(), ahead.float(), time[at], coming[at], recipe.lag_weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        optimiser.step()
        pace.step()
        total += float(loss.detach())
        if step % max(1, steps // 4) == 0:
            say(f"pretraining: step {step} of {steps}, loss {total / max(1, steps // 4):.3f}")
            total = 0.0
    return model.cpu().eval()


def fine_tune(encoder: Encoder, data: list[Tensor], held_out: list[Tensor], schedule: Schedule, seed: int) -> Headed:
    """Train a linear output and the encoder below it; the encoder given is left as it was."""
    torch.manual_seed(seed)
    model = Headed(copy.deepcopy(encoder))
    train(model, data, held_out, lambda out, rest: ((out - rest[0]) ** 2).mean(), seed=seed, schedule=schedule)
    return model
