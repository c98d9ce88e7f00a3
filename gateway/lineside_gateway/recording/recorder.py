"""Gathers what the gateway sees and says, and hands it to the archive now and then."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lineside_gateway.opcua.delivery import BAD, Float64Array, IndexArray, Int64Array, StatusArray
from lineside_gateway.recording.archive import Archive, schema_of
from lineside_plugins import recorded

MAX_SAMPLES = 4_000_000  # held between two writes, about 100 MB; beyond that samples are dropped and counted
MAX_ROWS = 200_000
_NOT_GOOD = BAD | 0x4000_0000  # Bad or Uncertain
_Samples = tuple[IndexArray, Int64Array, Float64Array, NDArray[np.uint32]]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was gathered since the last look: samples by index, rows by table."""

    samples: tuple[_Samples, ...]
    rows: Mapping[str, tuple[tuple[int, str, str, str], ...]]

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.samples) or any(self.rows.values())


class Recorder:
    """``samples`` and ``row`` only append, on the event loop; ``write`` works and belongs in a thread.

    ``dropped`` counts what came faster than it was written, by table.
    """

    def __init__(self, archive: Archive, period_s: float = 0.0) -> None:
        """Of each tag the mean of each cell of ``period_s`` seconds is kept, of held tags the last; 0: every sample."""
        self.archive = archive
        self.dropped: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self._period_us = round(1e6 * period_s)
        self._is_held: set[int] = set()
        self._tags: dict[int, tuple[str, str, str]] = {}
        self._samples: list[_Samples] = []
        self._held = 0
        self._rows: dict[str, list[tuple[int, str, str, str]]] = {t: [] for t in recorded.TABLES[1:]}
        self._open: list[_Samples] = []  # of cells that are not over; writing thread only

    def name(self, index: int, equipment_id: str, tag: str, unit: str, *, held: bool = False) -> None:
        """Say which tag the samples of ``index`` are of; of a ``held`` one a mean would mean nothing."""
        self._tags[index] = (equipment_id, tag, unit)
        if held:
            self._is_held.add(index)

    def samples(
        self, indices: IndexArray, times_us: Int64Array, values: Float64Array, status: StatusArray | None
    ) -> None:
        """N samples as the servers deliver them; copied, for the tag table uses them up."""
        if self._held + len(indices) > MAX_SAMPLES:
            self.dropped[recorded.TAGS] += len(indices)
            return
        self._held += len(indices)
        codes = np.zeros(len(indices), np.uint32) if status is None else status.copy()
        self._samples.append((indices, times_us.copy(), values.copy(), codes))

    def row(self, table: str, time_us: int, equipment_id: str, kind: str, record: Mapping[str, object]) -> None:
        """One event, recommendation or answer."""
        rows = self._rows[table]
        if len(rows) >= MAX_ROWS:
            self.dropped[table] += 1
            return
        rows.append((time_us, equipment_id, kind, json.dumps(record, ensure_ascii=False, default=str)))

    def take(self) -> Gathered:
        """What was gathered, for ``write``; the event loop's side is empty afterwards."""
        found = Gathered(tuple(self._samples), {t: tuple(r) for t, r in self._rows.items()})
        self._samples, self._held = [], 0
        self._rows = {t: [] for t in self._rows}
        return found

    def write(self, found: Gathered, *, last: bool = False) -> None:
        """Put ``found`` into the archive; ``last`` closes cells that are not full.

        Raises:
            RecordingError: The disk takes no more.
        """
        joined = self._joined([*self._open, *found.samples])
        self._open = []
        if joined is not None:
            rows = self._thinned(joined, last=last) if self._period_us else self._whole(joined)
            if rows.num_rows:
                self.archive.write(recorded.TAGS, rows)
                self.written[recorded.TAGS] += rows.num_rows
        for table, listed in found.rows.items():
            if listed:
                self.archive.write(table, _row_table(table, listed))
                self.written[table] += len(listed)

    def _joined(self, parts: Sequence[_Samples]) -> _Samples | None:
        if not parts:
            return None
        index, time, value, status = (np.concatenate([p[i] for p in parts]) for i in range(4))
        known = np.isin(index, np.fromiter(self._tags, np.int64, len(self._tags)))
        return index[known], time[known], value[known], status[known]

    def _whole(self, found: _Samples) -> pa.Table:
        index, time, value, status = found
        return self._tag_table(index, time, value, status, np.ones(len(index), np.uint32))

    def _thinned(self, found: _Samples, *, last: bool) -> pa.Table:
        """One row per tag and cell. A cell is over when a sample of a later one has come; others wait."""
        index, time, value, status = found
        period_us = self._period_us
        cell = -(-time // period_us)  # a cell covers (end - period, end], as in a window
        if not last and len(cell):
            waits = cell >= cell.max()
            self._open = [(index[waits], time[waits], value[waits], status[waits])]
            index, time, value, status, cell = (a[~waits] for a in (index, time, value, status, cell))
        order = np.lexsort((time, cell, index))
        index, cell, value, status = index[order], cell[order], value[order], status[order]
        begins = np.flatnonzero(np.diff(index, prepend=-1) | np.diff(cell, prepend=-1))
        if not len(begins):
            return schema_of(recorded.TAGS).empty_table()
        good = ((status & _NOT_GOOD) == 0) & np.isfinite(value)
        count = np.add.reduceat(good.astype(np.uint32), begins)
        with np.errstate(invalid="ignore"):
            mean = np.add.reduceat(np.where(good, value, 0.0), begins) / count
        ends = np.append(begins[1:], len(index)) - 1
        held = np.isin(index[begins], list(self._is_held))
        mean = np.where(held, value[ends], mean)
        worst = np.where(count > 0, 0, np.maximum.reduceat(status, begins)).astype(np.uint32)
        return self._tag_table(index[begins], cell[begins] * period_us, mean, worst, count.astype(np.uint32))

    def _tag_table(
        self, index: IndexArray, time: Int64Array, value: Float64Array, status: StatusArray, count: StatusArray
    ) -> pa.Table:
        kinds, which = np.unique(index, return_inverse=True)
        words = [self._tags[int(k)] for k in kinds]
        columns = [
            pa.array(time, pa.timestamp("us", tz="UTC")),
            *(_words(which, [w[i] for w in words]) for i in range(3)),
            pa.array(value, from_pandas=True),
            pa.array(status),
            pa.array(count),
        ]
        return pa.Table.from_arrays(columns, schema=schema_of(recorded.TAGS))


def _words(which: NDArray[np.intp], words: Sequence[str]) -> pa.DictionaryArray:
    distinct = sorted(set(words))
    place = np.array([distinct.index(w) for w in words], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(place[which]), pa.array(distinct, pa.string()))


def _row_table(table: str, rows: Sequence[tuple[int, str, str, str]]) -> pa.Table:
    time, equipment, kind, record = zip(*rows, strict=True)
    schema = schema_of(table)
    columns = [pa.array(c, schema.field(i).type) for i, c in enumerate((time, equipment, kind, record))]
    return pa.Table.from_arrays(columns, schema=schema)
