"""From client handles to who receives: numbers stay columns, other values go one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from lineside_gateway.opcua.delivery import OVERFLOW, IndexArray, Sink
from lineside_gateway.opcua.monitoring import Item
from lineside_gateway.opcua.standard import StatusCodes
from lineside_gateway.opcua.values import (
    event_time_us,
    is_good,
    moment,
    number,
    reached_us,
    served_time_us,
    snapshot,
    status_of,
)
from lineside_gateway.opcua.wire import DataChanges

MAX_SEQUENCES = 64
"""Sequences of handles remembered with their columns, by length."""
_UNKNOWN, _OTHER = -1, -2


@dataclass(slots=True)
class Counters:
    """What has arrived over one connection. ``values`` counts all; the others name what was wrong with some."""

    responses: int = 0
    values: int = 0
    events: int = 0
    overflows: int = 0
    sequence_gaps: int = 0
    republished: int = 0
    wrong_types: int = 0
    unknown_handles: int = 0
    undecodable: int = 0
    """Responses whose bytes are no OPC UA; nothing of them was taken."""
    publish_restarts: int = 0
    history: int = 0
    """Samples read from the server's history when the gateway started; not among ``values``."""


class Routes:
    """The monitored items of one connection by client handle, and how far their SourceTimestamps have come."""

    def __init__(self, sink: Sink, counters: Counters) -> None:
        self.newest_us = 0
        """Newest SourceTimestamp, in us since 1970 UTC."""
        self.served_us = 0
        """ServerTimestamp that came with it."""
        self._sink = sink
        self._counters = counters
        self._items: dict[int, Item] = {}
        self._columns = np.full(64, _UNKNOWN, np.int64)
        self._last_handle = 0
        self._known: dict[int, tuple[bytes, IndexArray, bool]] = {}

    def add(self, item: Item) -> int:
        """A client handle for ``item``; needed before the request, as the first value may come before the answer."""
        self._last_handle += 1
        handle = self._last_handle
        if handle >= len(self._columns):
            self._columns = np.append(self._columns, np.full(len(self._columns), _UNKNOWN, np.int64))
        self._items[handle] = item
        self._columns[handle] = _OTHER
        if item.tag is not None and item.tag.numeric:
            self._columns[handle] = self._sink.index(item.tag.equipment_id, item.tag.tag)
        self._known.clear()
        return handle

    def remove(self, handle: int) -> None:
        """Forget an item that the server refused."""
        self._items.pop(handle, None)
        self._columns[handle] = _UNKNOWN
        self._known.clear()

    def take(self, changes: DataChanges) -> None:
        """Deliver what one notification brought."""
        self._counters.values += len(changes)
        self._note(changes.newest_us, changes.served_us)
        others: list[tuple[int, Item, ua.DataValue]] = []
        if changes.handles:
            self._take_numbers(changes, others)
        for handle, dv in changes.others:
            self._take_object(handle, dv, others)
        others.sort(key=lambda o: o[0])  # stable: values of one instant stay in the server's order
        for time_us, item, dv in others:
            self._deliver(time_us, item, dv)

    def take_events(self, events: Sequence[ua.EventFieldList]) -> None:
        """Deliver events."""
        self._counters.events += len(events)
        for event in events:
            item = self._items.get(int(event.ClientHandle))
            if item is not None and item.on_event is not None:
                item.on_event(list(event.EventFields or []))

    def _note(self, newest_us: int, served_us: int) -> None:
        if newest_us > self.newest_us:
            self.newest_us, self.served_us = newest_us, served_us

    def _indices(self, handles: bytes) -> tuple[IndexArray, bool]:
        """Column of each handle, and whether all of them have one. Servers send the same sequence again and again."""
        known = self._known.get(len(handles))
        if known is not None and known[0] == handles:
            return known[1], known[2]
        numbers = np.frombuffer(handles, np.uint32).astype(np.int64)
        inside = numbers < len(self._columns)
        indices = np.where(inside, self._columns[np.where(inside, numbers, 0)], _UNKNOWN)
        plain = not np.count_nonzero(indices < 0)
        indices.flags.writeable = False
        if len(self._known) >= MAX_SEQUENCES:
            self._known.clear()
        self._known[len(handles)] = (handles, indices, plain)
        return indices, plain

    def _take_numbers(self, changes: DataChanges, others: list[tuple[int, Item, ua.DataValue]]) -> None:
        indices, plain = self._indices(changes.handles)
        times_us, values, status = changes.times_us, changes.values, changes.status
        if status is not None:
            self._counters.overflows += int(np.count_nonzero(status & OVERFLOW == OVERFLOW))
        if not plain:
            for place in np.flatnonzero(indices < 0).tolist():
                item = self._items.get(int(changes.handle_array[place]))
                if item is None:
                    self._counters.unknown_handles += 1
                else:
                    others.append((int(times_us[place]), item, _restored(changes, place)))
            mine = indices >= 0
            indices, times_us, values = indices[mine], times_us[mine], values[mine]
            status = None if status is None else status[mine]
        if len(indices):
            self._sink.samples(indices, times_us, values, status)
        for place, value in changes.exact.items():
            index = int(self._indices(changes.handles)[0][place])
            if index >= 0:
                self._sink.exact(index, int(changes.times_us[place]), value)

    def _take_object(self, handle: int, dv: ua.DataValue, others: list[tuple[int, Item, ua.DataValue]]) -> None:
        time_us, code = event_time_us(dv), status_of(dv)
        self._note(reached_us(dv), served_time_us(dv))
        if code & OVERFLOW == OVERFLOW:
            self._counters.overflows += 1
        item = self._items.get(handle)
        if item is None:
            self._counters.unknown_handles += 1
        elif self._columns[handle] >= 0:
            value, code = number(dv)
            self._counters.wrong_types += code == StatusCodes.BadTypeMismatch
            column: NDArray[np.int64] = self._columns[handle : handle + 1].copy()
            self._sink.samples(column, np.array([time_us]), np.array([value]), np.array([code], np.uint32))
        else:
            others.append((time_us, item, dv))

    def _deliver(self, time_us: int, item: Item, dv: ua.DataValue) -> None:
        if item.on_value is not None:
            item.on_value(dv)
        elif item.tag is not None:
            value = snapshot(None if dv.Value is None else dv.Value.Value)
            good = is_good(status_of(dv)) and value is not None
            self._sink.latest(item.tag.equipment_id, item.tag.tag, time_us, value, good)


def _restored(changes: DataChanges, place: int) -> ua.DataValue:
    """One number as a DataValue, for a node of which no number was expected."""
    kind = changes.types if isinstance(changes.types, int) else int(changes.types[place])
    value = changes.exact.get(place, changes.values[place].item())
    variant_type = ua.VariantType(kind)
    variant = ua.Variant()
    if variant_type is ua.VariantType.Boolean:
        variant = ua.Variant(bool(value), variant_type)
    elif variant_type in (ua.VariantType.Float, ua.VariantType.Double):
        variant = ua.Variant(value, variant_type)
    elif variant_type is not ua.VariantType.Null:
        variant = ua.Variant(int(value), variant_type)
    status = 0 if changes.status is None else int(changes.status[place])
    stamp = cast("ua.DateTime", moment(int(changes.times_us[place])))
    return ua.DataValue(variant, ua.StatusCode(ua.UInt32(status)), stamp)
