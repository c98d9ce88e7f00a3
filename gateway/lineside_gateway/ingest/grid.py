"""Samples become windows on a fixed grid, at a cost that does not grow with the window's length.

Each settled sample is added once to a base cell. When a base cell is complete, the channel's cell of ``period_s`` that
ends with it is computed from the last ``period_s / base`` base cells and appended to a line; a window is every n-th
entry of that line. Base cells are aligned to 1970, cell ``k`` covers ``(k * base, (k + 1) * base]``.

A window that closes at ``end`` shows the grid up to the last base cell that is complete at ``end``: for a trigger
inside a base cell the part of a cell since its start is not shown. Sums run over samples in time order, so a window
is bit for bit the same however its samples arrived and however often the watermark moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lineside_gateway.ingest.errors import BindingError
from lineside_gateway.ingest.samples import Block, BoolArray, DoubleArray, IntArray, every
from lineside_plugins.contract import Aggregate, WindowSpec
from lineside_plugins.types import FloatArray

BASE_US = 60_000_000  # coarsest base cell: what a change inside it may not see of the newest samples
MAX_CELLS = 1 << 20  # base cells in a window's history; a finer grid than that is a mistake in the task's inputs
RING_CELLS = 1 << 19  # base cells that wait to be complete, of all channels together: 20 to 30 MB at most
_UNSET = -(2**62)
_NO, _POOR, _GOOD = 0, 1, 2  # of the newest sample in a base cell: none, not good, good


def base_cell_us(spec: WindowSpec, every_s: float | None) -> int:
    """Length of a base cell in us: the largest that divides the period, the trigger's period and 60 s.

    Raises:
        BindingError: The period is not positive, or the grid is too fine for the window's length.
    """
    period = round(spec.period_s * 1e6)
    if period <= 0 or spec.length <= 0:
        raise BindingError(f"window of {spec.length} cells of {spec.period_s} s; both must be above 0")
    base = math.gcd(period, round((every_s or 0) * 1e6), BASE_US)
    if period // base * spec.length > MAX_CELLS:
        raise BindingError(
            f"window of {spec.length} x {spec.period_s} s, closed every {every_s} s, needs a grid of {base / 1e6} s: "
            f"{period // base * spec.length} cells, at most {MAX_CELLS}; choose periods with a larger common divisor"
        )
    return base


class Grid:
    """Lines of cells for E pieces of equipment and the C channels of one ``WindowSpec``.

    ``rows`` is (E, C): the table's tag index of each channel, -1 where the equipment lacks an optional one.
    MEAN and MAX use the Good samples of a cell, or, if it has none, the Uncertain ones. LAST is the newest sample at
    or before the cell's end, held over cells without one, because a subscription reports changes only.
    """

    def __init__(self, spec: WindowSpec, base_us: int, rows: IntArray) -> None:
        self.base_us = base_us
        self.per_cell = round(spec.period_s * 1e6) // base_us
        self.history = spec.length * self.per_cell
        self.chunk = max(8, min(256, 8192 // self.per_cell, RING_CELLS // max(rows.size, 1)))
        self._ring = self.per_cell + self.chunk + 2
        self._line = self.history + max(self.history, self.chunk + 2)
        equipment, channels = rows.shape
        self._shape = equipment, self._ring, channels
        kinds = np.array([c.aggregate for c in spec.channels])
        self._columns = {k: np.flatnonzero(kinds == k) for k in Aggregate}
        self._rows = {k: self._lookup(rows, self._columns[k]) for k in Aggregate if len(self._columns[k])}
        # Planes 0, 1: sum and count of Good samples; 2, 3: of Uncertain ones.
        self._sums = np.zeros((4, *self._shape))
        self._planes = 2  # 4 once there has been a sample that is not Good
        self._peaks = np.full((2, *self._shape), -np.inf) if Aggregate.MAX in self._rows else None
        self._last = np.full(self._shape, np.nan)
        self._state = np.zeros(self._shape, np.uint8)
        self._held = np.full((equipment, channels), np.nan)
        self._held_state = np.zeros((equipment, channels), np.uint8)
        self._values: FloatArray = np.full((equipment, self._line, channels), np.nan, np.float32)
        self._good = np.zeros((equipment, self._line, channels), np.bool_)
        self._start = [_UNSET] * equipment  # cell number of each line's first entry
        self._sealed = [_UNSET] * equipment  # newest complete cell of each line
        self._owner = np.full(int(rows.max(initial=-1)) + 2, -1, np.int64)
        for e, tags in enumerate(rows):
            self._owner[tags[tags >= 0]] = e

    def _lookup(self, rows: IntArray, columns: IntArray) -> IntArray:
        """Flat place of each tag's ring entry 0 among the channels of one aggregate; -1 for all others, and last."""
        equipment, ring, channels = self._shape
        places = np.arange(equipment)[:, None] * (ring * channels) + columns
        tags = rows[:, columns]
        out = np.full(int(rows.max(initial=-1)) + 2, -1, np.int64)
        out[tags[tags >= 0]] = places[tags >= 0]
        return out

    def add(self, block: Block) -> None:
        """Take settled samples into base cells.

        A block spans at most ``chunk`` cells after the newest sealed one, or, past a gap, after its own first sample.
        """
        if not len(block):
            return
        cells = block.cells(self.base_us)
        self._make_room(block, cells)
        offsets = cells % self._ring * self._shape[2]
        beyond = block.index[-1] >= len(self._owner)  # tags registered after this grid was made
        index = np.minimum(block.index, len(self._owner) - 1) if beyond else block.index
        for kind, places in self._rows.items():
            place = places[index]
            mine = place >= 0
            if every(mine):
                self._put(kind, place + offsets, block.value, block.good)
            elif np.count_nonzero(mine):
                self._put(kind, place[mine] + offsets[mine], block.value[mine], block.good[mine])

    def _put(self, kind: Aggregate, at: IntArray, value: DoubleArray, good: BoolArray) -> None:
        if kind is Aggregate.LAST:
            self._last.reshape(-1)[at] = value
            self._state.reshape(-1)[at] = np.where(good, _GOOD, _POOR)
            return
        size = self._last.size
        plane: IntArray | int = 0
        if not every(good):
            self._planes = 4
            known = np.isfinite(value)
            at, value, good = at[known], value[known], good[known]
            plane = np.where(good, 0, 1)
        if kind is Aggregate.MEAN:
            flat = self._sums.reshape(-1)
            at = at + plane * (2 * size)
            np.add.at(flat, at, value)
            np.add.at(flat, at + size, 1.0)
        elif self._peaks is not None:
            np.maximum.at(self._peaks.reshape(-1), at + plane * size, value)

    def _make_room(self, block: Block, cells: IntArray) -> None:
        """Start lines at their first sample, and bridge a gap longer than the ring."""
        if int(cells.max()) - min(self._sealed) <= self.chunk:
            return
        owner = self._owner[np.minimum(block.index, len(self._owner) - 1)]
        for e in np.unique(owner[owner >= 0]):
            mine = cells[owner == e]
            first = int(mine.min())
            if self._sealed[e] == _UNSET:
                self._sealed[e] = first - 1
                self._start[e] = first - self.history
            elif int(mine.max()) - self._sealed[e] > self.chunk:
                self._bridge(int(e), first - 1)

    def seal(self, edges_us: Sequence[int]) -> None:
        """Complete all cells that end at or before ``edges_us`` (E,), the watermark of each piece of equipment."""
        moves: dict[tuple[int, int], list[int]] = {}
        for e, edge in enumerate(edges_us):
            target, sealed = edge // self.base_us - 1, self._sealed[e]
            if sealed != _UNSET and target > sealed:
                moves.setdefault((sealed, target), []).append(e)
        for (k0, k1), lines in moves.items():
            self._advance(lines, k0, k1)

    def _advance(self, lines: Sequence[int], k0: int, k1: int) -> None:
        if k1 - k0 <= self.chunk:
            self._complete(lines, k0, k1)
            return
        for e in lines:
            self._bridge(e, k1)

    def _bridge(self, e: int, target: int) -> None:
        """Complete one line up to ``target`` over cells that hold no samples beyond the first chunk."""
        while self._sealed[e] < target:
            k0 = self._sealed[e]
            self._complete([e], k0, min(k0 + self.chunk, target))
            if target - self._sealed[e] > self.history + self.per_cell:
                self._clear(e, target)

    def _clear(self, e: int, sealed: int) -> None:
        """An empty line up to ``sealed``; only what LAST holds survives."""
        self._sums[:, e] = 0.0
        if self._peaks is not None:
            self._peaks[:, e] = -np.inf
        self._state[e] = _NO
        self._values[e], self._good[e] = np.nan, False
        held = self._columns[Aggregate.LAST]
        self._values[e][:, held] = self._held[e, held]
        self._good[e][:, held] = self._held_state[e, held] == _GOOD
        self._sealed[e], self._start[e] = sealed, sealed - self.history + 1

    def _complete(self, equipment: Sequence[int], k0: int, k1: int) -> None:
        """Compute the cells that end with base cells k0+1..k1 (at most ``chunk``) of lines sealed up to k0."""
        n, m = self.per_cell, k1 - k0
        ring = np.arange(k0 - n + 2, k1 + 1) % self._ring
        roll = ring[np.arange(m)[:, None] + np.arange(n)]
        lines = np.array(equipment)[:, None]
        values, good = self._means(lines, roll)
        if self._peaks is not None:
            columns = self._columns[Aggregate.MAX]
            peaks = self._peaks[:, lines[..., None], roll][..., columns].max(axis=3)
            high = np.where(np.isfinite(peaks[0]), peaks[0], peaks[1])
            values[..., columns] = np.where(np.isfinite(high), high, np.nan)
            good[..., columns] = np.isfinite(peaks[0])
        if Aggregate.LAST in self._rows:
            columns = self._columns[Aggregate.LAST]
            values[..., columns], good[..., columns] = self._lasts(lines, ring[n - 1 :], columns)
        for j, e in enumerate(equipment):
            at = self._space(e, k0, m)
            self._values[e, at : at + m] = values[j]
            self._good[e, at : at + m] = good[j]
            self._sealed[e] = k1
        self._sums[: self._planes, lines, ring[:m]] = 0.0
        if self._peaks is not None:
            self._peaks[:, lines, ring[:m]] = -np.inf
        self._state[lines, ring[n - 1 :]] = _NO

    def _means(self, lines: IntArray, roll: IntArray) -> tuple[DoubleArray, BoolArray]:
        sums = self._sums[: self._planes, lines[..., None], roll]  # (planes, lines, m, n, C)
        sums = sums[:, :, :, 0] if self.per_cell == 1 else sums.sum(axis=3)
        good: NDArray[np.bool_] = sums[1] > 0
        means = np.full(good.shape, np.nan)
        if self._planes == 4:
            np.divide(sums[2], sums[3], out=means, where=sums[3] > 0)
        np.divide(sums[0], sums[1], out=means, where=good)
        return means, good

    def _lasts(self, lines: IntArray, cells: IntArray, columns: IntArray) -> tuple[DoubleArray, BoolArray]:
        value, state = self._held[lines, columns], self._held_state[lines, columns]
        values = np.empty((len(lines), len(cells), len(columns)))
        good = np.empty(values.shape, np.bool_)
        for j, cell in enumerate(cells):
            reported = self._state[lines, cell, columns]
            new = reported != _NO
            value, state = np.where(new, self._last[lines, cell, columns], value), np.where(new, reported, state)
            values[:, j], good[:, j] = value, state == _GOOD
        self._held[lines, columns], self._held_state[lines, columns] = value, state
        return values, good

    def _space(self, e: int, k0: int, m: int) -> int:
        """Where cell k0+1 goes in line ``e``; moves the newest ``history`` cells to the front when it is full."""
        if k0 + m - self._start[e] >= self._line:
            moved = k0 - self.history + 1 - self._start[e]
            for line in (self._values[e], self._good[e]):
                line[: self.history] = line[moved : moved + self.history].copy()
            self._start[e] += moved
        return k0 + 1 - self._start[e]

    def window(self, e: int, end_us: int) -> tuple[FloatArray, BoolArray] | None:
        """Values float32 (T, C) and good (T, C) of the window that closes at ``end_us``, as copies.

        None when the line has not begun by then, or ``end_us`` lies so far back that its cells are gone.
        """
        newest = end_us // self.base_us - 1 - self._start[e]
        oldest = newest - self.history + self.per_cell
        if self._sealed[e] == _UNSET or oldest < 0:
            return None
        pick = slice(oldest, newest + 1, self.per_cell)
        return self._values[e, pick].copy(), self._good[e, pick].copy()
