"""What servers deliver goes into the tag table; watermarks and the event clock follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.delivery import (
    OVERFLOW,
    Equipment,
    Float64Array,
    IndexArray,
    Int64Array,
    StatusArray,
    TagNode,
)
from lineside_gateway.runtime.clock import EventClock, ServerClock
from lineside_gateway.runtime.tape import Tape
from lineside_plugins.types import Record, Scalar, SnapshotValue


@dataclass(slots=True)
class Listeners:
    """Whom the feed tells what: every call is on the event loop and returns at once."""

    resolved: Callable[[str, Sequence[Equipment]], None]
    flushed: Callable[[], None]
    lost: Callable[[str], None]
    counter: Callable[[str, str, Scalar], None]
    began: Callable[[str, int], None] = lambda _equipment_id, _live_us: None
    """History of a piece of equipment is in; its live samples begin after that time (us)."""


class Feed:
    """The ``Sink`` of all servers. ``watched`` tags (acknowledge counters, written flags) are reported one by one."""

    def __init__(
        self,
        table: TagTable,
        lateness_s: Mapping[str, float],
        watched: frozenset[str],
        tell: Listeners,
        tape: Tape | None = None,
    ) -> None:
        """``lateness_s`` is the event time by which samples of a server may be late."""
        self.table = table
        self.clock = EventClock()
        self.received = 0
        self._server_clocks: dict[str, ServerClock] = {}
        self.marks: dict[str, int] = {}
        self.equipment: dict[str, tuple[Equipment, ...]] = {}
        self.job_orders: tuple[Record, ...] = ()
        self.on_record: Callable[[Record], object] = lambda _record: None
        self._lateness_us = {name: round(1e6 * s) for name, s in lateness_s.items()}
        self._watched_tags = watched
        self._watched: dict[int, tuple[str, str, bool]] = {}
        self._is_watched = np.zeros(0, np.bool_)
        self._tell = tell
        self._tape = tape or Tape()

    def resolved(self, server: str, equipment: Sequence[Equipment]) -> None:
        """Register the tags, then let the pipeline bind what is new."""
        for machine in equipment:
            for node in machine.tags.values():
                if node.numeric:
                    self._tape.name(self.index(machine.id, node.tag), node)
                    self._watch(node)
                elif not self.table.has(machine.id, node.tag):
                    self.table.declare(machine.id, node.tag)
        self.equipment[server] = tuple(equipment)
        self._tell.resolved(server, equipment)

    def index(self, equipment_id: str, tag: str) -> int:
        """The column of a numeric tag."""
        index = self.table.add(equipment_id, tag)
        if tag in self._watched_tags and index not in self._watched:
            self._note(index, equipment_id, tag, boolean=False)
        return index

    def _watch(self, node: TagNode) -> None:
        if node.tag in self._watched_tags:
            index = self.table.add(node.equipment_id, node.tag)
            self._note(index, node.equipment_id, node.tag, boolean=node.data_type is ua.VariantType.Boolean)

    def _note(self, index: int, equipment_id: str, tag: str, *, boolean: bool) -> None:
        self._watched[index] = (equipment_id, tag, boolean)
        if index >= len(self._is_watched):
            self._is_watched = np.pad(self._is_watched, (0, index + 64 - len(self._is_watched)))
        self._is_watched[index] = True

    def samples(
        self, indices: IndexArray, times_us: Int64Array, values: Float64Array, status: StatusArray | None
    ) -> None:
        """Columns go on as columns; gaps end here, and one begins before a value with the overflow bit."""
        self.received += len(indices)
        self._tape.samples(indices, times_us, values, status)
        if self.table.gaps.any_open:
            self.table.gaps.see(indices, times_us)
        if status is not None:
            self._overflowed(indices, times_us, (status & OVERFLOW) == OVERFLOW)
        self.table.adopt(indices, times_us, values, status)
        if not self._watched:
            return
        inside = indices < len(self._is_watched)
        for place in np.flatnonzero(self._is_watched[np.where(inside, indices, 0)] & inside):
            equipment_id, tag, boolean = self._watched[int(indices[place])]
            value = float(values[place])
            self._tell.counter(equipment_id, tag, bool(value) if boolean else value)

    def exact(self, index: int, time_us: int, value: int) -> None:
        """Beside the column, where float64 does not hold it."""
        self.table.put_exact(index, time_us, value)

    def _overflowed(self, indices: IndexArray, times_us: Int64Array, over: NDArray[np.bool_]) -> None:
        if np.count_nonzero(over):
            self.table.gaps.open(indices[over], "the server's queue overflowed; raise queue_size")
            self.table.gaps.see(indices[over], times_us[over])

    def history(self, indices: IndexArray, times_us: Int64Array, values: Float64Array, status: StatusArray) -> None:
        """Into the table, and nobody is told; gaps end where it begins."""
        if self.table.gaps.any_open:
            self.table.gaps.see(indices, times_us)
        self.table.write_many(indices, times_us, values, status)

    def unbroken(self, tags: Sequence[TagNode]) -> None:
        """No gap of theirs begins at their latest sample."""
        found = [self.table.index_of(n.equipment_id, n.tag) for n in tags]
        known = np.array([i for i in found if i is not None], np.int64)
        if len(known) and self.table.gaps.any_open:
            self.table.gaps.see(known, self.table.newest_times(known))

    def past_record(self, stream: str, record: Record) -> None:
        """A row of ``events`` that makes nothing due."""
        self.table.add_record(stream, record, past=True)

    def history_ends(self, equipment_id: str, live_us: int) -> None:
        """Windows begin here."""
        self._tell.began(equipment_id, live_us)

    def latest(self, equipment_id: str, tag: str, time_us: int, value: SnapshotValue, good: bool) -> None:
        """A value of text, bytes or array."""
        self.received += 1
        self.table.put(equipment_id, tag, time_us, value, good)

    def record(self, stream: str, record: Record) -> None:
        """A row of ``events``."""
        self.table.add_record(stream, record)
        self._tape.event(record)
        self.on_record(record)

    def records(self, stream: str, records: tuple[Record, ...], time_us: int) -> None:
        """The whole list of job orders."""
        self.job_orders = records
        self.table.set_records(stream, records, time_us)

    def flush(self, server: str, watermark_us: int, served_us: int) -> None:
        """Event time moves on; windows may close."""
        arrived_us = time.time_ns() // 1000
        server_clock = self._server_clocks.get(server)
        if server_clock is None:
            server_clock = self._server_clocks[server] = ServerClock()
        self.clock.observe(watermark_us, server_clock.here_us(served_us or arrived_us, arrived_us))
        mark = watermark_us - self._lateness_us.get(server, 0)
        self.marks[server] = max(mark, self.marks.get(server, mark))
        self._tell.flushed()

    def lost(self, server: str) -> None:
        """A server is gone; its watermark stays."""
        self._tell.lost(server)

    def gap(self, server: str, cause: str, tags: Sequence[TagNode] | None = None) -> int:
        """Note in the ledger what may be missing."""
        if tags is None:
            tags = [n for machine in self.equipment.get(server, ()) for n in machine.tags.values()]
        found = (self.table.index_of(n.equipment_id, n.tag) for n in tags)
        return self.table.gaps.open(np.array([i for i in found if i is not None], np.int64), cause)

    def newest_us(self, tags: Sequence[TagNode]) -> list[int]:
        """From the table, settled or not."""
        out = [0] * len(tags)
        places = [(k, self.table.index_of(n.equipment_id, n.tag)) for k, n in enumerate(tags) if n.numeric]
        known = [(k, i) for k, i in places if i is not None]
        times = self.table.newest_times(np.array([i for _, i in known], np.int64))
        for (k, _), time_us in zip(known, times.tolist(), strict=True):
            out[k] = max(time_us, 0)
        for k, n in enumerate(tags):
            if not n.numeric and self.table.has(n.equipment_id, n.tag):
                found = self.table.latest(n.equipment_id, n.tag)
                out[k] = 0 if found is None else found.time_us
        return out

    def filled(self, gap: int) -> None:
        """Nothing is missing after all."""
        self.table.gaps.fill(gap)

    def watermarks(self) -> dict[str, int]:
        """Watermark per piece of equipment, and per server under its own name."""
        out = dict(self.marks)
        for server, mark in self.marks.items():
            out |= {machine.id: mark for machine in self.equipment.get(server, ())}
        return out

    def current(self, equipment_id: str, tag: str) -> Scalar:
        """What a tag holds now, None where not known."""
        found = self.table.latest(equipment_id, tag)
        return found.value if found is not None and isinstance(found.value, bool | int | float | str) else None
