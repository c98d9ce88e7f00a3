"""``lineside models distil``: a version of the condition task as one small network that needs no torch to be served.

Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network (2015); Bucila, Caruana, Niculescu-Mizil,
Model Compression (2006), for made-up rows, which the model labels as willingly as real ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lineside_plugins.contract import TrainedModel
from lineside_plugins.learning.network import Mlp, Schedule, train
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition import features
from lineside_plugins.tasks.condition.advisor import Advisor
from lineside_plugins.tasks.condition.distilled import Distilled
from lineside_plugins.tasks.condition.scorers import Scorer
from lineside_plugins.types import ModelData
from lineside_workers.condition.evaluation import config_of
from lineside_workers.condition.heads import PROBLEMS, Costs, Problem
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import RecordingError
from lineside_workers.learning.export import exported
from lineside_workers.recorded.splitting import of_mapping

Floats: TypeAlias = NDArray[np.float64]
Say: TypeAlias = Callable[[str], None]
MADE_UP, SWAPPED, OFF = 4, 0.3, (0.03, 3.0)  # times as many rows, share of tags, in spreads of each statistic
BATCH, TIMED = 32, 50
OFF_COLUMN, FAR = "off, in spreads", 0.5
_KINDS = {"float32": False, "int8": True}


@dataclass(frozen=True, slots=True)
class Student:
    """Size and training of the small network."""

    hidden: tuple[int, ...] = (64, 32)
    epochs: int = 60
    int8: bool = True
    seed: int = 0
    device: str = "cpu"


def distil(model: ModelData, data: Rows, student: Student, say: Say) -> TrainedModel:
    """A version that says what ``model`` says, from one network; windows of any unit teach it, labels are not needed.

    The model's own training units teach, its validation units say when to stop, all others judge; with their labels, if
    ``data`` has any, the error of both is told.

    Raises:
        RecordingError: One of these has no window in the recording.
    """
    advisor = Advisor.from_model(model, student.device, config_of(model))
    teach, stop, judge = _parts(model, data)
    normaliser = Normaliser.fit(teach.x)
    lessons = np.concatenate([teach.x, *_made_up(teach.x, normaliser.std.astype(np.float64), student.seed)])
    network, scale, offset = _student(advisor.score, normaliser, lessons, stop.x, student)
    files = {name: exported(network, normaliser, scale, offset, int8=int8) for name, int8 in _KINDS.items()}
    served = {name: Distilled(np.frombuffer(file, dtype=np.uint8)) for name, file in files.items()}
    problem = _problem(model, teach)
    table = [
        _row(name, scorer, advisor, problem, judge)
        for name, scorer in (("as it is", advisor.score), *served.items())
    ]  # fmt: skip
    ships = "int8" if student.int8 else "float32"
    if (off := cast("float", table[-1][OFF_COLUMN])) > FAR:
        say(f"the network is {off:g} spreads off on units it has not seen: record more of them, or try --hidden 128,64")
    say(f"{model.version} distilled from {len(teach)} windows, judged on {len(judge)} of units neither has seen")
    winner = f"{model.config.get('winner', 'model')}, distilled"
    config = {**model.config, "scorer": served[ships].kind, "winner": winner, "distilled_from": model.version}
    tensors = {**served[ships].to_tensors(), **advisor.novelty.to_tensors()}
    return TrainedModel(config, tensors, {**model.metrics, "distilled": table}, tuple(table))


def _parts(model: ModelData, data: Rows) -> list[Rows]:
    split = of_mapping(cast("Mapping[str, Sequence[str]]", model.metrics["units"]))
    data = data.cut(split, config_of(model))
    named = {"train": split.train, "validation": split.validation}
    named["other"] = tuple(sorted(set(data.unit.tolist()) - {*split.train, *split.validation, ""}))
    parts = [data.of(names) for names in named.values()]
    for (part, names), rows in zip(named.items(), parts, strict=True):
        if not len(rows):
            raise RecordingError(
                f"no window of a {part} unit of {model.version} ({', '.join(names) or 'none'}) is in the recording; "
                "distil with the recording it was trained with"
            )
    return parts


def _made_up(rows: Floats, spread: Floats, seed: int) -> list[Floats]:
    """Rows (R, F), ``MADE_UP`` times, in which some tags are as in another row, and all off, a little or far.

    ``spread`` (F,) of each statistic is what that is measured in.
    """
    rng, parts, out = np.random.default_rng(seed), len(features.PARTS), list[Floats]()
    for _ in range(MADE_UP):
        other = rows[rng.permutation(len(rows))]
        swapped = np.repeat(rng.random((len(rows), rows.shape[1] // parts)) < SWAPPED, parts, axis=1)
        off = OFF[0] * (OFF[1] / OFF[0]) ** rng.random((len(rows), 1))
        out.append(np.where(swapped, other, rows) + off * spread * rng.standard_normal(rows.shape))
    return out


def _student(
    teacher: Scorer, normaliser: Normaliser, teach: Floats, stop: Floats, student: Student
) -> tuple[Mlp, Floats, Floats]:
    """The network, and the scale and offset (K,) of the teacher's scores, which it learns in units of their spread."""
    said = teacher(teach)
    offset, scale = said.mean(axis=0), np.maximum(said.std(axis=0), 1e-9)

    def tensors(rows: Floats) -> list[torch.Tensor]:
        wanted = ((teacher(rows) - offset) / scale).astype(np.float32)
        return [torch.from_numpy(a).to(student.device) for a in (normaliser(rows), wanted)]

    torch.manual_seed(student.seed)
    network = Mlp(2 * teach.shape[1], student.hidden, said.shape[1]).to(student.device)
    plan = Schedule(epochs=student.epochs, batch=256, learning_rate=3e-3, weight_decay=1e-3, patience=15, noise=0.05)
    data, held = tensors(teach), tensors(stop)
    train(network, data, held, lambda out, rest: ((out - rest[0]) ** 2).mean(), seed=student.seed, schedule=plan)
    return network.cpu().eval(), scale, offset


def _problem(model: ModelData, teach: Rows) -> Problem | None:
    """The head, to measure errors with; None without labels."""
    task = config_of(model)
    kind, costs = PROBLEMS[task.head], cast("Mapping[str, Any]", model.config["costs"])
    usable = kind.usable(teach)
    return kind(task, usable, Costs(costs["miss"], costs["alarm"])) if len(usable) else None


def _row(name: str, scorer: Scorer, advisor: Advisor, problem: Problem | None, judge: Rows) -> dict[str, object]:
    """Size, speed, and how far it is from the model as it is, in the spread of what that says."""
    raw, rows = scorer(judge.x), judge.x
    own, its = advisor.quantities(rows), advisor.answer.quantities(raw, rows)
    main = advisor.answer.main
    spread = max(float(np.nanstd(own[:, main])), 1e-9)
    row: dict[str, object] = {
        "as": name,
        "kB": round(sum(t.nbytes for t in scorer.to_tensors().values()) / 1e3, 1),
        "us a window": round(_micros(scorer, rows), 1),
        OFF_COLUMN: round(float(np.sqrt(np.nanmean((own[:, main] - its[:, main]) ** 2))) / spread, 4),
        "flags differ": round(float((advisor.answer.flag(own) != advisor.answer.flag(its)).mean()), 4),
    }
    if problem is not None and len(usable := problem.usable(judge)):
        row["error"] = round(problem.error(advisor.answer, scorer(usable.x), usable), 4)
    return row


def _micros(scorer: Scorer, rows: Floats) -> float:
    """Median time per window in batches of ``BATCH``, in microseconds."""
    batch, spent = rows[:BATCH], []
    for _ in range(TIMED):
        before = time.perf_counter()
        scorer(batch)
        spent.append((time.perf_counter() - before) * 1e6 / len(batch))
    return float(np.median(spent))
