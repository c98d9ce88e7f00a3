"""HistoryRead of the hosted server: values of recommendation nodes and their twins, and events of its notifiers.

A continuation point says how many answers were given, so that the server keeps nothing for a client that does not come
back.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from asyncua import ua
from asyncua.server.history import HistoryManager
from asyncua.server.internal_server import InternalServer
from asyncua.server.monitored_item_service import WhereClauseEvaluator
from asyncua.ua.uaerrors import UaStatusCodeError

from lineside_gateway.hosting import Sample
from lineside_gateway.publish.conditions.desk import ConditionDesk, HostedCondition
from lineside_gateway.publish.conditions.event import HostedEvent
from lineside_gateway.publish.fields import VARIANT, Field, flat
from lineside_gateway.publish.history.span import Span, microseconds, span
from lineside_gateway.publish.history.store import HistoryStore, Shown, cell_value
from lineside_gateway.publish.nodeids import StatusCodes, status_code
from lineside_gateway.publish.recommendation_nodes import OWN_WORD, RecommendationNodes, wire_value
from lineside_gateway.publish.variables import data_value

MAX_NODES = 100
"""Nodes of one request; more is BadTooManyOperations."""
_POINT = struct.Struct("<q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Trace:
    """The history of one Variable: a field of one recommendation, or its flat twin."""

    place: str
    shown: Field
    twin: bool


class HistoryService(HistoryManager):
    """Answers from ``store``; ``watch`` makes the nodes of a recommendation known to it."""

    def __init__(self, iserver: InternalServer, store: HistoryStore) -> None:
        super().__init__(iserver)
        self.store = store
        self.desk: ConditionDesk | None = None
        self._traces: dict[ua.NodeId, _Trace] = {}

    async def init(self) -> None:
        """Nothing to open: the store is open already."""

    async def stop(self) -> None:
        """Write what is left; the owner of the store closes it."""
        await self.store.flush()

    def watch(self, nodes: RecommendationNodes) -> None:
        """Let clients read the past of these nodes."""
        for cell in nodes.cells.values():
            self._traces[cell.node] = _Trace(place(nodes), cell.shown, twin=False)
            if cell.twin is not None:
                self._traces[cell.twin] = _Trace(place(nodes), cell.shown, twin=True)

    def keep(self, nodes: RecommendationNodes, *, fresh: bool) -> None:
        """Keep what ``nodes`` show now."""
        if nodes.shown is not None:
            cells = {name: cell.value for name, cell in nodes.cells.items()}
            at, end = microseconds(datetime.now(UTC)), microseconds(nodes.shown.window_end)
            self.store.add(place(nodes), Shown(at, end, fresh, nodes.status, cells))

    def keep_event(self, condition: HostedCondition, event: HostedEvent) -> None:
        """Keep an event."""
        time = condition.condition.time
        if time is not None:
            self.store.add_event(microseconds(time), str(condition.place.node.Identifier), event.fields)

    async def read_history(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        """One result per node.

        Raises:
            UaStatusCodeError: Too many nodes.
        """
        if len(params.NodesToRead) > MAX_NODES:
            raise UaStatusCodeError(StatusCodes.BadTooManyOperations)  # type: ignore[no-untyped-call]
        if params.ReleaseContinuationPoints:
            return [ua.HistoryReadResult() for _ in params.NodesToRead]
        return [await self._read(params.HistoryReadDetails, node) for node in params.NodesToRead]

    async def _read(self, details: Any, node: ua.HistoryReadValueId) -> ua.HistoryReadResult:
        point = node.ContinuationPoint or b""
        if len(point) not in {0, _POINT.size}:
            return _refused(StatusCodes.BadContinuationPointInvalid)
        after = max(0, _POINT.unpack(point)[0]) if point else 0
        wanted = span(details) if hasattr(details, "NumValuesPerNode") else None
        raw = isinstance(details, ua.ReadRawModifiedDetails) and not details.IsReadModified
        trace = self._traces.get(node.NodeId)
        events = isinstance(details, ua.ReadEventDetails) and self._notifies(node.NodeId)
        if not (raw and trace is not None) and not events:
            known = node.NodeId in self.iserver.aspace
            return _refused(StatusCodes.BadHistoryOperationUnsupported if known else StatusCodes.BadNodeIdUnknown)
        if wanted is None:
            return _refused(StatusCodes.BadHistoryOperationInvalid)
        if events:
            return await self._events(node.NodeId, wanted, after, details.Filter)
        assert trace is not None  # noqa: S101 - one of the two is there
        return await self._raw(trace, wanted, after)

    async def _raw(self, trace: _Trace, wanted: Span, after: int) -> ua.HistoryReadResult:
        own_word = trace.shown.name in OWN_WORD
        rows = await self.store.shown(trace.place, fresh_only=not own_word)
        timed = [(row.at_us if own_word else row.time_us, row) for row in rows]
        found = sorted((one for one in timed if wanted.holds(one[0])), key=lambda one: one[0])
        page, point = _page(found[::-1] if wanted.backwards else found, wanted, after)
        values = [_sample(trace, row, at_us) for at_us, row in page]
        return _result(ua.HistoryData(values), len(page), point)

    async def _events(
        self, node: ua.NodeId, wanted: Span, after: int, event_filter: ua.EventFilter
    ) -> ua.HistoryReadResult:
        assert self.desk is not None  # noqa: S101 - _notifies() has looked
        namespace = self.desk.builder.namespace
        past = await self.store.events(wanted.early_us, wanted.late_us, namespace)
        where = WhereClauseEvaluator(_LOG, self.iserver.aspace, event_filter.WhereClause)
        found = []
        for row in past:
            condition = self.desk.conditions.get(self.desk.builder.node_id(row.condition))
            if condition is None or node not in condition.emitters:
                continue
            event = HostedEvent(node, condition.place.types, row.fields, condition.place.node)
            if wanted.holds(microseconds(event.Time)) and where.eval(event):
                found.append(event)
        page, point = _page(found[::-1] if wanted.backwards else found, wanted, after)
        rows = [ua.HistoryEventFieldList(e.to_event_fields(event_filter.SelectClauses)) for e in page]
        return _result(ua.HistoryEvent(rows), len(page), point)

    def _notifies(self, node: ua.NodeId) -> bool:
        return self.desk is not None and any(node in c.emitters for c in self.desk.conditions.values())


def place(nodes: RecommendationNodes) -> str:
    """What the history of one recommendation is filed under."""
    return f"{nodes.hosted.task}|{nodes.hosted.equipment_id}"


def _sample(trace: _Trace, row: Shown, at_us: int) -> Sample:
    shown = trace.shown
    value = cell_value(shown, row.cells.get(shown.name))
    status = StatusCodes.Good if shown.name in OWN_WORD else row.status
    at = _EPOCH + timedelta(microseconds=at_us)
    served = _EPOCH + timedelta(microseconds=row.at_us)
    if trace.twin and shown.flat_type is not None:
        return data_value(flat(shown, value), VARIANT[shown.flat_type], status, at, served)
    return data_value(wire_value(shown, value), VARIANT[shown.field_type], status, at, served)


def _page(found: Sequence[T], wanted: Span, after: int) -> tuple[Sequence[T], int | None]:
    page = found[after : after + wanted.limit]
    more = after + len(page) < len(found)
    return page, after + len(page) if more else None


def _refused(status: int) -> ua.HistoryReadResult:
    return ua.HistoryReadResult(status_code(status))


def _result(data: Any, count: int, given: int | None) -> ua.HistoryReadResult:
    """``given`` is how many answers were given so far; None when there are no more."""
    status = StatusCodes.Good if count else StatusCodes.GoodNoData
    return ua.HistoryReadResult(status_code(status), None if given is None else _POINT.pack(given), data)
