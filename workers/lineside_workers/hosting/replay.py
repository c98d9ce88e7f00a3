"""A recorded stretch through two versions of a model, and where they differ: to be read before a promotion."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lineside_plugins import registry
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status
from lineside_workers.errors import RecordingError
from lineside_workers.hosting.runner import Runner
from lineside_workers.recorded.reading import Recorded, grid
from lineside_workers.watching.side_by_side import Pair, SideBySide, number

BATCH = 256
FAR = 0.1  # difference of a number within 0..1 that is worth a row


@dataclass(frozen=True, slots=True)
class Said:
    """One version's word on one window: the flag, the first number, or why there is none."""

    flag: bool | None
    value: float | None
    why: str

    def __str__(self) -> str:
        if self.why:
            return "abstains"
        if self.flag is None:
            return "nothing"
        return ("flag" if self.flag else "no flag") + ("" if self.value is None else f" {self.value:.3g}")


@dataclass(frozen=True, slots=True)
class Difference:
    """A window on which two versions do not say the same."""

    equipment_id: str
    end: str
    one: Said
    other: Said


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both by machine, and the windows that differ: in flag or abstention, or by more than ``FAR``."""

    pairs: Mapping[str, Pair]
    differences: tuple[Difference, ...]


def compare(found: Recorded, task: str, one: Runner, other: Runner, day: str = "") -> Comparison:
    """Ask both about every window of ``found`` that ends on ``day`` (ISO 8601; "" for all of them).

    Raises:
        RecordingError: The task reads more than windows, or no window ends then.
    """
    beside, differences = SideBySide(one.flag), []
    for batch in _batches(found, task, day):
        (first, first_s), (second, second_s) = (_answer(runner, batch) for runner in (one, other))
        beside.see(batch.equipment_ids, first, first_s, second, second_s)
        said = _said(first, one.flag), _said(second, other.flag)
        for i, (a, b) in enumerate(zip(*said, strict=True)):
            if a.flag != b.flag or bool(a.why) != bool(b.why) or abs((a.value or 0) - (b.value or 0)) > FAR:
                differences.append(Difference(batch.equipment_ids[i], str(batch.end[i])[:19], a, b))
    if not beside.pairs:
        raise RecordingError(f"no window of {found.root} ends on {day or 'any day'}; choose another --day")
    return Comparison(beside.pairs, tuple(differences))


def _batches(found: Recorded, task: str, day: str) -> Iterator[WindowBatch]:
    inputs = registry.create(task).inputs()
    spec = inputs.window
    if spec is None or inputs.snapshot or inputs.records:
        raise RecordingError(f"task '{task}' reads more than windows of tags; a replay knows nothing else")
    tags = tuple(c.tag for c in spec.channels)
    for machine in found.equipment_ids:
        if any((machine, t) not in found.series for t in tags):
            continue
        end_us, cells = grid(found, machine, tags, spec.period_s)
        if len(end_us) < spec.length:
            continue
        views = np.lib.stride_tricks.sliding_window_view(cells, spec.length, axis=0).transpose(0, 2, 1)
        ends = end_us[spec.length - 1 :].astype("datetime64[us]")
        step = max(1, round((inputs.trigger.every_s or spec.period_s) / spec.period_s))
        chosen = np.flatnonzero(np.datetime_as_string(ends, "D") == day) if day else np.arange(len(ends))
        for rows in np.array_split(chosen[::step], max(1, -(-len(chosen) // BATCH))):
            if len(rows):
                values = np.ascontiguousarray(views[rows])
                yield WindowBatch(
                    (machine,) * len(rows), tags, values, np.isfinite(values), ends[rows], spec.period_s,
                    ({},) * len(rows), ({},) * len(rows),
                )  # fmt: skip


def _answer(runner: Runner, batch: WindowBatch) -> tuple[BatchResult, float]:
    """The runner's word on a batch and the seconds it took."""
    started = time.perf_counter()
    result = runner.answer(batch)
    if result.status is not Status.ANSWERED:
        raise RecordingError(f"{runner.model_name} {runner.model_version} did not answer: {result.error}")
    return result, time.perf_counter() - started


def _said(result: BatchResult, flag_name: str) -> list[Said]:
    why = {r.index: r.why for r in result.refused}
    out = []
    for i, rec in enumerate(result.recommendations):
        flag = None if rec is None else bool(rec.value.get(flag_name))
        out.append(Said(flag, None if rec is None else number(rec), why.get(i, "")))
    return out
