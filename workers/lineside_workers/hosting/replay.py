"""A recorded stretch through two versions of a model, and where they differ: to be read before a promotion."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import DataType, Inputs
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status
from lineside_workers.errors import RecordingError
from lineside_workers.hosting.runner import Runner
from lineside_workers.recorded.reading import Recorded, grid
from lineside_workers.watching.side_by_side import Pair, SideBySide, interval, number

BATCH = 256
FAR = 0.1  # difference of a number within 0..1, which has no interval, that is worth a row


@dataclass(frozen=True, slots=True)
class Said:
    """One version's word on one window: the flag, the first number and its interval, or why there is none."""

    flag: bool | None
    value: float | None
    why: str
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.why:
            return "abstains"
        if self.flag is None:
            return "nothing"
        return ("flag" if self.flag else "no flag") + ("" if self.value is None else f" {self.value:.3g}")


@dataclass(frozen=True, slots=True)
class Window:
    """What two versions say of one window, and whether it is not the same."""

    equipment_id: str
    end: str
    one: Said
    other: Said
    differs: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both by machine, and window by window; ``alike`` if their first numbers are of one quantity.

    Windows differ in flag or abstention and, where numbers are alike, in a number that lies outside the other's
    interval; by more than ``FAR`` where there is none.
    """

    pairs: Mapping[str, Pair]
    windows: tuple[Window, ...]
    alike: bool

    @property
    def differences(self) -> tuple[Window, ...]:
        """The windows on which they do not say the same."""
        return tuple(w for w in self.windows if w.differs)


def compare(found: Recorded, one: Runner, other: Runner, day: str = "") -> Comparison:
    """Ask both about every window of ``found`` that ends on ``day`` (ISO 8601; "" for all of them).

    Each is given the tags, length and grid that its own configuration asks for; windows that end together are compared.

    Raises:
        RecordingError: A version reads more than windows, or no window of both ends then.
    """
    beside, windows = SideBySide(one.flag), list[Window]()
    alike = _quantity(one) == _quantity(other)
    for first_batch, second_batch in _batches(found, one.inputs, other.inputs, day):
        (first, first_s), (second, second_s) = _answer(one, first_batch), _answer(other, second_batch)
        beside.see(first_batch.equipment_ids, first, first_s, second, second_s)
        said = _said(first, one.flag), _said(second, other.flag)
        ends = np.datetime_as_string(first_batch.end, "s").tolist()
        windows += [
            Window(machine, end, a, b, differ(a, b, alike=alike))
            for machine, end, a, b in zip(first_batch.equipment_ids, ends, *said, strict=True)
        ]
    if not beside.pairs:
        raise RecordingError(
            f"no window of {found.root} that both versions read ends on {day or 'any day'}; choose another --day, or "
            "versions of the same tags"
        )
    return Comparison(beside.pairs, tuple(windows), alike)


def _batches(found: Recorded, one: Inputs, other: Inputs, day: str) -> Iterator[tuple[WindowBatch, WindowBatch]]:
    """Windows of one machine that end together, as each of the two reads them."""
    for machine in found.equipment_ids:
        mine, theirs = _Cut.of(found, machine, one), _Cut.of(found, machine, other)
        if mine is None or theirs is None:
            continue
        ends = np.intersect1d(mine.ends, theirs.ends)
        every = max(1, round((one.trigger.every_s or mine.period_s) / mine.period_s))
        chosen = (ends[np.datetime_as_string(ends, "D") == day] if day else ends)[::every]
        for part in np.array_split(chosen, max(1, -(-len(chosen) // BATCH))):
            if len(part):
                yield mine.batch(part), theirs.batch(part)


@dataclass(frozen=True, slots=True)
class _Cut:
    """All windows of a machine: their ``ends`` (N,) datetime64[us] and ``views`` (N, T, C)."""

    machine: str
    tags: tuple[str, ...]
    period_s: float
    ends: NDArray[np.datetime64]
    views: NDArray[np.float32]

    @classmethod
    def of(cls, found: Recorded, machine: str, inputs: Inputs) -> _Cut | None:
        """As ``inputs`` ask for them; None where the machine lacks a tag, or was not recorded for long enough."""
        spec = inputs.window
        if spec is None or inputs.snapshot or inputs.records:
            raise RecordingError("the task reads more than windows of tags; a replay knows nothing else")
        tags = tuple(c.tag for c in spec.channels)
        if any((machine, t) not in found.series for t in tags):
            return None
        end_us, cells = grid(found, machine, tags, spec.period_s)
        if len(end_us) < spec.length:
            return None
        views = np.lib.stride_tricks.sliding_window_view(cells, spec.length, axis=0).transpose(0, 2, 1)
        return cls(machine, tags, spec.period_s, end_us[spec.length - 1 :].astype("datetime64[us]"), views)

    def batch(self, ends: NDArray[np.datetime64]) -> WindowBatch:
        """The windows that end at ``ends`` (B,), which rise."""
        values = np.ascontiguousarray(self.views[np.searchsorted(self.ends, ends)])
        return WindowBatch(
            (self.machine,) * len(ends), self.tags, values, np.isfinite(values), ends, self.period_s,
            ({},) * len(ends), ({},) * len(ends),
        )  # fmt: skip


def _quantity(runner: Runner) -> tuple[str, str] | None:
    """Name and unit of the first number of a version."""
    numbers = (f for f in runner.outputs.fields if f.data_type is DataType.DOUBLE)
    return next(((f.name, f.unit) for f in numbers), None)


def differ(one: Said, other: Said, *, alike: bool) -> bool:
    """Whether two versions do not say the same of a window; see ``Comparison``."""
    if one.flag != other.flag or bool(one.why) != bool(other.why):
        return True
    if not alike or one.value is None or other.value is None:
        return False
    if one.interval is None or other.interval is None:
        return abs(one.value - other.value) > FAR
    return not (_within(one.value, other.interval) and _within(other.value, one.interval))


def _within(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= value <= interval[1]


def _answer(runner: Runner, batch: WindowBatch) -> tuple[BatchResult, float]:
    """The runner's word on a batch and the seconds it took."""
    started = time.perf_counter()
    result = runner.answer(batch)
    if result.status is not Status.ANSWERED:
        raise RecordingError(f"{runner.model_name} {runner.model_version} did not answer: {result.error}")
    return result, time.perf_counter() - started


def _said(result: BatchResult, flag_name: str) -> list[Said]:
    why = {r.index: r.why for r in result.refused}
    return [
        Said(None, None, why.get(i, ""))
        if rec is None
        else Said(bool(rec.value.get(flag_name)), number(rec), why.get(i, ""), interval(rec))
        for i, rec in enumerate(result.recommendations)
    ]
