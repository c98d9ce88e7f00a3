"""Ten labelled engines of FD001: does pretraining on all engines' unlabelled histories earn its place?

Pretraining forecasts every sensor's smoothed level ten to a hundred cycles ahead, on the histories of all four subsets;
it sees no label, no cycle count, and asks for nothing beyond a history's end. What is then known of an engine is the
encoder's embedding, and along the fleet's two main directions of wear the level now and as forecast. On that a kernel
regression and randomised trees learn from the ten engines, over three encoders. What they say of FD001's unlabelled
training histories agrees on one end for each; with the lives that follow, a blend of networks and trees learns from all
histories. The mean of both steps is the forecast. Five draws of ten engines; beside it stand the same network from
scratch, the same network pretrained and tuned as a whole, and kernel and trees on plain features. All are scored on the
official test engines, once per draw; with ``--validate`` on engines kept out of pretraining and of every draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from lineside_plugins.learning.network import Mlp, Schedule, train
from lineside_plugins.learning.normaliser import Normaliser
from lineside_workers.learning import spreading
from lineside_workers.learning.datasets import cmapss
from lineside_workers.learning.encoders import PretrainRecipe, Unlabelled, fine_tune, pretrain

LABELLED, STOPPING = 10, 2
HORIZONS = (10, 20, 40, 60, 80, 100)  # cycles ahead that pretraining forecasts
DIRECTIONS = 2  # of wear
ENCODERS = 3  # pretrained from different seeds
BELIEVED = 90.0  # cycles; a forecast below says when a history ends
TAUGHT = 3  # networks that learn from what was spread along the histories
KEPT_OUT = 30  # engines of FD001 that --validate scores
GOAL, TREES_BEFORE, EARNED = 14.5, 15.65, 0.15
_SMOOTH = "decay10"  # the statistic whose change is forecast
_EVERY = 2  # neighbouring cycles say the same
_RECIPE = PretrainRecipe(
    hidden=(128, 64), embedding=32, epochs=6, pairs=256, learning_rate=3e-3, noise=0.1, lag_weight=0.0
)
_FINE = Schedule(epochs=40, batch=64, learning_rate=1e-3, weight_decay=1e-2, patience=10, noise=0.1)
_TAUGHT = Schedule(epochs=12, batch=256, learning_rate=3e-3, weight_decay=1e-2, patience=12, noise=0.1)

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Known:
    """What every learner may use of one fleet, row by row: ``rows`` (R, F) scaled, ``seen`` by each encoder (R, G)."""

    fleet: Fleet
    rows: NDArray[np.float32]
    seen: Sequence[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Draw:
    """Ten ``labelled`` of FD001's training ``engines``; lives are asked at the rows ``point`` of ``scored``."""

    known: _Known
    labelled: NDArray[np.intp]
    engines: NDArray[np.intp]
    scored: _Known
    point: NDArray[np.intp]
    seed: int

    @property
    def labelled_rows(self) -> NDArray[np.intp]:
        """Rows (L,) whose remaining life a learner may know."""
        return self.known.fleet.of(self.labelled, first=10)


def run(setting: Setting) -> list[Row]:
    """RMSE of each learner over the draws, and whether pretraining lowers it, paired."""
    fleet, tested = engines.load(setting)
    first = np.random.default_rng(99).permutation(np.flatnonzero(fleet.subset == "FD001"))
    aside, drawn = (first[:KEPT_OUT], first[KEPT_OUT:]) if setting.validate else (first[:0], first)
    own = ~np.isin(fleet.engine, aside)
    normaliser = Normaliser.fit(fleet.rows[own])
    unlabelled, spread = _unlabelled(fleet, normaliser, own)
    pretexts = [pretrain(unlabelled, _RECIPE, seed, setting.say, setting.device) for seed in range(ENCODERS)]
    wear = NormalModel.fit(_levels(fleet)[own & (fleet.subset[fleet.engine] == "FD001")], DIRECTIONS)
    known = _known(fleet, normaliser, pretexts, wear, spread)
    scored = known if setting.validate else _known(tested, normaliser, pretexts, wear, spread)
    draws = []
    for seed in range(setting.seeds):
        point = engines.moments(fleet, aside, seed) if setting.validate else tested.last()[tested.subset == "FD001"]
        ten = np.random.default_rng(seed).permutation(drawn)[:LABELLED]
        draw = _Draw(known, ten, drawn, scored, point, seed)
        said = _without_pretraining(draw) | _pretrained(draw, pretexts[0].encoder)
        draws.append({name: metrics.rmse(scored.fleet.capped[point], said[name]) for name in _NOTES})
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


def _known(
    fleet: Fleet, normaliser: Normaliser, pretexts: Sequence[Pretext], wear: NormalModel, spread: Floats
) -> _Known:
    """Plain features and, from each pretraining, the embedding with wear now and as forecast."""
    rows, level = _scaled(normaliser, fleet.rows), _levels(fleet)
    seen = []
    for pretext in pretexts:
        parts = [foresee(pretext, torch.from_numpy(part)) for part in np.array_split(rows, max(1, len(rows) // 8192))]
        embedded, ahead = (torch.cat([p[k] for p in parts]).numpy() for k in (0, 1))
        coming = ahead.reshape(len(rows), len(HORIZONS), -1) * spread[:, None] + level[:, None]
        along = [wear.scaled(part) @ wear.axes[:, :DIRECTIONS] for part in (level, *coming.transpose(1, 0, 2))]
        seen.append(np.concatenate([embedded, *along], axis=1).astype(np.float32))
    return _Known(fleet, rows, seen)


def _without_pretraining(draw: _Draw) -> dict[str, Floats]:
    """What the learners say that know ten engines only."""
    known, every, scored, seed = draw.known, draw.labelled_rows, draw.scored, draw.seed
    target, asked = known.fleet.capped[every], [scored.rows[draw.point]]
    torch.manual_seed(seed)
    fresh = Encoder(known.rows.shape[1], _RECIPE.hidden, _RECIPE.embedding)
    (grown,) = _trees(known.rows[every], target, asked, seed)
    (smooth,) = _kernel(known.rows[every], target, known.fleet.cycle[every], asked)
    return {"scratch": _tuned(fresh, draw), "plain": (smooth + grown) / 2, "trees": grown}


def _pretrained(draw: _Draw, encoder: Encoder) -> dict[str, Floats]:
    """What is said from the encoders by those who know the ten engines, then with those who learned from them."""
    known, every, fleet = draw.known, draw.labelled_rows, draw.known.fleet
    target, histories = fleet.capped[every], fleet.of(draw.engines, first=10)
    first, told = np.zeros(len(draw.point)), np.zeros(len(histories))
    for seen, asked in zip(known.seen, draw.scored.seen, strict=True):
        both = [asked[draw.point], seen[histories]]
        smooth = _kernel(seen[every], target, fleet.cycle[every], both)
        grown = _trees(seen[every], target, both, draw.seed)
        first += (smooth[0] + grown[0]) / (2 * ENCODERS)
        told += (smooth[1] + grown[1]) / (2 * ENCODERS)
    left = spreading.along(told, fleet.engine[histories], fleet.cycle[histories].astype(np.float64), BELIEVED)
    own = np.isin(fleet.engine[histories], draw.labelled)
    left[own] = fleet.life[histories[own]]
    taught = np.isfinite(left) & (fleet.cycle[histories] % _EVERY == 0)
    rows, lesson = known.rows[histories[taught]], np.clip(left[taught], 0.0, cmapss.CAP)
    asked_rows = draw.scored.rows[draw.point]
    (forest,) = _trees(rows, lesson, [asked_rows], draw.seed)
    second = _networks(rows, lesson, asked_rows, draw.seed)
    return {"first": first, "pretrained": (first + forest + second) / 3, "tuned": _tuned(encoder, draw)}


def _trees(given: Rows, target: Floats, asked: Sequence[Rows], seed: int) -> list[Floats]:
    model = ExtraTreesRegressor(100, min_samples_leaf=3, max_features=0.3, random_state=seed)
    model.fit(given, target)
    return [np.asarray(model.predict(rows)) for rows in asked]


def _kernel(given: Rows, target: Floats, cycle: NDArray[np.int64], asked: Sequence[Rows]) -> list[Floats]:
    chosen = np.flatnonzero(cycle % _EVERY == 0)
    model: Any = make_pipeline(StandardScaler(), SVR(C=50.0, epsilon=5.0, gamma=0.1 / given.shape[1]))
    model.fit(given[chosen], target[chosen])
    return [np.asarray(np.clip(model.predict(rows), 0.0, cmapss.CAP)) for rows in asked]


def _networks(given: Rows, target: Floats, asked: Rows, seed: int) -> Floats:
    """Mean of networks from different starts."""
    data = [torch.from_numpy(given), torch.from_numpy((target / cmapss.CAP).astype(np.float32))[:, None]]
    said = np.zeros(len(asked))
    for i in range(TAUGHT):
        torch.manual_seed(10 * seed + i)
        model = Mlp(given.shape[1], (96, 48), 1, dropout=0.15)
        watched = [tensor[:500] for tensor in data]
        train(
            model, data, watched, lambda out, rest: ((out - rest[0]) ** 2).mean(), seed=10 * seed + i, schedule=_TAUGHT
        )
        with torch.inference_mode():
            said += np.clip(model(torch.from_numpy(asked))[:, 0].numpy() * cmapss.CAP, 0.0, cmapss.CAP) / TAUGHT
    return said


def _tuned(encoder: Encoder, draw: _Draw) -> Floats:
    """A whole network trained on the ten engines, two of which say when to stop."""
    known = draw.known

    def tensors(chosen: NDArray[np.intp]) -> list[torch.Tensor]:
        rows = known.fleet.of(chosen, first=10)
        share = torch.from_numpy((known.fleet.capped[rows] / cmapss.CAP).astype(np.float32))[:, None]
        return [torch.from_numpy(known.rows[rows]), share]

    stopping, rest = draw.labelled[:STOPPING], draw.labelled[STOPPING:]
    model: Headed = fine_tune(encoder, tensors(rest), tensors(stopping), _FINE, draw.seed)
    with torch.inference_mode():
        share = model(torch.from_numpy(draw.scored.rows[draw.point]))[:, 0].numpy().astype(np.float64)
    return np.asarray(np.clip(share * cmapss.CAP, 0.0, cmapss.CAP))


_NOTES = {
    "scratch": "network, no pretraining",
    "tuned": "the same network pretrained, tuned as a whole",
    "first": "kernel regression and randomised trees on what three pretrained encoders say",
    "pretrained": "the same, and a blend that learned from the lives they see in unlabelled histories",
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
