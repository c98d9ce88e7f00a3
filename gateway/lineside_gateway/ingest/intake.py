"""Numeric samples on arrival: what is late, unknown or not a number is dropped and counted, the rest waits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lineside_gateway.ingest.account import TagAccounts
from lineside_gateway.ingest.groups import Group, Groups
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
MAX_PENDING = 4_000_000  # samples, about 100 MB: what waits when nobody closes windows; more is dropped and counted


class Intake:
    """Samples of all numeric tags, by tag index, and how far each piece of equipment has come, by its number."""

    def __init__(self, tally: Tally, max_pending: int) -> None:
        self.log = SampleLog()
        self.owner = np.empty(0, np.int64)  # equipment number per tag index
        self.closed_us = np.empty(0, np.int64)  # watermark per equipment number
        self.first_us = np.empty(0, np.int64)  # earliest time received per equipment number
        self.newest_us = np.empty(0, np.int64)  # latest time received per equipment number
        self.accounts = TagAccounts()
        self._groups = Groups()
        self._tally = tally
        self._max_pending = max_pending

    def add_equipment(self) -> None:
        """One more piece of equipment, of the next number."""
        self.closed_us = np.append(self.closed_us, NEVER_US)
        self.first_us = np.append(self.first_us, NOTHING_US)
        self.newest_us = np.append(self.newest_us, NEVER_US)

    def add_tag(self, number: int) -> None:
        """One more tag, of the next index, on equipment ``number``."""
        self.owner = np.append(self.owner, number)
        self.accounts.grow(len(self.owner))

    def write_many(self, indices: ArrayLike, times_us: ArrayLike, values: ArrayLike, status: ArrayLike) -> None:
        """See ``TagTable.write_many``."""
        code = np.asarray(status).astype(np.uint32)
        value = np.array(values, np.float64)
        value[code >= _BAD] = np.nan
        index, times = np.array(indices, np.int64), np.array(microseconds(times_us))
        if len(index):
            self._accept((index, times, value, code < _UNCERTAIN))

    def adopt(self, index: IntArray, times: IntArray, value: DoubleArray, status: CodeArray | None) -> None:
        """See ``TagTable.adopt``."""
        count = len(index)
        if status is None:
            good = np.ones(count, np.bool_)
            group = self._groups.of(index, self.owner)
            room = len(self.log) + count <= self._max_pending
            if room and group is not None and every(np.isfinite(value)) and self._is_fresh(group, times):
                self._tally.received += count
                self.accounts.receive(index)
                self.log.append(index, times, value, good)
                return
        else:
            good = status < _UNCERTAIN
            value[status >= _BAD] = np.nan
        if count:
            self._accept((index, times, value, good))

    def _is_fresh(self, group: Group, times: IntArray) -> bool:
        """Whether all of ``times`` lie after their equipment's watermark; if so, they are noted."""
        if len(group.starts) == 1:
            first, last = times.min(keepdims=True), times.max(keepdims=True)
        else:
            first, last = np.minimum.reduceat(times, group.starts), np.maximum.reduceat(times, group.starts)
        if not every(first > self.closed_us[group.numbers]):
            return False
        np.minimum.at(self.first_us, group.numbers, first)
        np.maximum.at(self.newest_us, group.numbers, last)
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
            self.seen(number, time_us, time_us)

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
        self.seen(number, first_us, int(times.max()))
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
            columns, number = self._keep(columns, fresh, "late"), number[fresh]
        self.log.append(*columns)
        np.minimum.at(self.first_us, number, columns[1])
        np.maximum.at(self.newest_us, number, columns[1])

    def _keep(self, columns: Columns, keep: BoolArray, reason: str) -> Columns:
        self._drop(reason, columns[0][~keep])
        return columns[0][keep], columns[1][keep], columns[2][keep], columns[3][keep]

    def _drop(self, reason: str, indices: IntArray) -> None:
        self._tally.drop(reason, len(indices))
        self.accounts.drop(reason, indices)

    def seen(self, number: int, first_us: int, last_us: int) -> None:
        """Equipment ``number`` reported times from ``first_us`` to ``last_us``."""
        self.first_us[number] = min(self.first_us[number], first_us)
        self.newest_us[number] = max(self.newest_us[number], last_us)

    def settle(self) -> Block:
        """Take all that the watermarks in ``closed_us`` make final; counts it as used, duplicates as dropped."""
        block, duplicates = self.log.take(self.closed_us[self.owner])
        self._tally.used += len(block)
        if len(block):
            self.accounts.use(np.asarray(block.starts))
        if len(duplicates):
            self._drop("duplicate", duplicates)
        return block

    def waiting_since_us(self, numbers: Sequence[int]) -> list[int | None]:
        """Earliest time among the samples that wait, per equipment number; None where none waits."""
        earliest = np.full(len(self.closed_us), NOTHING_US)
        np.minimum.at(earliest, self.owner, self.log.earliest(len(self.owner)))
        times = [int(earliest[n]) for n in numbers]
        return [None if t == NOTHING_US else t for t in times]
