"""Numeric samples between their arrival and the watermark that settles them: columns, no object per value."""

from __future__ import annotations

from collections.abc import Sequence
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
    starts: Sequence[int]
    _cells: dict[int, IntArray] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        """N."""
        return len(self.index)

    def of(self, index: int) -> slice:
        """Where the samples of tag ``index`` lie, in time order."""
        if index + 1 >= len(self.starts):
            return slice(0, 0)
        return slice(self.starts[index], self.starts[index + 1])

    def cells(self, cell_us: int) -> IntArray:
        """(N,) number of the cell ``(k * cell_us, (k + 1) * cell_us]`` of each sample; computed once per length."""
        found = self._cells.get(cell_us)
        if found is None:
            found = self._cells[cell_us] = (self.time_us - 1) // cell_us
        return found


NONE = np.empty(0, np.int64)
EMPTY = Block(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_), ())


def every(mask: BoolArray) -> bool:
    """``mask.all()`` at a fifth of its fixed cost, which counts where blocks are small."""
    return int(np.count_nonzero(mask)) == mask.size


class SampleLog:
    """Samples in order of arrival, waiting for a watermark. ``len`` is the number that wait."""

    def __init__(self) -> None:
        self._chunks: list[Columns] = []
        self._singles: list[tuple[int, int, float, bool]] = []
        self._length = 0

    def __len__(self) -> int:
        """Samples that wait."""
        return self._length

    def append(self, index: IntArray, time_us: IntArray, value: DoubleArray, good: BoolArray) -> None:
        """Keep N samples; the log owns the arrays from here on."""
        if len(index):
            self._gather()
            self._chunks.append((index, time_us, value, good))
            self._length += len(index)

    def append_one(self, index: int, time_us: int, value: float, good: bool) -> None:
        """Keep one sample."""
        self._singles.append((index, time_us, value, good))
        self._length += 1

    def _gather(self) -> None:
        """Turn single samples into a chunk, after the chunks that came before them."""
        if self._singles:
            index, time_us, value, good = zip(*self._singles, strict=True)
            self._chunks.append((np.array(index), np.array(time_us), np.array(value), np.array(good)))
            self._singles = []

    def newest(self, index: int) -> tuple[int, float, bool] | None:
        """Time, value and goodness of the waiting sample of tag ``index`` that has the latest time."""
        self._gather()
        best: tuple[int, float, bool] | None = None
        for indices, times, values, good in self._chunks:
            (at,) = np.nonzero(indices == index)
            if len(at):
                k = at[np.argmax(times[at])]
                if best is None or times[k] > best[0]:
                    best = int(times[k]), float(values[k]), bool(good[k])
        return best

    def earliest(self, size: int) -> IntArray:
        """(size,) earliest waiting time per tag index; int64 max where none waits."""
        self._gather()
        out = np.full(size, np.iinfo(np.int64).max)
        for indices, times, _, _ in self._chunks:
            np.minimum.at(out, indices, times)
        return out

    def waiting(self, size: int) -> IntArray:
        """(size,) samples that wait per tag index."""
        self._gather()
        out = np.zeros(size, np.int64)
        for indices, _, _, _ in self._chunks:
            out += np.bincount(indices, minlength=size)
        return out

    def latest(self, size: int) -> IntArray:
        """(size,) latest waiting time per tag index; ``NEVER_US`` where none waits."""
        self._gather()
        out = np.full(size, NEVER_US)
        for indices, times, _, _ in self._chunks:
            np.maximum.at(out, indices, times)
        return out

    def take(self, edge_us: IntArray) -> tuple[Block, IntArray]:
        """Remove all samples at or before ``edge_us[index]``.

        Returns:
            Them as a Block, and the tags of duplicates (same tag, same time; the first to arrive stays) left out.
        """
        self._gather()
        if not self._chunks:
            return EMPTY, NONE
        columns = self._joined()
        if columns[1].max() <= edge_us.min():
            self._chunks, self._length = [], 0
        else:
            ready = columns[1] <= edge_us[columns[0]]
            rest = ~ready
            self._length = int(np.count_nonzero(rest))
            kept = (columns[0][rest], columns[1][rest], columns[2][rest], columns[3][rest])
            self._chunks = [kept] if self._length else []
            columns = (columns[0][ready], columns[1][ready], columns[2][ready], columns[3][ready])
        return _sorted(columns, len(edge_us))

    def _joined(self) -> Columns:
        if len(self._chunks) == 1:
            return self._chunks[0]
        index, time_us, value, good = zip(*self._chunks, strict=True)
        return np.concatenate(index), np.concatenate(time_us), np.concatenate(value), np.concatenate(good)


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


def _starts(index: IntArray, tags: int) -> list[int]:
    starts: list[int] = np.searchsorted(index, np.arange(tags + 1)).tolist()
    return starts


def _order(index: IntArray, time_us: IntArray) -> IntArray:
    """Stable order by (index, time): one merge sort on a joint key where it fits 63 bits, twice as fast as lexsort."""
    first = int(time_us.min())
    span = int(time_us.max()) - first + 1
    if span * (int(index.max()) + 1) < 2**62:
        return np.argsort(index * span + (time_us - first), kind="stable")
    return np.lexsort((time_us, index))
