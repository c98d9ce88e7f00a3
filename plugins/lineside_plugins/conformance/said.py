"""Checks of what a task says about windows. They load it anew each time, as a worker process would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from lineside_plugins.conformance.subject import BrokenError, SkippedError, Subject, expect
from lineside_plugins.contract import Scope
from lineside_plugins.enforcement import RefusedError, check_advice
from lineside_plugins.synthetic import synthetic_batch
from lineside_plugins.types import Abstention, Advice, Recommendation, WindowBatch
from lineside_plugins.wire import decode_batch, decode_results, encode_batch, encode_results

TOLERANCE = 1e-4  # sums of float32 in another order; far below what an operator sees


def one_entry_per_window(subject: Subject) -> None:
    """A batch of any size gets one entry per window, each an Advice, an Abstention or None."""
    windows = subject.windows()
    for size in {1, len(windows)}:
        answers = subject.answers(windows.select(range(size)))
        expect(isinstance(answers, Sequence), f"recommend returns {type(answers).__name__}; return a list")
        expect(len(answers) == size, f"recommend returns {len(answers)} entries for {size} windows")
        wrong = [type(a).__name__ for a in answers if not (a is None or isinstance(a, Advice | Abstention))]
        expect(not wrong, f"recommend returns {(wrong or ['?'])[0]}; return Advice, Abstention or None for each window")


def advice_keeps_its_declaration(subject: Subject) -> None:
    """Every advice has the declared fields, data types and bounds, finite numbers and a confidence of 0..1."""
    _keeps_declaration(subject, subject.answers(subject.windows()), "window")


def batch_is_not_mutated(subject: Subject) -> None:
    """The batch is the same after recommend as before."""
    batch = subject.windows()
    before = encode_batch(batch)
    subject.answers(batch)
    expect(encode_batch(batch) == before, "recommend changed its batch; work on a copy")


def read_only_batches_are_taken(subject: Subject) -> None:
    """Arrays that cannot be written, as they come from the wire, are no obstacle."""
    batch = decode_batch(encode_batch(subject.windows()))
    _same(subject.answers(subject.windows()), subject.answers(batch), "from the wire than in memory")


def poor_windows_are_survived(subject: Subject) -> None:
    """Windows without one Good sample, with empty snapshots and without records, raise nothing."""
    poor = synthetic_batch(subject.fresh().inputs(), 3)
    answers = subject.answers(poor)
    expect(len(answers) == 3, f"recommend returns {len(answers)} entries for 3 poor windows")
    _keeps_declaration(subject, answers, "poor window")


def answers_are_deterministic(subject: Subject) -> None:
    """Two processes with the same model say the same about the same batch."""
    _same(subject.answers(subject.windows()), subject.answers(subject.windows()), "the second time")


def order_does_not_matter(subject: Subject) -> None:
    """Windows in another order get the same answers in that order; only for tasks per piece of equipment."""
    _per_equipment(subject)
    windows = subject.windows()
    order = list(np.random.default_rng(3).permutation(len(windows)))
    answers = subject.answers(windows)
    _same([answers[i] for i in order], subject.answers(windows.select(order)), "in another order")


def neighbours_do_not_matter(subject: Subject) -> None:
    """A window alone gets the answer it gets in a batch; only for tasks per piece of equipment."""
    _per_equipment(subject)
    windows = subject.windows()
    together = subject.answers(windows)
    alone = [subject.answers(windows.select([i]))[0] for i in range(len(windows))]
    _same(together, alone, "alone")


def recommendations_survive_the_wire(subject: Subject) -> None:
    """Recommendations made of the answers are the same after encoding and decoding."""
    outputs, batch = subject.fresh().outputs(), subject.windows()
    made = [
        _recommendation(subject.name, batch, i, check_advice(a, outputs), subject) if isinstance(a, Advice) else None
        for i, a in enumerate(subject.answers(batch))
    ]
    expect(decode_results(encode_results(made)) == made, "a recommendation differs after its way over the wire")


def close_can_follow_load(subject: Subject) -> None:
    """A worker loads, answers nothing and closes."""
    subject.loaded().close()


def _keeps_declaration(subject: Subject, answers: Sequence[Advice | Abstention | None], what: str) -> None:
    outputs = subject.fresh().outputs()
    for i, advice in enumerate(answers):
        try:
            if isinstance(advice, Advice):
                check_advice(advice, outputs)
        except RefusedError as e:
            raise BrokenError(f"{what} {i}: {e}") from e


def _per_equipment(subject: Subject) -> None:
    if subject.fresh().inputs().scope is not Scope.EQUIPMENT:
        raise SkippedError("windows of a line are moments of one line; their order means something")


def _recommendation(task: str, batch: WindowBatch, i: int, advice: Advice, subject: Subject) -> Recommendation:
    end = datetime.fromisoformat(str(batch.end[i])).replace(tzinfo=UTC)
    return Recommendation(
        task=task,
        kind=subject.fresh().outputs().kind,
        equipment_id=batch.equipment_ids[i],
        value=advice.value,
        confidence=advice.confidence,
        interval=advice.interval,
        reasons=advice.reasons,
        window_end=end,
        valid_until=end,
        model="conformance",
        model_version="0",
        key=f"{task}|{i}",
    )


def _same(one: Sequence[Advice | Abstention | None], two: Sequence[Advice | Abstention | None], when: str) -> None:
    for i, (a, b) in enumerate(zip(one, two, strict=True)):
        expect(type(a) is type(b), f"window {i} gets {_word(a)}, but {_word(b)} {when}")
        if not isinstance(a, Advice) or not isinstance(b, Advice):
            continue
        expect(math.isclose(a.confidence, b.confidence, abs_tol=TOLERANCE), f"window {i}: confidence differs {when}")
        for name, value in a.value.items():
            other = b.value.get(name)
            expect(_close(value, other), f"window {i}: '{name}' is {value!r}, but {other!r} {when}")


def _close(a: object, b: object) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_close(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    numbers = (int, float, np.number)
    if isinstance(a, numbers) and isinstance(b, numbers):
        return math.isclose(float(a), float(b), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return a == b


def _word(advice: Advice | Abstention | None) -> str:
    return "None" if advice is None else f"an {type(advice).__name__}"
