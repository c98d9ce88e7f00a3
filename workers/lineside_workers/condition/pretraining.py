"""``lineside pretrain``: an encoder that learns from unlabelled windows, with checkpoints that resume exactly.

<out>/encoder.safetensors   weights of the best epoch, normaliser, scale of what comes
<out>/encoder.json          tags, window, sizes, split, losses
<out>/checkpoint.*          weights, optimiser and epoch of the last epoch; gone when training is done
<out>/curves.csv            epoch, training loss, validation loss, learning rate, seconds
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lineside_plugins.learning.encoder import Encoder, Pretext, pretext_loss
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers.condition.splitting import Split, of_mapping
from lineside_workers.condition.windows import Rows, unlabelled
from lineside_workers.errors import ModelError
from lineside_workers.learning.curves import Curves
from lineside_workers.learning.encoders import Unlabelled

Say = Callable[[str], None]
WEIGHTS, FACTS, CHECKPOINT, STATE = "encoder.safetensors", "encoder.json", "checkpoint.safetensors", "checkpoint.json"
_LAG_H = 48.0  # longest lag asked for; the scale of the age head


@dataclass(frozen=True, slots=True)
class Recipe:
    """Size of the encoder and length of its pretraining; it stops after ``patience`` epochs without a better loss."""

    hidden: tuple[int, ...] = (64, 32)
    embedding: int = 16
    epochs: int = 30
    patience: int = 8
    pairs: int = 128
    learning_rate: float = 3e-3
    noise: float = 0.1


@dataclass(frozen=True, slots=True)
class Pretrained:
    """An encoder with all that is needed to use it on windows."""

    encoder: Encoder
    normaliser: Normaliser
    config: ConditionConfig
    recipe: Recipe
    split: Split
    losses: tuple[float, ...] = ()


def pretrain(
    data: Rows, config: ConditionConfig, split: Split, recipe: Recipe, out: Path, *, seed: int, device: str, say: Say
) -> Pretrained:
    """Train on the split's training units, stop by its validation units, save to ``out``; takes up a checkpoint there.

    Raises:
        ModelError: The checkpoint in ``out`` belongs to another run.
    """
    known, held = data.of(split.train), data.of(split.validation)
    normaliser = Normaliser.fit(known.x)
    scale = np.maximum(np.nanstd(known.coming, axis=0), 1e-9)
    train, judge = (unlabelled(part, normaliser, scale) for part in (known, held))
    run = _Run(recipe, train, judge, device, seed)
    identity = {"recipe": asdict(recipe), "seed": seed, "rows": len(train.rows), "tags": list(config.tags)}
    out.mkdir(parents=True, exist_ok=True)
    run.resume(out, json.loads(json.dumps(identity)), say)
    with Curves(out, resumed=run.epoch > 0) as curves:
        while run.epoch < recipe.epochs and run.since < recipe.patience:
            started = time.monotonic()
            loss = run.one_epoch()
            row = {"epoch": run.epoch, "train": loss, "validation": run.losses[-1], "learning_rate": run.rate()}
            curves.add({**row, "seconds": time.monotonic() - started})
            run.keep(out, identity)
            say(f"epoch {run.epoch} of {recipe.epochs}: loss {loss:.4f}, validation {run.losses[-1]:.4f}")
    run.model.load_state_dict(run.best_state)
    found = Pretrained(run.model.encoder.cpu().eval(), normaliser, config, recipe, split, tuple(run.losses))
    save(found, out)
    for name in (CHECKPOINT, STATE):
        (out / name).unlink(missing_ok=True)
    return found


class _Run:
    """Model, optimiser and where they stand.

    An epoch depends on seed and number alone, so that a resumed run is the same as one that was not interrupted.
    """

    def __init__(self, recipe: Recipe, train: Unlabelled, judge: Unlabelled, device: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.seed, self.device = recipe, seed, device
        encoder = Encoder(train.rows.shape[1], recipe.hidden, recipe.embedding)
        self.model = Pretext(encoder, train.coming.shape[1]).to(device)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=recipe.learning_rate, weight_decay=1e-2)
        self.epoch, self.since, self.losses = 0, 0, list[float]()
        self.best_state = {k: v.clone() for k, v in self.model.state_dict().items()}
        self._train, self._judge = train, judge
        self._judged = _pairs(judge, 8 * recipe.pairs, np.random.default_rng(seed))

    def rate(self) -> float:
        """Learning rate of the epoch that is due: a cosine down to a fiftieth."""
        share = min(1.0, self.epoch / self.recipe.epochs)
        return self.recipe.learning_rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * share)))

    def one_epoch(self) -> float:
        """One pass over about as many rows as there are; the mean training loss."""
        rng = np.random.default_rng((self.seed, self.epoch))
        torch.manual_seed(self.seed * 10_007 + self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.model.train()
        steps, total = max(1, len(self._train.rows) // (2 * self.recipe.pairs)), 0.0
        for _ in range(steps):
            loss = self._loss(self._train, _pairs(self._train, self.recipe.pairs, rng), self.recipe.noise)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
            self.optimiser.step()
            total += float(loss.detach())
        self.model.eval()
        with torch.inference_mode():
            now = float(self._loss(self._judge, self._judged, 0.0))
        better = not self.losses or now < min(self.losses)
        if better:
            self.best_state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.since = 0 if better else self.since + 1
        self.losses.append(now)
        self.epoch += 1
        return total / steps

    def _loss(self, data: Unlabelled, at: NDArray[np.int64], noise: float) -> torch.Tensor:
        rows = torch.from_numpy(data.rows[at]).to(self.device)
        if noise:
            rows = rows + noise * torch.randn_like(rows)
        age, ahead = self.model(rows)
        hours = torch.from_numpy((data.time[at] / _LAG_H).astype(np.float32)).to(self.device)
        return pretext_loss(age, ahead, hours, torch.from_numpy(data.coming[at]).to(self.device))

    def keep(self, out: Path, identity: dict[str, Any]) -> None:
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

    def resume(self, out: Path, identity: dict[str, Any], say: Say) -> None:
        """Take up the checkpoint in ``out``, if there is one of this run."""
        if not (out / STATE).is_file() or not (out / CHECKPOINT).is_file():
            return
        state = json.loads((out / STATE).read_text(encoding="utf-8"))
        if state["identity"] != identity:
            raise ModelError(
                f"{out} holds the checkpoint of another run; choose another --out, or remove {STATE} there"
            )
        tensors = load_file(out / CHECKPOINT)
        self.model.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("now.")})
        self.best_state = {k[5:]: v for k, v in tensors.items() if k.startswith("best.")}
        whole = self.optimiser.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, field = name.split(".")
                whole["state"].setdefault(int(number), {})[field] = value
        self.optimiser.load_state_dict(whole)
        self.epoch, self.since, self.losses = state["epoch"], state["since"], state["losses"]
        say(f"going on after epoch {self.epoch}")


def _pairs(data: Unlabelled, pairs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows (2 * pairs,): two moments of one machine behind each other."""
    starts = np.flatnonzero(np.diff(data.recording, prepend=-1) != 0)
    lengths = np.diff(np.append(starts, len(data.recording)))
    chosen = rng.choice(len(starts), pairs, p=lengths / lengths.sum())
    within = (rng.random((pairs, 2)) * lengths[chosen, None]).astype(np.int64)
    out: NDArray[np.int64] = (starts[chosen, None] + within).reshape(-1)
    return out


def with_split(found: Pretrained, split: Split) -> Pretrained:
    """The same encoder for another split; the caller checks that it does not leak."""
    return replace(found, split=split)


def save(found: Pretrained, out: Path) -> None:
    """Write the encoder to ``out``."""
    tensors = {f"encoder.{k}": v.contiguous() for k, v in found.encoder.state_dict().items()}
    tensors |= {k: torch.from_numpy(np.array(v)) for k, v in found.normaliser.to_tensors().items()}
    save_file(tensors, out / WEIGHTS)
    facts = {
        "tags": list(found.config.tags.items()),
        "length": found.config.length,
        "period_s": found.config.period_s,
        "recipe": asdict(found.recipe),
        "split": json.loads(found.split.to_json()),
        "losses": list(found.losses),
    }
    (out / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> Pretrained:
    """Read an encoder.

    Raises:
        ModelError: There is none, or it was cut short.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        facts["recipe"]["hidden"] = tuple(facts["recipe"]["hidden"])
        recipe = Recipe(**facts["recipe"])
        config = ConditionConfig(tags=dict(facts["tags"]), length=facts["length"], period_s=facts["period_s"])
        normaliser = Normaliser.from_tensors({k: v.numpy() for k, v in tensors.items()})
        encoder = Encoder(2 * len(normaliser.mean), recipe.hidden, recipe.embedding)
        encoder.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("encoder.")})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as e:
        raise ModelError(
            f"{folder} holds no encoder that can be read: {type(e).__name__}: {e}; make one: lineside pretrain"
        ) from e
    return Pretrained(encoder.eval(), normaliser, config, recipe, of_mapping(facts["split"]), tuple(facts["losses"]))
