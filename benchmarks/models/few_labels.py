"""Ten labelled engines of FD001: does pretraining on all engines' unlabelled histories earn its place?

Five draws of ten engines. Three learners see the same features and the same ten labels: a network from scratch, the
same network pretrained, and randomised trees; a fourth gives the trees the pretrained embedding beside the features.
Two of the ten engines stop the networks' training. All are scored on the official test engines, once per draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.models import engines
from benchmarks.models.engines import Fleet
from benchmarks.models.row import Row
from benchmarks.models.setting import Setting
from lineside_plugins.learning import metrics
from lineside_plugins.learning.encoder import Encoder, Headed, embed
from lineside_plugins.learning.network import Schedule
from lineside_plugins.learning.normaliser import Normaliser
from lineside_workers.learning.datasets import cmapss
from lineside_workers.learning.encoders import PretrainRecipe, Unlabelled, fine_tune, pretrain

LABELLED, STOPPING = 10, 2
AHEAD = 20  # cycles; how far the pretraining forecasts
GOAL, TREES_BEFORE, EARNED = 14.5, 15.65, 0.15
_SMOOTH = "decay10"  # the statistic whose change is forecast
_FINE = Schedule(epochs=40, batch=64, learning_rate=1e-3, weight_decay=1e-2, patience=10, noise=0.1)


@dataclass(frozen=True, slots=True)
class Draw:
    """RMSE on the same engines of every learner after one draw."""

    scratch: float
    pretrained: float
    trees: float
    embedded_trees: float
    blended: float


def run(setting: Setting) -> list[Row]:
    """RMSE of each learner over the draws, and whether pretraining lowers it, paired."""
    fleet, tested = engines.load(setting)
    normaliser = Normaliser.fit(fleet.rows)
    recipe = PretrainRecipe(epochs=3 if setting.quick else 12)
    encoder = pretrain(_unlabelled(fleet, normaliser), recipe, 0, setting.say)
    draws = []
    for seed in range(setting.seeds):
        draws.append(_draw(fleet, tested, normaliser, encoder, recipe, seed, validate=setting.validate))
        setting.say(f"few labels: draw {seed} " + ", ".join(f"{n} {getattr(draws[-1], n):.2f}" for n in _names()))
    return _rows(draws)


def _names() -> tuple[str, ...]:
    return ("scratch", "pretrained", "trees", "embedded_trees", "blended")


def _unlabelled(fleet: Fleet, normaliser: Normaliser) -> Unlabelled:
    smooth = [i for i, name in enumerate(engines.names()) if name.endswith(f":{_SMOOTH}")]
    level = fleet.rows[:, smooth]
    later = np.minimum(
        np.arange(len(level)) + AHEAD, np.flatnonzero(np.diff(np.append(fleet.engine, -1)))[fleet.engine]
    )
    return Unlabelled(normaliser(fleet.rows), fleet.engine, fleet.cycle.astype(np.float64), level[later] - level)


def _draw(
    fleet: Fleet, tested: Fleet, normaliser: Normaliser, encoder: Encoder, recipe: PretrainRecipe, seed: int,
    *, validate: bool,
) -> Draw:  # fmt: skip
    own = np.random.default_rng(seed).permutation(np.flatnonzero(fleet.subset == "FD001"))
    labelled, others = own[:LABELLED], own[LABELLED:]
    source = fleet if validate else tested
    point = engines.moments(fleet, others[:40], seed) if validate else tested.last()[tested.subset == "FD001"]
    target = source.capped[point]

    def tensors(chosen: Fleet, rows: NDArray[np.intp]) -> list[torch.Tensor]:
        share = torch.from_numpy((chosen.capped[rows] / cmapss.CAP).astype(np.float32))[:, None]
        return [torch.from_numpy(normaliser(chosen.rows[rows])), share]

    fit, stop = (tensors(fleet, fleet.of(e, first=10)) for e in (labelled[STOPPING:], labelled[:STOPPING]))
    asked = tensors(source, point)[0]
    torch.manual_seed(seed)
    fresh = Encoder(fit[0].shape[1], recipe.hidden, recipe.embedding)
    scratch, tuned = (_said(fine_tune(e, fit, stop, _FINE, seed), asked) for e in (fresh, encoder))
    every = tensors(fleet, fleet.of(labelled, first=10))
    plain = _trees(every[0], every[1], asked, seed)
    wide = _trees(_with(encoder, every[0]), every[1], _with(encoder, asked), seed)
    return Draw(*(metrics.rmse(target, p) for p in (scratch, tuned, plain, wide, (tuned + wide) / 2)))


def _with(encoder: Encoder, rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows, embed(encoder, rows)], dim=1)


def _said(model: Headed, rows: torch.Tensor) -> NDArray[np.float64]:
    with torch.inference_mode():
        share = model(rows)[:, 0].numpy().astype(np.float64)
    return np.asarray(np.clip(share * cmapss.CAP, 0.0, cmapss.CAP))


def _trees(rows: torch.Tensor, share: torch.Tensor, asked: torch.Tensor, seed: int) -> NDArray[np.float64]:
    model = ExtraTreesRegressor(100, min_samples_leaf=3, max_features=0.3, random_state=seed)
    out: NDArray[np.float64] = model.fit(rows.numpy(), share.numpy()[:, 0] * cmapss.CAP).predict(asked.numpy())
    return out


def _rows(draws: list[Draw]) -> list[Row]:
    found = {name: np.asarray([getattr(d, name) for d in draws]) for name in _names()}
    trees = float(found["trees"].mean())
    count = len(draws)
    rows = []
    for name in _names():
        half = float(stats.t.ppf(0.975, count - 1) * found[name].std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan
        mean = float(found[name].mean())
        goal = GOAL if name in {"pretrained", "blended"} else None
        note = "interval over draws (Student's t)"
        rows.append(
            Row(
                "few_labels",
                f"{name}_rmse",
                mean,
                mean - half,
                mean + half,
                count,
                goal,
                False,
                trees,
                TREES_BEFORE,
                note=note,
            )
        )
    lower = 1.0 - found["pretrained"] / found["scratch"]
    p = (
        float(stats.ttest_rel(found["pretrained"], found["scratch"], alternative="less").pvalue)
        if count > 1
        else np.nan
    )
    note = f"paired over draws, p = {p:.3g}"
    rows.append(
        Row(
            "few_labels",
            "below_scratch",
            float(lower.mean()),
            float(lower.min()),
            float(lower.max()),
            count,
            EARNED,
            note=note,
        )
    )
    return rows
