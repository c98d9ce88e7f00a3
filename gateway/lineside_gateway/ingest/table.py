"""The tag table: numeric tags in columns, other tags by time, record streams, and an account of every value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lineside_gateway.ingest.errors import TagError
from lineside_gateway.ingest.history import NEVER_US, Source, ValueHistory
from lineside_gateway.ingest.records import RecordStreams
from lineside_gateway.ingest.samples import Block, BoolArray, DoubleArray, IntArray, SampleLog, microseconds
from lineside_gateway.ingest.settled import Settled
from lineside_gateway.ledger import Tally
from lineside_plugins.types import Record, SnapshotValue

# OPC UA Part 4, 7.39: the two top bits of a StatusCode are its severity; 00 Good, 01 Uncertain, 1x Bad.
_UNCERTAIN = np.uint32(0x40000000)
_BAD = np.uint32(0x80000000)
NOTHING_US = np.iinfo(np.int64).max
MAX_PENDING = 4_000_000  # samples, about 100 MB: what waits when nobody closes windows; more is dropped and counted


@dataclass(frozen=True, slots=True)
class TagValue:
    """A tag's value at its SourceTimestamp; ``good`` means StatusCode Good."""

    time_us: int
    value: SnapshotValue
    good: bool


@dataclass(frozen=True, slots=True, order=True)
class TagChange:
    """A watched tag took a new good value at ``time_us``."""

    time_us: int
    equipment_id: str
    tag: str


class TagTable:
    """Tags of all equipment. One thread writes, settles and reads: the event loop's, or a trial's.

    A sample waits from its arrival until a watermark settles it (``settle``); then it is final, in time order, and
    counted as used. A sample at or before its equipment's watermark is late: dropped and counted. A sample that
    arrives out of order before that is put where it belongs.

    StatusCodes: a Bad sample is kept as not good with value NaN; an Uncertain sample is kept as not good with its
    value. A Good sample that is not finite is dropped (``non_finite``).
    """

    def __init__(self, tally: Tally | None = None, max_pending: int = MAX_PENDING) -> None:
        self.tally = tally or Tally()
        self.tally.waiting = lambda: len(self._log)
        self.streams = RecordStreams()
        self._log = SampleLog()
        self._max_pending = max_pending
        self._equipment: dict[str, int] = {}
        self._index: dict[tuple[str, str], int] = {}
        self._owner = np.empty(0, np.int64)  # equipment number per tag index
        self._closed_us = np.empty(0, np.int64)  # watermark per equipment number
        self._first_us = np.empty(0, np.int64)  # earliest sample per equipment number
        self._newest_us = np.empty(0, np.int64)  # latest sample per equipment number
        self._histories: dict[tuple[str, str], ValueHistory] = {}
        self._touched: set[tuple[str, str]] = set()  # histories that may hold more than one value
        self._settled = Settled()
        self._watched: dict[tuple[str, str], float | None] = {}  # newest good number; unused for histories

    def add(self, equipment_id: str, tag: str) -> int:
        """Register a numeric tag; the index returned is its handle. Registering again returns the same."""
        key = (equipment_id, tag)
        if key in self._histories:
            raise TagError(f"tag '{tag}' of {equipment_id} is registered as not numeric; register it once")
        if key not in self._index:
            self._index[key] = len(self._index)
            self._owner = np.append(self._owner, self._number(equipment_id))
        return self._index[key]

    def declare(self, equipment_id: str, tag: str) -> None:
        """Register a tag of text, bytes or arrays; its values come by ``put``."""
        key = (equipment_id, tag)
        if key in self._index:
            raise TagError(f"tag '{tag}' of {equipment_id} is registered as numeric; register it once")
        self._number(equipment_id)
        self._histories.setdefault(key, ValueHistory())

    def _number(self, equipment_id: str) -> int:
        if equipment_id not in self._equipment:
            self._equipment[equipment_id] = len(self._equipment)
            self._closed_us = np.append(self._closed_us, NEVER_US)
            self._first_us = np.append(self._first_us, NOTHING_US)
            self._newest_us = np.append(self._newest_us, NEVER_US)
        return self._equipment[equipment_id]

    @property
    def equipment_ids(self) -> tuple[str, ...]:
        """Equipment in order of registration."""
        return tuple(self._equipment)

    def has(self, equipment_id: str, tag: str) -> bool:
        """Whether the tag is registered, numeric or not."""
        return (equipment_id, tag) in self._index or (equipment_id, tag) in self._histories

    def index_of(self, equipment_id: str, tag: str) -> int | None:
        """Handle of a numeric tag; None when it is not registered as one."""
        return self._index.get((equipment_id, tag))

    # ---- writing -------------------------------------------------------------------------------------------------

    def write(self, index: int, times_us: ArrayLike, values: ArrayLike, good: ArrayLike | None = None) -> None:
        """Write N samples of one tag: times (N,) int64 us or datetime64, values (N,), good (N,) or None for all."""
        times = np.atleast_1d(microseconds(times_us))
        value = np.atleast_1d(np.array(values, np.float64))
        ok = np.ones(len(times), np.bool_) if good is None else np.atleast_1d(np.array(good, np.bool_))
        self._accept(np.full(len(times), index, np.int64), times, value, ok)

    def write_many(self, indices: ArrayLike, times_us: ArrayLike, values: ArrayLike, status: ArrayLike) -> None:
        """Write what one publish brought: tag, time, value and StatusCode (uint32), each (N,). Arrays are copied."""
        code = np.asarray(status).astype(np.uint32)
        value = np.array(values, np.float64)
        value[code >= _BAD] = np.nan
        times = np.array(microseconds(times_us))
        self._accept(np.array(indices, np.int64), times, value, code < _UNCERTAIN)

    def write_block(
        self, indices: ArrayLike, times_us: ArrayLike, values: ArrayLike, good: ArrayLike | None = None
    ) -> None:
        """Write C tags of one piece of equipment sampled together: indices (C,), times (N,), values and good (C, N)."""
        tags, times = np.asarray(indices, np.int64), microseconds(times_us)
        value = np.array(values, np.float64).reshape(-1)
        ok = np.ones(len(value), np.bool_) if good is None else np.array(good, np.bool_).reshape(-1)
        self._accept(np.repeat(tags, len(times)), np.tile(times, len(tags)), value, ok)

    def put(self, equipment_id: str, tag: str, time_us: int, value: Source, good: bool = True) -> None:
        """Write one value of any tag. A lazy value (a function) is called when a window first shows it.

        For Bad pass ``good=False`` and None, for Uncertain ``good=False`` and the value.
        """
        key = (equipment_id, tag)
        if key in self._index:
            number = float(value) if isinstance(value, bool | int | float | np.generic) else np.nan
            self.write(self._index[key], [time_us], [number], [good])
            return
        self.tally.received += 1
        if key not in self._histories:
            self.tally.drop("unknown_tag")
            return
        reason = self._histories[key].put(time_us, value, good)
        if reason:
            self.tally.drop(reason)
            return
        self.tally.used += 1
        self._touched.add(key)
        self._seen(np.array([self._equipment[equipment_id]]), np.array([time_us]))

    def add_record(self, stream: str, record: Record) -> None:
        """Add a row with "time" (ISO 8601 UTC) and "equipment_id" to ``events`` or ``recommendations/<task>``."""
        self.streams.add(stream, record)

    def set_records(self, stream: str, records: Sequence[Record], time_us: int) -> bool:
        """Replace the whole list of ``stream`` (``job_orders``) as of ``time_us``; returns whether it changed."""
        return self.streams.replace(stream, records, time_us)

    def _accept(self, index: IntArray, times: IntArray, value: DoubleArray, good: BoolArray) -> None:
        count = len(index)
        self.tally.received += count
        if not count:
            return
        if len(self._log) + count > self._max_pending:
            self.tally.drop("overflow", count)
            return
        columns = (index, times, value, good)
        if index.min() < 0 or index.max() >= len(self._owner):
            columns = self._keep(columns, (index >= 0) & (index < len(self._owner)), "unknown_tag")
        finite = np.isfinite(columns[2])
        if not finite.all():
            columns = self._keep(columns, finite | ~columns[3], "non_finite")
        owner = self._owner[columns[0]]
        fresh = columns[1] > self._closed_us[owner]
        if not fresh.all():
            columns, owner = self._keep(columns, fresh, "late"), owner[fresh]
        self._log.append(*columns)
        self._seen(owner, columns[1])

    def _keep(
        self, columns: tuple[IntArray, IntArray, DoubleArray, BoolArray], keep: BoolArray, reason: str
    ) -> tuple[IntArray, IntArray, DoubleArray, BoolArray]:
        self.tally.drop(reason, len(keep) - int(np.count_nonzero(keep)))
        return columns[0][keep], columns[1][keep], columns[2][keep], columns[3][keep]

    def _seen(self, owner: IntArray, times: IntArray) -> None:
        if not len(owner):
            return
        if owner[0] == owner[-1] and (owner == owner[0]).all():
            number = int(owner[0])
            self._first_us[number] = min(self._first_us[number], times.min())
            self._newest_us[number] = max(self._newest_us[number], times.max())
        else:
            np.minimum.at(self._first_us, owner, times)
            np.maximum.at(self._newest_us, owner, times)

    # ---- settling ------------------------------------------------------------------------------------------------

    def watch(self, equipment_id: str, tag: str) -> None:
        """Report changes of this tag in ``changes`` from now on."""
        self._watched.setdefault((equipment_id, tag), None)

    def settle(self, watermarks: Mapping[str, int]) -> Block:
        """Make all samples at or before the equipment's watermark final, and return those that were not before.

        A watermark never goes back; equipment without one, or unknown here, stays as it is.
        """
        for key in tuple(self._touched):
            if self._histories[key].prune(int(self._closed_us[self._equipment[key[0]]])) == 1:
                self._touched.remove(key)
        for equipment_id, mark in watermarks.items():
            number = self._equipment.get(equipment_id)
            if number is not None and mark > self._closed_us[number]:
                self._closed_us[number] = mark
        block, duplicates = self._log.take(self._closed_us[self._owner])
        self._settled.advance(block, len(self._owner))
        self.tally.used += len(block)
        self.tally.drop("duplicate", duplicates)
        return block

    def changes(self) -> list[TagChange]:
        """What watched tags changed with the last ``settle``, in order of time, equipment and tag; ask once."""
        out: list[TagChange] = []
        for key, before in self._watched.items():
            times: list[int] = []
            if key in self._index:
                times, self._watched[key] = self._settled.changes(self._index[key], before)
            elif key in self._histories:
                times = self._histories[key].changes(int(self._closed_us[self._equipment[key[0]]]))
            out.extend(TagChange(t, *key) for t in times)
        return sorted(out)

    # ---- reading -------------------------------------------------------------------------------------------------

    def as_of(self, equipment_id: str, tag: str, time_us: int) -> TagValue | None:
        """Newest value at or before ``time_us``, which lies at or after the last watermark but one.

        Numeric samples count once they are settled.
        """
        key = (equipment_id, tag)
        if key in self._histories:
            found = self._histories[key].as_of(time_us)
            return TagValue(*found) if found else None
        index = self._index.get(key)
        sample = None if index is None else self._settled.as_of(index, time_us)
        return TagValue(*sample) if sample else None

    def latest(self, equipment_id: str, tag: str) -> TagValue | None:
        """Newest value received, settled or not; None before any. Costs a look through what waits."""
        key = (equipment_id, tag)
        if key in self._histories:
            found = self._histories[key].newest()
            return TagValue(*found) if found else None
        if key not in self._index:
            return None
        waiting = self._log.newest(self._index[key])
        sample = waiting or self._settled.as_of(self._index[key], None)
        return TagValue(*sample) if sample else None

    def waiting_since_us(self, equipment_ids: Sequence[str]) -> list[int | None]:
        """Earliest time among the samples that wait, per piece of equipment; None where none waits."""
        earliest = np.full(len(self._equipment), NOTHING_US)
        np.minimum.at(earliest, self._owner, self._log.earliest(len(self._owner)))
        times = [int(earliest[self._equipment[e]]) for e in equipment_ids]
        return [None if t == NOTHING_US else t for t in times]

    def knows(self, equipment_id: str) -> bool:
        """Whether a tag of this equipment is registered."""
        return equipment_id in self._equipment

    def settled_us(self, equipment_id: str) -> int | None:
        """Latest settled sample of this equipment; None before any."""
        number = self._equipment.get(equipment_id)
        return self._settled.latest_us(np.flatnonzero(self._owner == number))

    def gap(self, indices: IntArray) -> tuple[int, int | None]:
        """Of some tags together: latest sample before the newest block, earliest one in it (None: none there)."""
        return self._settled.gap(indices)

    def first_us(self, equipment_id: str) -> int | None:
        """Earliest SourceTimestamp received of this equipment; None before any."""
        return self._extreme(self._first_us, equipment_id)

    def newest_us(self, equipment_id: str) -> int | None:
        """Latest SourceTimestamp received of this equipment; None before any."""
        return self._extreme(self._newest_us, equipment_id)

    def _extreme(self, times: IntArray, equipment_id: str) -> int | None:
        number = self._equipment.get(equipment_id)
        if number is None or self._newest_us[number] == NEVER_US:
            return None
        return int(times[number])
