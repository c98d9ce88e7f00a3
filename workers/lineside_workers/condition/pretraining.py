"""``lineside pretrain``: an encoder that learns from unlabelled windows, with checkpoints that resume exactly.

<out>/encoder.safetensors   weights of the best epoch, normaliser, scale of what comes
<out>/encoder.json          tags, window, sizes, split, losses, devices and samples per second
<out>/checkpoint.*          weights, optimiser and epoch of the last epoch; gone when training is done
<out>/curves.csv            epoch, training loss, validation loss, learning rate, seconds
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lineside_plugins.learning.encoder import Encoder
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers.condition.channels import Channels, fitted, of_tags
from lineside_workers.condition.run import CHECKPOINT, STATE, Recipe, Run, follow, stored_state
from lineside_workers.condition.windows import Rows, unlabelled
from lineside_workers.errors import ModelError
from lineside_workers.learning.curves import Curves
from lineside_workers.learning.group import Place, group
from lineside_workers.learning.pace import Pace
from lineside_workers.recorded.splitting import Split, of_mapping

Say = Callable[[str], None]
Floats = NDArray[np.float64]
WEIGHTS, FACTS = "encoder.safetensors", "encoder.json"


@dataclass(frozen=True, slots=True)
class Pretrained:
    """An encoder of ``channels`` and all that is needed to use it; ``config`` has the window, and tags of one unit."""

    encoder: Encoder
    normaliser: Normaliser
    config: ConditionConfig
    recipe: Recipe
    split: Split
    losses: tuple[float, ...] = ()
    pace: Mapping[str, object] = field(default_factory=dict)
    channels: Channels = ()


@dataclass(frozen=True, slots=True)
class Means:
    """Where and how an encoder is pretrained: ``devices`` one process each."""

    out: Path
    recipe: Recipe
    seed: int = 0
    devices: tuple[str, ...] = ("cpu",)


def pretrain(
    data: Rows, config: ConditionConfig, split: Split, means: Means, say: Say, among: Channels = ()
) -> Pretrained:
    """Train on the split's training units, stop by its validation units, save; takes up a checkpoint there.

    ``among`` are the channels of ``data`` where they are others than the tags of ``config``.

    Raises:
        ModelError: The checkpoint in ``out`` belongs to another run.
        DeviceError: The process of one of several devices has gone.
    """
    recipe, out, known = means.recipe, means.out, data.of(split.train)
    normaliser = Normaliser.fit(known.x)
    scale = _spread(known.coming)
    train, judge = (unlabelled(part, normaliser, scale) for part in (known, data.of(split.validation)))
    identity = {
        "recipe": asdict(recipe),
        "seed": means.seed,
        "rows": len(train.rows),
        "tags": among or list(config.tags),
    }
    out.mkdir(parents=True, exist_ok=True)
    state = stored_state(out, identity)
    with group(means.devices, follow, (recipe, train, judge, means.seed, out, state)) as place:
        run = Run(recipe, train, judge, place, means.seed)
        run.resume(out, state)
        seconds = _epochs(run, means, identity, say)
    run.model.load_state_dict(run.best_state)
    samples = 2 * recipe.pairs * run.steps * (run.epoch - (state["epoch"] if state else 0))
    pace = Pace(means.devices, samples, seconds)
    pace = pace.compared(lambda: Run(recipe, train, judge, Place(), means.seed).few_steps())
    encoder = run.model.encoder.cpu().eval()
    own = among or of_tags(config.tags)
    found = Pretrained(encoder, normaliser, config, recipe, split, tuple(run.losses), pace.to_json(), own)
    save(found, out)
    for name in (CHECKPOINT, STATE):
        (out / name).unlink(missing_ok=True)
    say(f"{run.epoch} epochs, {pace}")
    return found


def _spread(coming: Floats) -> Floats:
    """Standard deviation (C,) of what is known of (R, C); 1 where nothing is."""
    known = np.isfinite(coming)
    n = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, coming, 0.0).sum(axis=0) / n
    spread = np.sqrt((np.where(known, coming - mean, 0.0) ** 2).sum(axis=0) / n)
    out: Floats = np.where(known.any(axis=0), np.maximum(spread, 1e-9), 1.0)
    return out


def _epochs(run: Run, means: Means, identity: Mapping[str, Any], say: Say) -> float:
    """Run to the end with curves and checkpoints; seconds it took."""
    began = time.monotonic()
    if run.epoch:
        say(f"going on after epoch {run.epoch}")
    with Curves(means.out, resumed=run.epoch > 0) as curves:
        while run.goes_on:
            started = time.monotonic()
            loss = run.one_epoch()
            row = {"epoch": run.epoch, "train": loss, "validation": run.losses[-1], "learning_rate": run.rate()}
            curves.add({**row, "seconds": time.monotonic() - started})
            run.keep(means.out, identity)
            say(f"epoch {run.epoch} of {means.recipe.epochs}: loss {loss:.4f}, validation {run.losses[-1]:.4f}")
    return time.monotonic() - began


def with_split(found: Pretrained, split: Split) -> Pretrained:
    """The same encoder for another split; the caller checks that it does not leak."""
    return replace(found, split=split)


def fit_to(found: Pretrained, tags: Mapping[str, str], rows: Rows, say: Say) -> Pretrained:
    """The same encoder for the tags of a task, whose training ``rows`` scale what is new to it.

    Raises:
        ModelError: It knows none of them.
    """
    wanted = of_tags(tags)
    if wanted == found.channels:
        return found
    own, recipe = (found.encoder, found.normaliser, found.channels, wanted, rows.x), found.recipe
    encoder, normaliser, new = fitted(*own, recipe.hidden)
    known = ", ".join(t for t in tags if t not in new)
    say(f"the encoder knows {known}" + (f"; new to it: {', '.join(new)}" if new else ""))
    config = found.config.model_copy(update={"tags": dict(tags)})
    return replace(found, encoder=encoder, normaliser=normaliser, config=config, channels=wanted)


def save(found: Pretrained, out: Path) -> None:
    """Write the encoder to ``out``."""
    tensors = {f"encoder.{k}": v.contiguous() for k, v in found.encoder.state_dict().items()}
    tensors |= {k: torch.from_numpy(np.array(v)) for k, v in found.normaliser.to_tensors().items()}
    save_file(tensors, out / WEIGHTS)
    facts = {
        "tags": list(found.channels),
        "length": found.config.length,
        "period_s": found.config.period_s,
        "recipe": asdict(found.recipe),
        "split": json.loads(found.split.to_json()),
        "losses": list(found.losses),
        "pace": dict(found.pace),
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
        encoder = Encoder(2 * len(normaliser.mean), recipe.hidden, recipe.embedding, recipe.dropout)
        channels = tuple((str(tag), str(unit)) for tag, unit in facts["tags"])
        encoder.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("encoder.")})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as e:
        raise ModelError(
            f"{folder} holds no encoder that can be read: {type(e).__name__}: {e}; make one: lineside pretrain"
        ) from e
    split, losses = of_mapping(facts["split"]), tuple(facts["losses"])
    return Pretrained(encoder.eval(), normaliser, config, recipe, split, losses, facts["pace"], channels)
