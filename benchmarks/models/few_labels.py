"""Ten labelled engines of FD001: does pretraining on all engines' unlabelled histories earn its place?

Pretraining forecasts every sensor's smoothed level ten to a hundred cycles ahead, on the histories of all four subsets;
it sees no label, no cycle count, and asks for nothing beyond a history's end. What is then known of an engine is the
encoder's embedding, and along the fleet's two main directions of wear the level now and as forecast. On that a kernel
regression and randomised trees learn from the ten engines, and their mean is the forecast. Five draws of ten engines;
beside it stand the same network from scratch, the same network pretrained and tuned as a whole, and the same two on
plain features. All are scored on the official test engines, once per draw; with ``--validate`` on engines kept out of
pretraining and of every draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from benchmarks.models import engines
from benchmarks.models.engines import Fleet
from benchmarks.models.row import Row
from benchmarks.models.setting import Setting
from lineside_plugins.learning import metrics
from lineside_plugins.learning.encoder import Encoder, Headed, Pretext, foresee
from lineside_plugins.learning.monitoring import NormalModel
from lineside_plugins.learning.network import Schedule
from lineside_plugins.learning.normaliser import Normaliser
from lineside_workers.learning.datasets import cmapss
from lineside_workers.learning.encoders import PretrainRecipe, Unlabelled, fine_tune, pretrain

LABELLED, STOPPING = 10, 2
HORIZONS = (10, 20, 40, 60, 80, 100)  # cycles ahead that pretraining forecasts
DIRECTIONS = 2  # of wear
KEPT_OUT = 30  # engines of FD001 that --validate scores
GOAL, TREES_BEFORE, EARNED = 14.5, 15.65, 0.15
_SMOOTH = "decay10"  # the statistic whose change is forecast
_EVERY = 2  # neighbouring cycles say the same
_RECIPE = PretrainRecipe(
    hidden=(128, 64), embedding=32, epochs=6, pairs=256, learning_rate=3e-3, noise=0.1, lag_weight=0.0
)
_FINE = Schedule(epochs=40, batch=64, learning_rate=1e-3, weight_decay=1e-2, patience=10, noise=0.1)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Known:
    """What every learner may use of one fleet, row by row: ``rows`` (R, F) scaled, ``seen`` (R, G) by pretraining."""

    fleet: Fleet
    rows: NDArray[np.float32]
    seen: NDArray[np.float32]


def run(setting: Setting) -> list[Row]:
    """RMSE of each learner over the draws, and whether pretraining lowers it, paired."""
    fleet, tested = engines.load(setting)
    first = np.random.default_rng(99).permutation(np.flatnonzero(fleet.subset == "FD001"))
    aside, drawn = (first[:KEPT_OUT], first[KEPT_OUT:]) if setting.validate else (first[:0], first)
    own = ~np.isin(fleet.engine, aside)
    normaliser = Normaliser.fit(fleet.rows[own])
    unlabelled, spread = _unlabelled(fleet, normaliser, own)
    pretext = pretrain(unlabelled, _RECIPE, 0, setting.say, setting.device)
    wear = NormalModel.fit(_levels(fleet)[own & (fleet.subset[fleet.engine] == "FD001")], DIRECTIONS)
    known = _known(fleet, normaliser, pretext, wear, spread)
    scored = known if setting.validate else _known(tested, normaliser, pretext, wear, spread)
    draws = []
    for seed in range(setting.seeds):
        point = engines.moments(fleet, aside, seed) if setting.validate else tested.last()[tested.subset == "FD001"]
        labelled = np.random.default_rng(seed).permutation(drawn)[:LABELLED]
        draws.append(_draw(known, scored, pretext.encoder, labelled, point, seed))
        setting.say(f"few labels: draw {seed} " + ", ".join(f"{n} {v:.2f}" for n, v in draws[-1].items()))
    return _rows({name: np.asarray([d[name] for d in draws]) for name in draws[0]})


def _levels(fleet: Fleet) -> Floats:
    smooth = [i for i, name in enumerate(engines.names()) if name.endswith(f":{_SMOOTH}")]
    return fleet.rows[:, smooth].astype(np.float64)


def _scaled(normaliser: Normaliser, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (R, F) without the missing marks: these engines miss nothing."""
    return normaliser(rows)[:, : rows.shape[1]]


def _unlabelled(fleet: Fleet, normaliser: Normaliser, own: NDArray[np.bool_]) -> tuple[Unlabelled, Floats]:
    """Histories with what comes at every horizon, in units of that horizon's spread, which is returned beside them."""
    level = _levels(fleet)
    at = np.arange(len(level))
    last = np.flatnonzero(np.diff(np.append(fleet.engine, -1)))[fleet.engine]
    coming = np.full((len(level), len(HORIZONS), level.shape[1]), np.nan)
    for i, ahead in enumerate(HORIZONS):
        reached = at + ahead <= last
        coming[reached, i] = level[at[reached] + ahead] - level[reached]
    spread = np.nanstd(coming, axis=(0, 2))
    rows = own & (fleet.cycle >= 10) & (fleet.cycle % _EVERY == 0)
    flat = (coming / spread[:, None]).reshape(len(level), -1).astype(np.float32)
    scaled = _scaled(normaliser, fleet.rows[rows])
    return Unlabelled(scaled, fleet.engine[rows], fleet.cycle[rows].astype(np.float64), flat[rows]), spread


def _known(fleet: Fleet, normaliser: Normaliser, pretext: Pretext, wear: NormalModel, spread: Floats) -> _Known:
    """Plain features and, from pretraining, the embedding with wear now and as forecast."""
    rows, level = _scaled(normaliser, fleet.rows), _levels(fleet)
    parts = [foresee(pretext, torch.from_numpy(part)) for part in np.array_split(rows, max(1, len(rows) // 8192))]
    embedded, ahead = (torch.cat([p[k] for p in parts]).numpy() for k in (0, 1))
    coming = ahead.reshape(len(rows), len(HORIZONS), -1) * spread[:, None] + level[:, None]
    along = [wear.scaled(part) @ wear.axes[:, :DIRECTIONS] for part in (level, *coming.transpose(1, 0, 2))]
    return _Known(fleet, rows, np.concatenate([embedded, *along], axis=1).astype(np.float32))


def _draw(
    known: _Known, scored: _Known, encoder: Encoder, labelled: NDArray[np.intp], point: NDArray[np.intp], seed: int
) -> dict[str, float]:
    """RMSE of every learner on the same engines after one draw."""
    every = known.fleet.of(labelled, first=10)
    target = known.fleet.capped[every]

    def trees(given: NDArray[np.float32], asked: NDArray[np.float32]) -> Floats:
        model = ExtraTreesRegressor(100, min_samples_leaf=3, max_features=0.3, random_state=seed)
        return np.asarray(model.fit(given, target).predict(asked))

    def kernel(given: NDArray[np.float32], asked: NDArray[np.float32]) -> Floats:
        chosen = np.flatnonzero(known.fleet.cycle[every] % _EVERY == 0)
        model: Any = make_pipeline(StandardScaler(), SVR(C=50.0, epsilon=5.0, gamma=0.1 / given.shape[1]))
        return np.asarray(np.clip(model.fit(given[chosen], target[chosen]).predict(asked), 0.0, cmapss.CAP))

    torch.manual_seed(seed)
    fresh = Encoder(known.rows.shape[1], _RECIPE.hidden, _RECIPE.embedding)
    asked = torch.from_numpy(scored.rows[point])
    grown = trees(known.rows[every], scored.rows[point])
    said = {
        "scratch": _tuned(fresh, known, labelled, asked, seed),
        "tuned": _tuned(encoder, known, labelled, asked, seed),
        "pretrained": (kernel(known.seen[every], scored.seen[point]) + trees(known.seen[every], scored.seen[point]))
        / 2,
        "plain": (kernel(known.rows[every], scored.rows[point]) + grown) / 2,
        "trees": grown,
    }
    return {name: metrics.rmse(scored.fleet.capped[point], value) for name, value in said.items()}


def _tuned(encoder: Encoder, known: _Known, labelled: NDArray[np.intp], asked: torch.Tensor, seed: int) -> Floats:
    """A whole network trained on the ten engines, two of which say when to stop."""

    def tensors(chosen: NDArray[np.intp]) -> list[torch.Tensor]:
        rows = known.fleet.of(chosen, first=10)
        share = torch.from_numpy((known.fleet.capped[rows] / cmapss.CAP).astype(np.float32))[:, None]
        return [torch.from_numpy(known.rows[rows]), share]

    model: Headed = fine_tune(encoder, tensors(labelled[STOPPING:]), tensors(labelled[:STOPPING]), _FINE, seed)
    with torch.inference_mode():
        share = model(asked)[:, 0].numpy().astype(np.float64)
    return np.asarray(np.clip(share * cmapss.CAP, 0.0, cmapss.CAP))


_NOTES = {
    "scratch": "network, no pretraining",
    "tuned": "the same network pretrained, tuned as a whole",
    "pretrained": "kernel regression and randomised trees on what the pretrained encoder says",
    "plain": "the same two on plain features, no pretraining",
    "trees": "randomised trees on plain features",
}


def _rows(found: Mapping[str, Floats]) -> list[Row]:
    """A row per learner, interval over draws (Student's t), then the paired gain over those without pretraining."""
    rows = []
    for name, errors in found.items():
        mean, half = float(errors.mean()), _half(errors)
        goal = GOAL if name == "pretrained" else None
        rows.append(
            Row(
                "few_labels", f"{name}_rmse", mean, mean - half, mean + half, len(errors), goal, False,
                float(found["trees"].mean()), TREES_BEFORE, note=_NOTES[name],
            )
        )  # fmt: skip
    for other in ("scratch", "plain", "trees"):
        lower = 1.0 - found["pretrained"] / found[other]
        mean, half = float(lower.mean()), _half(lower)
        p = float(stats.ttest_rel(found["pretrained"], found[other], alternative="less").pvalue)
        goal = EARNED if other == "scratch" else None
        note = f"pretrained, paired over draws, p = {p:.2g}"
        rows.append(Row("few_labels", f"below_{other}", mean, mean - half, mean + half, len(lower), goal, note=note))
    return rows


def _half(values: Floats) -> float:
    """Half the 95 % interval of the mean; NaN for a single draw."""
    count = len(values)
    return float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
