"""Numeric samples on arrival: what is late, unknown or not a number is dropped and counted, the rest waits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lineside_gateway.ingest.account import TagAccounts
from lineside_gateway.ingest.history import NEVER_US
from lineside_gateway.ingest.samples import (
    Block,
    BoolArray,
    CodeArray,
    Columns,
    DoubleArray,
    IntArray,
    SampleLog,
    every,
    microseconds,
)
from lineside_gateway.ledger import Tally

# OPC UA Part 4, 7.39: the two top bits of a StatusCode are its severity; 00 Good, 01 Uncertain, 1x Bad.
_UNCERTAIN = np.uint32(0x40000000)
_BAD = np.uint32(0x80000000)
NOTHING_US = int(np.iinfo(np.int64).max)
MAX_KNOWN = 256  # sequences of tag indices remembered: those that one publish brings come again and again
MAX_PENDING = 4_000_000  # samples, about 100 MB: what waits when nobody closes windows; more is dropped and counted


class Intake:
    """Samples of all numeric tags, by tag index, and how far each piece of equipment has come, by its number."""

    def __init__(self, tally: Tally, max_pending: int) -> None:
        self.log = SampleLog()
        self._owners: list[int] = []
        self._owner = np.empty(0, np.int64)
        self.closed_us = np.empty(0, np.int64)  # watermark per equipment number
        self._first_us = np.empty(0, np.int64)  # earliest time received per equipment number
        self._newest_us = np.empty(0, np.int64)  # latest time received per equipment number
        self.accounts = TagAccounts()
        self._known: dict[int, IntArray] = {}
        self._folded = 0  # of the log, how much is in first_us and newest_us
        self._closed_most_us = NEVER_US
        self._tally = tally
        self._max_pending = max_pending

    def add_equipment(self) -> None:
        """One more piece of equipment, of the next number."""
        self.closed_us = np.append(self.closed_us, NEVER_US)
        self._first_us = np.append(self._first_us, NOTHING_US)
        self._newest_us = np.append(self._newest_us, NEVER_US)

    def add_tag(self, number: int) -> None:
        """One more tag, of the next index, on equipment ``number``."""
        self._owners.append(number)

    @property
    def owner(self) -> IntArray:
        """Equipment number per tag index."""
        if len(self._owner) != len(self._owners):
            self._owner = np.array(self._owners, np.int64)
            self.accounts.grow(len(self._owners))
        return self._owner

    def write_many(self, indices: ArrayLike, times_us: ArrayLike, values: ArrayLike, status: ArrayLike) -> None:
        """See ``TagTable.write_many``."""
        code = np.asarray(status).astype(np.uint32)
        value = np.array(values, np.float64)
        value[code >= _BAD] = np.nan
        index, times = np.array(indices, np.int64), microseconds(times_us)
        if len(index):
            self._accept((index, times, value, code < _UNCERTAIN))

    def adopt(self, index: IntArray, times: IntArray, value: DoubleArray, status: CodeArray | None) -> None:
        """See ``TagTable.adopt``."""
        count = len(index)
        if not count:
            return
        good: BoolArray | bool = True
        if status is not None:
            good = status < _UNCERTAIN
            value[status >= _BAD] = np.nan
        # The dot product of finite values is finite, or overflows, which the slower way finds to be harmless.
        plain = math.isfinite(value.dot(value)) and np.minimum.reduce(times) > self._closed_most_us
        if plain and self._are_known(index) and len(self.log) + count <= self._max_pending:
            self._tally.received += count
            self.accounts.receive(index)
            self.log.append(index, times, value, good)
        else:
            self._accept((index, times, value, np.ones(count, np.bool_) if isinstance(good, bool) else good))

    def _are_known(self, index: IntArray) -> bool:
        """Whether all are registered; looked up once for an array that nobody can write to."""
        known = self._known.get(id(index))
        if known is not None:
            return True
        if not every((index >= 0) & (index < len(self.owner))):
            return False
        if not index.flags.writeable:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[id(index)] = index  # kept, so that no other array gets its identity
        return True

    def write_block(self, indices: ArrayLike, times_us: ArrayLike, values: ArrayLike, good: ArrayLike | None) -> None:
        """See ``TagTable.write_block``."""
        tags, times = np.asarray(indices, np.int64), microseconds(times_us)
        value = np.array(values, np.float64).reshape(-1)
        ok = np.ones(len(value), np.bool_) if good is None else np.array(good, np.bool_).reshape(-1)
        if not len(value):
            return
        grid = np.empty((len(tags), len(times)), np.int64)
        grid[:] = times
        columns = np.repeat(tags, len(times)), grid.reshape(-1), value, ok
        if not self._accept_plain(tags, times, columns):
            self._accept(columns)

    def write_one(self, index: int, time_us: int, value: float, good: bool) -> None:
        """One sample of one tag."""
        number = int(self.owner[index])
        self._tally.received += 1
        self.accounts.receive_one(index)
        if good and not math.isfinite(value):
            self._drop("non_finite", np.array([index]))
        elif time_us <= self.closed_us[number]:
            self._drop("late", np.array([index]))
        elif len(self.log) >= self._max_pending:
            self._drop("overflow", np.array([index]))
        else:
            self.log.append_one(index, time_us, value, good)

    def _accept_plain(self, tags: IntArray, times: IntArray, columns: Columns) -> bool:
        """Take a block in which nothing is late, unknown or not finite, at a third of the general cost."""
        if tags.min() < 0 or tags.max() >= len(self.owner) or not every(np.isfinite(columns[2])):
            return False
        number, first_us = int(self.owner[tags[0]]), int(times.min())
        if not every(self.owner[tags] == number) or first_us <= self.closed_us[number]:
            return False
        if len(self.log) + len(columns[0]) > self._max_pending:
            return False
        self._tally.received += len(columns[0])
        self.accounts.receive(columns[0])
        self.log.append(*columns)
        return True

    def _accept(self, columns: Columns) -> None:
        count = len(columns[0])
        self._tally.received += count
        self.accounts.receive(columns[0])
        if len(self.log) + count > self._max_pending:
            self._drop("overflow", columns[0])
            return
        known = (columns[0] >= 0) & (columns[0] < len(self.owner))
        if not every(known):
            columns = self._keep(columns, known, "unknown_tag")
        finite = np.isfinite(columns[2])
        if not every(finite):
            columns = self._keep(columns, finite | ~columns[3], "non_finite")
        number = self.owner[columns[0]]
        fresh = columns[1] > self.closed_us[number]
        if not every(fresh):
            columns = self._keep(columns, fresh, "late")
        self.log.append(*columns)

    def _keep(self, columns: Columns, keep: BoolArray, reason: str) -> Columns:
        self._drop(reason, columns[0][~keep])
        return columns[0][keep], columns[1][keep], columns[2][keep], columns[3][keep]

    def _drop(self, reason: str, indices: IntArray) -> None:
        self._tally.drop(reason, len(indices))
        self.accounts.drop(reason, indices)

    def seen(self, number: int, time_us: int) -> None:
        """Equipment ``number`` reported something of ``time_us`` that is not in the log."""
        self._first_us[number] = min(self._first_us[number], time_us)
        self._newest_us[number] = max(self._newest_us[number], time_us)

    def extremes(self) -> tuple[IntArray, IntArray]:
        """Earliest and latest time received, per equipment number; int64 max and NEVER_US before any."""
        index, times, _, _ = self.log.since(self._folded)
        if len(index):
            number = self.owner[index]
            np.minimum.at(self._first_us, number, times)
            np.maximum.at(self._newest_us, number, times)
            self._folded = len(self.log)
        return self._first_us, self._newest_us

    def close(self, number: int, mark_us: int) -> None:
        """Samples of equipment ``number`` at or before ``mark_us`` are late from now on."""
        self.closed_us[number] = max(self.closed_us[number], mark_us)
        self._closed_most_us = max(self._closed_most_us, mark_us)

    def settle(self) -> Block:
        """Take all that the watermarks in ``closed_us`` make final; counts it as used, duplicates as dropped."""
        self.extremes()
        block, duplicates = self.log.take(self.closed_us[self.owner])
        self._folded = len(self.log)
        self._tally.used += len(block)
        if len(block):
            self.accounts.use(block.starts)
        if len(duplicates):
            self._drop("duplicate", duplicates)
        return block

    def waiting_since_us(self, numbers: Sequence[int]) -> list[int | None]:
        """Earliest time among the samples that wait, per equipment number; None where none waits."""
        earliest = np.full(len(self.closed_us), NOTHING_US)
        np.minimum.at(earliest, self.owner, self.log.earliest(len(self.owner)))
        times = [int(earliest[n]) for n in numbers]
        return [None if t == NOTHING_US else t for t in times]
