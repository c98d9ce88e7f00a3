"""``lineside finetune``: candidates on labelled windows, chosen by validation units."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import TrainedModel
from lineside_plugins.tasks.condition import features
from lineside_plugins.tasks.condition.answering import Answer
from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_plugins.tasks.condition.novelty import Novelty
from lineside_plugins.tasks.condition.scorers import Scorer
from lineside_workers.condition import lives, rehearsal
from lineside_workers.condition.candidates import NAIVE, SCRATCH, Bench, Candidate, candidates, unwatched
from lineside_workers.condition.heads import PROBLEMS, Costs, Problem
from lineside_workers.condition.pretraining import Pretrained
from lineside_workers.condition.tuning import Search
from lineside_workers.condition.windows import Rows, counts
from lineside_workers.errors import LabelError, SplitError
from lineside_workers.recorded.splitting import PARTS, Split

Say = Callable[[str], None]
Floats = NDArray[np.float64]
SPREAD = "_spread"
DECILES = np.linspace(0.0, 1.0, 11)


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked, of which windows, and how hard to try; ``work`` keeps the searches, so that they go on.

    With ``lives`` (R,) of all rows, those of training machines without a value are learned from too.
    """

    task: ConditionConfig
    question: str
    costs: Costs
    work: Path
    seed: int = 0
    device: str = "cpu"
    trials: int = 0
    lives: lives.Lives | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A trained candidate, as it would be served, with its error on validation units; ``spread`` taught it besides."""

    name: str
    score: Scorer
    learned: Mapping[str, Any]
    answer: Answer
    error: float
    settings: Mapping[str, float]
    spread: Rows | None = None


def finetune(data: Rows, pretrained: Pretrained, job: Job, say: Say) -> TrainedModel:
    """Train every candidate on labelled training units, ship the one with the lowest error on validation units.

    Raises:
        LabelError: A side of the split has no row the head can use, or training has only one class.
    """
    split, kind = pretrained.split, PROBLEMS[job.task.head]
    sides = {part: kind.usable(data.of(getattr(split, part))) for part in PARTS}
    _check(sides, job.task.head)
    problem = kind(job.task, sides["train"], job.costs)
    teach, stop = (problem.teaching(sides[part]) for part in ("train", "validation"))
    bench = Bench(problem, pretrained, teach, stop, job.seed, job.device)
    tried = _try_all(bench, candidates(bench), sides["validation"], job, say)
    if job.lives is not None:
        teaching = np.isin(data.unit, split.train)
        among = lives.unlabelled(data.where(teaching), job.lives[teaching])
        tried += _second(bench, tried, among, sides["validation"], job, say)
    won, pace = min(tried, key=lambda t: t.error), bench.pace()
    say(f"ships: {won.name}; networks learned for {pace}")
    tried[tried.index(won)] = won = _rehearsed(won, bench, kind.usable(data.of((*split.train, *split.validation))), say)
    report = [
        {"candidate": t.name, "split": part, "error": problem.error(t.answer, t.score(rows.x), rows),
         **problem.measures(t.answer, t.score(rows.x), rows)}
        for t in tried for part, rows in sides.items() if part != "train"
    ]  # fmt: skip
    seen = data.of((*split.train, *split.validation))
    novelty = Novelty.fit(seen.x, seen.unit, job.seed)
    figures = {
        "units": json.loads(split.to_json()),
        "rows": counts(data, split, kind.usable),
        "winner": won.name,
        "test": next(r for r in report if (r["candidate"], r["split"]) == (won.name, "test")),
        "errors": {t.name: t.error for t in tried},
        "pace": pace.to_json(),
    }
    config = _served(won, data.of(split.train), pretrained, job)
    tensors = {**won.score.to_tensors(), **novelty.to_tensors()}
    return TrainedModel(config, tensors, _finite(figures), tuple(map(_finite, report)))


def _try_all(bench: Bench, among: Mapping[str, Candidate], choose: Rows, job: Job, say: Say) -> list[Tried]:
    search = Search(job.work, job.trials, job.seed, say)
    problem, out = bench.problem, []

    def judged(name: str, scorer: Scorer, settings: Mapping[str, float]) -> Tried:
        raw = scorer(choose.x)
        learned = problem.calibrate(raw, choose)
        answer = problem.answer(learned)
        return Tried(name, scorer, learned, answer, problem.error(answer, raw, choose), settings)

    for name, candidate in among.items():
        settings = search.best(name, candidate, bench, lambda scorer: judged("", scorer, {}).error)
        out.append(judged(name, candidate.learn(bench, settings, unwatched), settings))
        say(f"{name}: validation error {out[-1].error:.4f}")
    return out


def _second(
    bench: Bench, tried: list[Tried], among: tuple[Rows, lives.Lives], choose: Rows, job: Job, say: Say
) -> list[Tried]:
    """The candidates once more, on labels that the best of the first round spread along unlabelled lives."""
    first = min(tried, key=lambda t: t.error)
    rows, own = among
    said = first.answer.quantities(first.score(rows.x), rows.x)[:, 0]
    found = lives.spread(said, rows, own, float(bench.fit.value.max()), job.task.unit)
    say(f"{first.name} labels {len(found)} of {len(rows)} windows in {len(np.unique(own))} lives that had no label")
    wider = replace(bench, fit=lives.joined(bench.fit, found))
    again = {f"{n}{SPREAD}": c for n, c in candidates(wider).items() if n not in (NAIVE, SCRATCH)}
    return [replace(t, spread=found) for t in _try_all(wider, again, choose, job, say)]


def _rehearsed(won: Tried, bench: Bench, known: Rows, say: Say) -> Tried:
    """With intervals that would have covered units met for the first time, as a rehearsal on ``known`` rows has it."""
    problem = bench.problem
    if problem.coverage is None:
        return won

    def make(fit: Rows) -> Problem:
        return type(problem)(problem.task, fit, problem.costs)

    def learn(head: Problem, fit: Rows, stop: Rows) -> Scorer:
        rows = head.teaching(fit) if won.spread is None else lives.joined(head.teaching(fit), won.spread)
        own = replace(bench, problem=head, fit=rows, stop=head.teaching(stop))
        return candidates(own)[won.name.removesuffix(SPREAD)].learn(own, won.settings, unwatched)

    units, split = np.unique(known.unit).tolist(), bench.pretrained.split
    in_order = rehearsal.later_casts(units, split.validation)
    cast = in_order if split.cuts else rehearsal.casts(units, len(split.validation), bench.seed)
    by = rehearsal.rehearse(make, learn, known, cast, problem.coverage)
    if by is None:
        say("its intervals are as calibrated: too few units to rehearse how they hold on others")
        return won
    say(f"its intervals on units met for the first time, rehearsed: {problem.told(by)}")
    learned = problem.moved_out(won.learned, by)
    return replace(won, learned=learned, answer=problem.answer(learned))


def _served(won: Tried, train: Rows, pretrained: Pretrained, job: Job) -> dict[str, object]:
    """Configuration of the model: what serving, drift watch and evaluation read."""
    said = won.answer.quantities(won.score(train.x), train.x)
    return {
        "task": job.task.stored(),
        "winner": won.name,
        "scorer": won.score.kind,
        "settings": dict(won.settings),
        "trials": job.trials,
        "answer": dict(won.learned),
        "encoder": {"hidden": list(pretrained.recipe.hidden), "embedding": pretrained.recipe.embedding},
        "question": job.question,
        "reference": {
            **reference(train, list(job.task.tags)),
            "": [float(v) for v in np.nanquantile(said[:, 0], DECILES)],
        },
        "costs": {"miss": job.costs.miss, "alarm": job.costs.alarm},
        "spread": job.lives is not None,
    }


def reference(data: Rows, tags: list[str]) -> dict[str, list[float]]:
    """Deciles of each tag's window mean over training windows, for the drift watch."""
    means = data.x[:, :: len(features.PARTS)]
    return {tag: [float(v) for v in np.nanquantile(means[:, c], DECILES)] for c, tag in enumerate(tags)}


def check_split(pretrained: Pretrained, wanted: Split) -> None:
    """Compare a split with the one the encoder was trained by.

    Raises:
        SplitError: The encoder has learned from, or was chosen by, a unit that is to judge now, or may have.
    """
    if pretrained.split.cuts != wanted.cuts:
        raise SplitError("the encoder was pretrained by a split with other cuts; pretrain with the same --split")
    seen = {*pretrained.split.train, *pretrained.split.validation}
    if both := sorted(seen & set(wanted.test)):
        raise SplitError(
            f"the split leaks: {', '.join(both)} is to test, and the encoder was pretrained with it; "
            "pretrain with the same --split"
        )


def _check(sides: Mapping[str, Rows], head: Head) -> None:
    needs = {
        Head.CLASSES: "value, the number of its class: bring a CSV with a column value",
        Head.REGRESSION: "value: bring a CSV with a column value, or lineside label --quantity hours-left",
        Head.QUANTILES: "value: bring a CSV with a column value, or lineside label --quantity hours-left",
        Head.FORECASTING: "later value of the tag: record longer, or look less far ahead with --ahead-h",
    }
    for part, rows in sides.items():
        if not len(rows):
            what = needs.get(head, f"label: none falls on any {part} unit; label those too")
            raise LabelError(f"no window of the {part} units has a {what}, or move units with --split")


def _finite(row: Any) -> Any:
    """Numbers that are not (a ranking without both classes) become None: JSON has no NaN."""
    if isinstance(row, Mapping):
        return {k: _finite(v) for k, v in row.items()}
    return None if isinstance(row, float) and not np.isfinite(row) else row
