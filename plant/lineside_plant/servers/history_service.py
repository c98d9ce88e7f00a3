"""HistoryRead of a plant server: raw values of its tags, and events of its Server object (OPC UA Part 11, 6.5).

asyncua's own service stores what a subscription brings, keeps DataValues as objects and knows no bounds; this one
answers from the historians' columns. A continuation point says how far the answers went, so that the server keeps
nothing for a client that does not come back.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
from asyncua import ua
from asyncua.server.history import HistoryManager
from asyncua.server.internal_server import InternalServer
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from lineside_plant.events import PlantEvent
from lineside_plant.servers.event_history import EventHistory
from lineside_plant.servers.nodeids import ObjectIds, standard
from lineside_plant.servers.published import source_time
from lineside_plant.servers.tag_history import Int64Array, TagTrace

MAX_NODES = 100
"""Nodes of one request (MaxNodesPerHistoryReadData and -Events); more is BadTooManyOperations."""
MAX_VALUES = 10_000
"""Values of one node in one answer; the rest follows by continuation point."""
_SERVER = standard(ObjectIds.Server)
_POINT = struct.Struct("<q")
_BAD = 0x8000_0000
_EARLIEST_US, _LATEST_US = -(2**62), 2**62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNSET_BEFORE = datetime(1602, 1, 1, tzinfo=UTC)  # a DateTime of 0 on the wire is 1601-01-01: not given
_CONVERT: Mapping[ua.VariantType, Callable[[float], Any]] = {
    ua.VariantType.Int32: int,
    ua.VariantType.UInt32: int,
    ua.VariantType.Double: float,
}


class EventFields(Protocol):
    """Knows how an event looks to a client."""

    def select(self, event: PlantEvent, event_filter: ua.EventFilter) -> list[ua.Variant] | None:
        """Fields that the select clauses ask for; None where the where clause leaves the event out."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Time asked for, us since 1970 UTC, in the order asked for: backwards where ``first_us > last_us``."""

    first_us: int
    last_us: int
    whole: bool  # both ends were given
    limit: int

    @property
    def backwards(self) -> bool:
        """Whether the newest is asked for first."""
        return self.first_us > self.last_us


class HistoryService(HistoryManager):
    """Answers HistoryRead for ``traces`` (by NodeId, with the type of their values) and for ``events``."""

    def __init__(self, iserver: InternalServer) -> None:
        super().__init__(iserver)
        self.traces: dict[ua.NodeId, tuple[TagTrace, ua.VariantType]] = {}
        self.events: tuple[EventHistory, EventFields] | None = None

    async def read_history(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        """One result per node.

        Raises:
            UaStatusCodeError: Too many nodes, or timestamps that the historians do not keep.
        """
        if len(params.NodesToRead) > MAX_NODES:
            raise UaStatusCodeError(StatusCodes.BadTooManyOperations)  # type: ignore[no-untyped-call]
        if params.TimestampsToReturn is ua.TimestampsToReturn.Server:
            raise UaStatusCodeError(StatusCodes.BadTimestampNotSupported)  # type: ignore[no-untyped-call]
        if params.ReleaseContinuationPoints:
            return [ua.HistoryReadResult() for _ in params.NodesToRead]
        return [self._read(params.HistoryReadDetails, node) for node in params.NodesToRead]

    def _read(self, details: Any, node: ua.HistoryReadValueId) -> ua.HistoryReadResult:
        point = node.ContinuationPoint or b""
        if len(point) not in {0, _POINT.size}:
            return _refused(StatusCodes.BadContinuationPointInvalid)
        after = _POINT.unpack(point)[0] if point else None
        raw = isinstance(details, ua.ReadRawModifiedDetails) and not details.IsReadModified
        trace = self.traces.get(node.NodeId) if raw else None
        events = self.events if type(details) is ua.ReadEventDetails and node.NodeId == _SERVER else None
        if trace is None and events is None:
            known = node.NodeId in self.iserver.aspace
            return _refused(StatusCodes.BadHistoryOperationUnsupported if known else StatusCodes.BadNodeIdUnknown)
        span = _span(details)
        if span is None:
            return _refused(StatusCodes.BadHistoryOperationInvalid)
        if trace is not None:
            return self._raw(*trace, span, after, bounds=details.ReturnBounds and span.whole)
        assert events is not None  # noqa: S101  one of the two is there
        return self._events(*events, span, after, details.Filter)

    def _raw(
        self, trace: TagTrace, kind: ua.VariantType, span: _Span, after: int | None, *, bounds: bool
    ) -> ua.HistoryReadResult:
        times, values, status = trace.columns()
        rows, lead, trail = _bounded(times, span) if bounds else (_within(times, span), False, False)
        if after is not None:
            lead = False
            rows = rows[times[rows] < after if span.backwards else times[rows] > after]
        page = rows[: span.limit]
        columns = times[page].tolist(), values[page].tolist(), status[page].tolist()
        found = [
            _data_value(t, None if s & _BAD else ua.Variant(_CONVERT[kind](v), kind), s)
            for t, v, s in zip(*columns, strict=True)
        ]
        more = len(rows) > len(page)
        if lead:
            found.insert(0, _data_value(span.first_us, None, StatusCodes.BadBoundNotFound))
        if trail and not more:
            found.append(_data_value(span.last_us, None, StatusCodes.BadBoundNotFound))
        return _result(ua.HistoryData(found), len(page), int(times[page[-1]]) if more else None)

    def _events(
        self, history: EventHistory, fields: EventFields, span: _Span, after: int | None, event_filter: ua.EventFilter
    ) -> ua.HistoryReadResult:
        early_us, late_us = sorted((span.first_us, span.last_us))
        # The end that was asked for last is not part of the span (Part 11, 4.4).
        found = history.between(early_us + span.backwards, late_us - (not span.backwards))
        rows: Iterable[tuple[int, PlantEvent]] = reversed(found) if span.backwards else found
        page: list[ua.HistoryEventFieldList] = []
        last: int | None = None
        for number, event in rows:
            if after is not None and (number >= after if span.backwards else number <= after):
                continue
            selected = fields.select(event, event_filter)
            if selected is None:
                continue
            if len(page) == span.limit:
                return _result(ua.HistoryEvent(page), len(page), last)
            page.append(ua.HistoryEventFieldList(selected))
            last = number
        return _result(ua.HistoryEvent(page), len(page), None)


def _within(times: Int64Array, span: _Span) -> Int64Array:
    """Places of the span's samples in ``times``; the end asked for last is not part of it (Part 11, 4.4)."""
    if span.first_us == span.last_us:
        return np.flatnonzero(times == span.first_us)
    if span.backwards:
        return np.flatnonzero((times <= span.first_us) & (times > span.last_us))[::-1]
    return np.flatnonzero((times >= span.first_us) & (times < span.last_us))


def _bounded(times: Int64Array, span: _Span) -> tuple[Int64Array, bool, bool]:
    """As ``_within`` with the samples at or beyond both ends, and whether there is none at the first and last end."""
    early_us, late_us = sorted((span.first_us, span.last_us))
    low, high = int(times.searchsorted(early_us, "right")) - 1, int(times.searchsorted(late_us)) + 1
    rows = np.arange(max(low, 0), min(high, len(times)))
    before, behind = low < 0, high > len(times)
    return (rows[::-1], behind, before) if span.backwards else (rows, before, behind)


def _span(details: Any) -> _Span | None:
    """The span of a request; None where fewer than two of start, end and number of values are given."""
    start, end, count = _given(details.StartTime), _given(details.EndTime), int(details.NumValuesPerNode)
    if (start is not None) + (end is not None) + (count > 0) < 2:
        return None
    limit = min(count or MAX_VALUES, MAX_VALUES)
    if start is None:
        assert end is not None  # noqa: S101  two of three are given
        return _Span(end, _EARLIEST_US, False, limit)
    return _Span(start, _LATEST_US if end is None else end, end is not None, limit)


def _given(time: datetime | None) -> int | None:
    if time is None:
        return None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    if aware < _UNSET_BEFORE:
        return None
    since = aware - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _data_value(time_us: int, value: ua.Variant | None, status: int) -> ua.DataValue:
    return ua.DataValue(value, ua.StatusCode(ua.UInt32(status)), source_time(time_us))  # type: ignore[arg-type]


def _refused(status: int) -> ua.HistoryReadResult:
    return ua.HistoryReadResult(ua.StatusCode(ua.UInt32(status)))


def _result(data: Any, count: int, last: int | None) -> ua.HistoryReadResult:
    """``last`` is where the next request goes on; None when there is no more."""
    status = StatusCodes.Good if count else StatusCodes.GoodNoData
    point = None if last is None else _POINT.pack(last)
    return ua.HistoryReadResult(ua.StatusCode(ua.UInt32(status)), point, data)
