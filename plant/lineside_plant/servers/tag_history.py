"""A historian's memory of one machine: of each kept tag the last raw sample of every minute, for 72 hours.

A sample once a second for days is more than a plant historian keeps, too; the last one of a minute is a raw sample
with its own SourceTimestamp and StatusCode, so clients see nothing that was not measured. An hour of five machines
is some 60 kB.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lineside_plant.servers.samples import Sample
from lineside_plant.signals import MachineSamples

KEPT_TAGS = (
    "State", "SpindlePower", "SpindleTemp", "VibRms", "VibKurtosis", "Energy", "ActiveFamily", "CycleTime",
    "ToolCount", "PartCount", "SpeedOverride", "ToolOffset",
)  # fmt: skip
"""Tags with history, where the machine has them: condition, what was made, and what was set."""
CELL_US = 60_000_000
KEPT_H = 72
_CELLS = KEPT_H * 60

Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]
StatusArray = NDArray[np.uint32]


class TagTrace:
    """Samples of one tag in time order, the last of each minute ``(k, k + 1]``; the oldest make way after 72 h."""

    __slots__ = ("_begin", "_cell", "_end", "_newest", "_status", "_times", "_values")

    def __init__(self) -> None:
        # Twice the room, so that what is kept is one slice and moves to the front once in 72 h only.
        self._times = np.empty(2 * _CELLS, np.int64)
        self._values = np.empty(2 * _CELLS)
        self._status = np.empty(2 * _CELLS, np.uint32)
        self._begin = self._end = 0
        self._cell = -1
        self._newest = (0, 0.0, 0)

    def note(self, time_us: int, value: float, status: int = 0) -> None:
        """Take a sample; one that is older than the newest is not kept, as the newest minute alone is open."""
        cell = (time_us - 1) // CELL_US
        if time_us < self._newest[0]:
            return
        if cell != self._cell:
            self._close()
            self._cell = cell
        self._newest = (time_us, value, status)

    def _close(self) -> None:
        """Keep the newest sample of the minute that is over."""
        if self._cell < 0:
            return
        if self._end == len(self._times):
            kept = slice(self._end - _CELLS, self._end)
            for column in (self._times, self._values, self._status):
                column[:_CELLS] = column[kept].copy()
            self._end = _CELLS
        self._times[self._end], self._values[self._end], self._status[self._end] = self._newest
        self._end += 1
        self._begin = max(0, self._end - _CELLS)

    def columns(self) -> tuple[Int64Array, Float64Array, StatusArray]:
        """Times (us since 1970 UTC), values and StatusCodes, each (N,), oldest first, the open minute's included."""
        kept = slice(self._begin, self._end)
        if self._cell < 0:
            return self._times[kept], self._values[kept], self._status[kept]
        time_us, value, status = self._newest
        return (
            np.append(self._times[kept], time_us),
            np.append(self._values[kept], value),
            np.append(self._status[kept], np.uint32(status)),
        )


class TagHistory:
    """The traces of one machine, by tag."""

    def __init__(self, tags: Iterable[str]) -> None:
        self.traces = {tag: TagTrace() for tag in tags if tag in KEPT_TAGS}

    def note(self, sample: Sample) -> None:
        """Take a sample of any tag; those of other tags are not kept."""
        trace = self.traces.get(sample.tag)
        if trace is not None and isinstance(sample.value, int | float):
            trace.note(sample.time, float(sample.value), sample.status)

    def add(self, samples: MachineSamples) -> None:
        """Take what one machine's PLC showed over a while, by columns."""
        times = samples.times.astype(np.int64)
        cells = (times - 1) // CELL_US
        last = np.flatnonzero(np.append(cells[1:] != cells[:-1], True)) if len(cells) else np.empty(0, np.int64)
        for tag in self.traces.keys() & samples.columns.keys():
            for time_us, value in zip(times[last].tolist(), samples.columns[tag][last].tolist(), strict=True):
                self.traces[tag].note(time_us, float(value))
        for change in samples.changes:
            self.note(Sample(*change))
