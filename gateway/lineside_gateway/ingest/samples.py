"""Numeric samples between their arrival and the watermark that settles them: columns, no object per value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lineside_gateway.ingest.history import NEVER_US

IntArray: TypeAlias = NDArray[np.int64]
DoubleArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
CodeArray: TypeAlias = NDArray[np.uint32]
Columns: TypeAlias = tuple[IntArray, IntArray, DoubleArray, BoolArray]

SMALLEST_LOG = 1024
"""Samples that a log has room for from the start."""
SPARE = 8
"""A log of this many times the samples it held and gave is halved."""


def microseconds(times: ArrayLike) -> IntArray:
    """Times as int64 microseconds since 1970 UTC; takes those, or datetime64 of any unit."""
    array = np.asarray(times)
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]")
    return array.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Block:
    """Settled samples, sorted by tag index and then time, at most one per tag and time. N samples in four columns.

    No sample that arrives later will lie at or before these times: what is computed from a block is final.
    Tag ``i`` has the samples from ``starts[i]`` up to ``starts[i + 1]``.
    """

    index: IntArray
    time_us: IntArray
    value: DoubleArray
    good: BoolArray
    starts: IntArray
    _cells: dict[int, IntArray] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        """N."""
        return len(self.index)

    def of(self, index: int) -> slice:
        """Where the samples of tag ``index`` lie, in time order."""
        if index + 1 >= len(self.starts):
            return slice(0, 0)
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def cells(self, cell_us: int) -> IntArray:
        """(N,) number of the cell ``(k * cell_us, (k + 1) * cell_us]`` of each sample; computed once per length."""
        found = self._cells.get(cell_us)
        if found is None:
            found = self._cells[cell_us] = (self.time_us - 1) // cell_us
        return found


NONE = np.empty(0, np.int64)
EMPTY = Block(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64))


def every(mask: BoolArray) -> bool:
    """``mask.all()`` at a fifth of its fixed cost, which counts where blocks are small."""
    return int(np.count_nonzero(mask)) == mask.size


class SampleLog:
    """Samples in order of arrival, waiting for a watermark. ``len`` is the number that wait.

    They lie in columns that are written over again and again: memory that is new for each message costs more, by the
    kernel's page faults, than the copy.
    """

    def __init__(self) -> None:
        self._length = 0
        self._make(SMALLEST_LOG)

    def _make(self, size: int) -> None:
        self._index = np.empty(size, np.int64)
        self._time_us = np.empty(size, np.int64)
        self._value = np.empty(size)
        self._good = np.empty(size, np.bool_)

    def __len__(self) -> int:
        """Samples that wait."""
        return self._length

    def append(self, index: IntArray, time_us: IntArray, value: DoubleArray, good: BoolArray | bool) -> None:
        """Keep copies of N samples."""
        at, end = self._length, self._length + len(index)
        if end > len(self._index):
            self._grow(end)
        self._index[at:end] = index
        self._time_us[at:end] = time_us
        self._value[at:end] = value
        self._good[at:end] = good
        self._length = end

    def append_one(self, index: int, time_us: int, value: float, good: bool) -> None:
        """Keep one sample."""
        at = self._length
        if at >= len(self._index):
            self._grow(at + 1)
        self._index[at], self._time_us[at], self._value[at], self._good[at] = index, time_us, value, good
        self._length = at + 1

    def _grow(self, size: int) -> None:
        former = self.since(0)
        self._make(max(size, 2 * len(self._index)))
        self._put(former)

    def _put(self, columns: Columns) -> None:
        self._length = 0
        self.append(*columns)

    def since(self, place: int) -> Columns:
        """Views of what was appended from place ``place`` on, counted from the first that waits."""
        pick = slice(place, self._length)
        return self._index[pick], self._time_us[pick], self._value[pick], self._good[pick]

    def newest(self, index: int) -> tuple[int, float, bool] | None:
        """Time, value and goodness of the waiting sample of tag ``index`` that has the latest time."""
        indices, times, values, good = self.since(0)
        (at,) = np.nonzero(indices == index)
        if not len(at):
            return None
        k = at[np.argmax(times[at])]
        return int(times[k]), float(values[k]), bool(good[k])

    def earliest(self, size: int) -> IntArray:
        """(size,) earliest waiting time per tag index; int64 max where none waits."""
        out = np.full(size, np.iinfo(np.int64).max)
        indices, times, _, _ = self.since(0)
        np.minimum.at(out, indices, times)
        return out

    def waiting(self, size: int) -> IntArray:
        """(size,) samples that wait per tag index."""
        return np.bincount(self.since(0)[0], minlength=size)

    def latest(self, size: int) -> IntArray:
        """(size,) latest waiting time per tag index; ``NEVER_US`` where none waits."""
        out = np.full(size, NEVER_US)
        indices, times, _, _ = self.since(0)
        np.maximum.at(out, indices, times)
        return out

    def take(self, edge_us: IntArray) -> tuple[Block, IntArray]:
        """Remove all samples at or before ``edge_us[index]``.

        Returns:
            Them as a Block, and the tags of duplicates (same tag, same time; the first to arrive stays) left out.
        """
        if not self._length:
            return EMPTY, NONE
        columns = self.since(0)
        if columns[1].max() <= edge_us.min():
            found = _sorted(_picked(columns, slice(None)), len(edge_us))
            self._length = 0
        else:
            ready = columns[1] <= edge_us[columns[0]]
            found = _sorted(_picked(columns, ready), len(edge_us))
            self._put(_picked(columns, ~ready))
        if len(self._index) > max(SMALLEST_LOG, SPARE * self._length, SPARE * len(found[0])):
            former = self.since(0)
            self._make(len(self._index) // 2)
            self._put(former)
        return found


def _picked(columns: Columns, pick: BoolArray | slice) -> Columns:
    if isinstance(pick, slice):
        return columns[0].copy(), columns[1].copy(), columns[2].copy(), columns[3].copy()
    return columns[0][pick], columns[1][pick], columns[2][pick], columns[3][pick]


def _sorted(columns: Columns, tags: int) -> tuple[Block, IntArray]:
    index, time_us = columns[0], columns[1]
    if not len(index):
        return EMPTY, NONE
    step, later = index[1:] - index[:-1], time_us[1:] > time_us[:-1]
    if every((step > 0) | ((step == 0) & later)):
        return Block(*columns, _starts(index, tags)), NONE
    order = _order(index, time_us)
    index, time_us = index[order], time_us[order]
    fresh = np.empty(len(index), np.bool_)
    fresh[0] = True
    np.logical_or(index[1:] != index[:-1], time_us[1:] != time_us[:-1], out=fresh[1:])
    duplicates = NONE
    if not every(fresh):
        duplicates = index[~fresh]
        order, index, time_us = order[fresh], index[fresh], time_us[fresh]
    return Block(index, time_us, columns[2][order], columns[3][order], _starts(index, tags)), duplicates


def _starts(index: IntArray, tags: int) -> IntArray:
    return np.append(0, np.cumsum(np.bincount(index, minlength=tags)))


def _order(index: IntArray, time_us: IntArray) -> IntArray:
    """Stable order by (index, time): one merge sort on a joint key where it fits 63 bits, twice as fast as lexsort."""
    first = int(time_us.min())
    span = int(time_us.max()) - first + 1
    if span * (int(index.max()) + 1) < 2**62:
        return np.argsort(index * span + (time_us - first), kind="stable")
    return np.lexsort((time_us, index))
