"""The tag table: numeric tags in columns, other tags by time, record streams, and an account of every value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lineside_gateway.ingest.errors import TagError
from lineside_gateway.ingest.gaps import Gaps
from lineside_gateway.ingest.history import NEVER_US, Source, ValueHistory
from lineside_gateway.ingest.intake import MAX_PENDING, Intake
from lineside_gateway.ingest.pages import Pages
from lineside_gateway.ingest.records import RecordStreams
from lineside_gateway.ingest.samples import Block, CodeArray, DoubleArray, IntArray, microseconds
from lineside_gateway.ingest.settled import Settled
from lineside_gateway.ledger import Tally
from lineside_plugins.types import Record, SnapshotValue

LATE_VALUES_US = 60_000_000  # how far behind the watermark a text or array may arrive and still be shown at its time


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
    arrives out of order before that is put where it belongs. Text and arrays are taken up to a minute later, because
    they are shown by their own time and sum up to nothing.

    StatusCodes: a Bad sample is kept as not good with value NaN; an Uncertain sample is kept as not good with its
    value. A Good sample that is not finite is dropped (``non_finite``).
    """

    def __init__(self, tally: Tally | None = None, max_pending: int = MAX_PENDING) -> None:
        self.tally = tally or Tally()
        self._intake = Intake(self.tally, max_pending)
        self.tally.waiting = self._intake.log.__len__
        self.streams = RecordStreams()
        self._equipment: dict[str, int] = {}
        self._index: dict[tuple[str, str], int] = {}
        self._keys: list[tuple[str, str]] = []  # by tag index
        self._histories: dict[tuple[str, str], ValueHistory] = {}
        self._touched: set[tuple[str, str]] = set()  # histories that may hold more than one value
        self._exact: dict[int, ValueHistory] = {}  # 64-bit integers beyond float64, by tag index
        self._settled = Settled()
        self.gaps = Gaps(self.newest_times)
        self.pages = Pages(self._keys, self._index, self._equipment, self._intake, self.gaps)
        self._watched: set[int] = set()  # tag indices
        self._is_watched = np.empty(0, np.bool_)
        self._watched_histories: list[tuple[str, str]] = []

    def add(self, equipment_id: str, tag: str) -> int:
        """Register a numeric tag; the index returned is its handle. Registering again returns the same."""
        key = (equipment_id, tag)
        if key in self._histories:
            raise TagError(f"tag '{tag}' of {equipment_id} is registered as not numeric; register it once")
        if key not in self._index:
            self._index[key] = len(self._index)
            self._keys.append(key)
            self._intake.add_tag(self._number(equipment_id))
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
            self._intake.add_equipment()
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
        """Write N samples of one tag: times (N,) int64 us or datetime64, values (N,), good (N,) or None for all.

        Not good with a number is Uncertain, not good with NaN is Bad.
        """
        self._intake.write_block([index], np.atleast_1d(microseconds(times_us)), values, good)

    def write_many(self, indices: ArrayLike, times_us: ArrayLike, values: ArrayLike, status: ArrayLike) -> None:
        """Write what one publish brought: tag, time, value and StatusCode (uint32), each (N,). Arrays are copied."""
        self._intake.write_many(indices, times_us, values, status)

    def adopt(self, indices: IntArray, times_us: IntArray, values: DoubleArray, status: CodeArray | None) -> None:
        """As ``write_many``, without checks of type; ``values`` are used up. ``status`` None: all Good.

        That ``indices`` are registered is remembered where the array is read-only: hand over the same object again.
        """
        self._intake.adopt(indices, times_us, values, status)

    def put_exact(self, index: int, time_us: int, value: int) -> None:
        """Say what the sample of tag ``index`` at ``time_us`` exactly is, where float64 does not hold it."""
        self._exact.setdefault(index, ValueHistory()).put(time_us, value, good=True)

    def write_block(
        self, indices: ArrayLike, times_us: ArrayLike, values: ArrayLike, good: ArrayLike | None = None
    ) -> None:
        """Write C tags sampled together: indices (C,), times (N,), values and good (C, N). Arrays are copied."""
        self._intake.write_block(indices, times_us, values, good)

    def put(self, equipment_id: str, tag: str, time_us: int, value: Source, good: bool = True) -> None:
        """Write one value of any tag. A lazy value (a function) is called when a window first shows it.

        For Bad pass ``good=False`` and None, for Uncertain ``good=False`` and the value.
        """
        key = (equipment_id, tag)
        if key in self._index:
            number = float(value) if isinstance(value, bool | int | float | np.generic) else math.nan
            self._intake.write_one(self._index[key], int(time_us), number, good)
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
        self._intake.seen(self._equipment[equipment_id], time_us)

    def add_record(self, stream: str, record: Record, *, past: bool = False) -> None:
        """Add a row with "time" (ISO 8601 UTC) and "equipment_id" to ``events`` or ``recommendations/<task>``.

        A ``past`` row, from a server's history, is seen by windows and makes none due.
        """
        self.streams.add(stream, record, past=past)

    def set_records(self, stream: str, records: Sequence[Record], time_us: int) -> bool:
        """Replace the whole list of ``stream`` (``job_orders``) as of ``time_us``; returns whether it changed."""
        return self.streams.replace(stream, records, time_us)

    # ---- settling ------------------------------------------------------------------------------------------------

    def watch(self, equipment_id: str, tag: str) -> None:
        """Report changes of this tag, if it is registered, in ``changes`` from now on."""
        key = (equipment_id, tag)
        if key in self._index:
            self._watched.add(self._index[key])
            self._is_watched = np.empty(0, np.bool_)
        elif key in self._histories and not self._histories[key].watched:
            self._histories[key].watched = True
            self._watched_histories.append(key)

    def settle(self, watermarks: Mapping[str, int]) -> Block:
        """Make all samples at or before the equipment's watermark final, and return those that were not before.

        A watermark never goes back; equipment without one, or unknown here, stays as it is.
        """
        for key in tuple(self._touched):
            closed_us = int(self._intake.closed_us[self._equipment[key[0]]])
            if self._histories[key].prune(closed_us - LATE_VALUES_US) == 1:
                self._touched.remove(key)
        for index, exact in self._exact.items():
            exact.prune(int(self._intake.closed_us[self._intake.owner[index]]) - LATE_VALUES_US)
        for equipment_id, mark in watermarks.items():
            number = self._equipment.get(equipment_id)
            if number is not None:
                self._intake.close(number, mark)
        block = self._intake.settle()
        self._settled.advance(block, len(self._keys))
        return block

    def changes(self) -> list[TagChange]:
        """What watched tags changed with the last ``settle``, in order of time, equipment and tag; ask once."""
        out: list[TagChange] = []
        if self._watched:
            if len(self._is_watched) != len(self._keys):
                self._is_watched = np.zeros(len(self._keys), np.bool_)
                self._is_watched[list(self._watched)] = True
            index, times = self._settled.changes(self._is_watched)
            out += [TagChange(t, *self._keys[i]) for i, t in zip(index.tolist(), times.tolist(), strict=True)]
        for key in self._watched_histories:
            history = self._histories[key]
            out += [TagChange(t, *key) for t in history.changes(int(self._intake.closed_us[self._equipment[key[0]]]))]
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
        if index is None:
            return None
        return self._value(index, self._settled.as_of(index, time_us))

    def latest(self, equipment_id: str, tag: str) -> TagValue | None:
        """Newest value received, settled or not; None before any. Costs a look through what waits."""
        key = (equipment_id, tag)
        if key in self._histories:
            found = self._histories[key].newest()
            return TagValue(*found) if found else None
        if key not in self._index:
            return None
        waiting = self._intake.log.newest(self._index[key])
        return self._value(self._index[key], waiting or self._settled.as_of(self._index[key], None))

    def _value(self, index: int, sample: tuple[int, float, bool] | None) -> TagValue | None:
        if sample is None:
            return None
        exact = self._exact[index].as_of(sample[0]) if index in self._exact else None
        if exact is not None and exact[0] == sample[0] and sample[2]:
            return TagValue(sample[0], exact[1], good=True)
        return TagValue(*sample)

    def waiting_since_us(self, equipment_ids: Sequence[str]) -> list[int | None]:
        """Earliest time among the samples that wait, per piece of equipment; None where none waits."""
        return self._intake.waiting_since_us([self._equipment[e] for e in equipment_ids])

    def knows(self, equipment_id: str) -> bool:
        """Whether a tag of this equipment is registered."""
        return equipment_id in self._equipment

    def settled_us(self, equipment_ids: Sequence[str]) -> list[int | None]:
        """Latest settled sample of each piece of equipment; None before any. Costs one look at each tag."""
        latest = np.full(len(self._equipment), NEVER_US)
        np.maximum.at(latest, self._intake.owner, self._settled.newest(len(self._keys)))
        times = [int(latest[self._equipment[e]]) for e in equipment_ids]
        return [None if t == NEVER_US else t for t in times]

    def gap(self, indices: IntArray) -> tuple[int, int | None]:
        """Of some tags together: latest sample before the newest block, earliest one in it (None: none there)."""
        return self._settled.gap(indices)

    def first_us(self, equipment_id: str) -> int | None:
        """Earliest SourceTimestamp received of this equipment; None before any."""
        return self._extreme(0, equipment_id)

    def newest_us(self, equipment_id: str) -> int | None:
        """Latest SourceTimestamp received of this equipment; None before any."""
        return self._extreme(1, equipment_id)

    def newest_times(self, indices: IntArray) -> IntArray:
        """SourceTimestamp of the latest sample received of each tag, settled or not; ``NEVER_US`` before any."""
        size = len(self._keys)
        return np.maximum(self._settled.newest(size), self._intake.log.latest(size))[indices]

    def _extreme(self, which: int, equipment_id: str) -> int | None:
        number = self._equipment.get(equipment_id)
        if number is None:
            return None
        extremes = self._intake.extremes()
        return None if extremes[1][number] == NEVER_US else int(extremes[which][number])
