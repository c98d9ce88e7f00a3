"""History read: what a server's historian kept fills windows and records when a gateway starts (OPC UA Part 11).

Read once, at the first connection of a server. Live samples wait meanwhile, so that no watermark passes what is still
being read; a server without history, or one that is too slow, costs a warning and at most ``history_timeout_s``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from asyncua import ua

from lineside_gateway.opcua.connection import Connection, chunks
from lineside_gateway.opcua.delivery import Sink, TagNode
from lineside_gateway.opcua.events import STREAM, EventSource
from lineside_gateway.opcua.publishing import Hold
from lineside_gateway.opcua.standard import AttributeIds, StatusCodes, UaError
from lineside_gateway.opcua.values import event_time_us, moment, number, status_of
from lineside_gateway.settings import ServerSettings
from lineside_plugins.types import Record

logger = logging.getLogger(__name__)

VALUES_PER_ANSWER = 5000
"""Values of all nodes in one answer, about 50 ms of decoding, between which the event loop serves others."""
MAX_EVENTS = 4096
"""Newest events read; as many rows of a stream are kept for tasks that are bound later."""
RELEASE_S = 1.0
_FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)
"""Plant time may run ahead of the wall clock: the newest events are those before this."""
_NOT_GIVEN = datetime(1601, 1, 1, tzinfo=UTC)
_NO_VALUE = {StatusCodes.BadBoundNotFound, StatusCodes.BadBoundNotSupported, StatusCodes.BadNoData}


@dataclass(slots=True)
class HistoryReport:
    """What one server's history gave. ``causes`` says what it did not give, and why."""

    values: int = 0
    events: int = 0
    duplicates: int = 0
    causes: list[str] = field(default_factory=list)


class HistoryReader:
    """Reads the history of one connection and hands it to ``sink``."""

    def __init__(self, connection: Connection, depths_s: Mapping[str, float], sink: Sink) -> None:
        """``depths_s`` is how far back each tag's windows reach, by tag."""
        self.report = HistoryReport()
        self._connection = connection
        self._depths_s = depths_s
        self._sink = sink
        self._points: dict[ua.NodeId, bytes] = {}
        self._reached: set[str] = set()
        self._after_us: dict[ua.NodeId, int] = {}

    @property
    def _server(self) -> ServerSettings:
        return self._connection.server

    @asynccontextmanager
    async def bounded(self, hold: Hold | None = None) -> AsyncIterator[None]:
        """End what runs inside after ``history_timeout_s``, or when ``hold`` is full; the cause is in ``report``."""
        seconds = self._server.history_timeout_s
        try:
            async with asyncio.timeout(seconds) as scope:
                if hold is not None:
                    hold.when_full = lambda: scope.reschedule(asyncio.get_running_loop().time())
                yield
        except TimeoutError:
            if hold is not None and hold.full:
                bound = f"before {hold.most_bytes >> 20} MiB of live values waited; read less of them"
            elif scope.expired():
                bound = f"within history_timeout_s={seconds:g}; raise it"
            else:
                bound = f"within request_timeout_s={self._server.request_timeout_s:g}; raise it"
            self.report.causes.append(f"not answered {bound}, or set history: false")
        except UaError as e:
            self.report.causes.append(f"{type(e).__name__}: {e}")
        finally:
            if hold is not None:
                hold.when_full = None
            await self._release()

    def tell(self) -> None:
        """Log what came and what did not, once."""
        report, causes = self.report, self.report.causes
        if causes:
            more = f" and {len(causes) - 1} more" if len(causes) > 1 else ""
            logger.warning(
                "history_incomplete server=%s values=%d events=%d cause=%s%s",
                self._server.name, report.values, report.events, causes[0], more,
            )  # fmt: skip
        elif report.values or report.events:
            logger.info(
                "history_read server=%s values=%d events=%d repeated_events=%d",
                self._server.name, report.values, report.events, report.duplicates,
            )  # fmt: skip

    # ---- tags

    async def fill(self, nodes: Sequence[TagNode], hold: Hold) -> None:
        """Deliver the history of ``nodes`` before the first live sample in ``hold``, and say where live begins."""
        async with self.bounded(hold):
            candidates = await self.candidates(nodes)
            if not candidates:
                return
            live_us = await hold.first_us()
            if not live_us:
                self.report.causes.append("the server sends no SourceTimestamps")
                return
            try:
                await self.tags(candidates, live_us)
            finally:
                for equipment_id in sorted(self._reached):
                    self._sink.history_ends(equipment_id, live_us)

    async def refill(self, nodes: Sequence[TagNode], hold: Hold) -> None:
        """Deliver what the history of ``nodes`` has between the last samples received and the first live one.

        Where it has the last sample received too, nothing is missing from there on.
        """
        async with self.bounded(hold):
            candidates = await self.candidates(nodes)
            newest = self._sink.newest_us(candidates)
            self._after_us = {n.node_id: t for n, t in zip(candidates, newest, strict=True) if t > 0}
            if not self._after_us:
                return
            live_us = await hold.first_us()
            earliest = live_us - round(max(self._depths_s.values()) * 1e6)
            start = moment(max(min(self._after_us.values()), earliest))
            for part in chunks(candidates, self._connection.limits.history) if live_us else ():
                await self._span(part, start, live_us, bounds=False)

    async def candidates(self, nodes: Sequence[TagNode]) -> list[TagNode]:
        """Those of ``nodes`` that a window needs and whose history may be read."""
        wanted = [n for n in nodes if n.numeric and n.tag in self._depths_s]
        levels = await self._connection.read([n.node_id for n in wanted], AttributeIds.UserAccessLevel)
        return [n for n, dv in zip(wanted, levels, strict=True) if _number(dv) & ua.AccessLevel.HistoryRead.mask]

    async def tags(self, nodes: Sequence[TagNode], live_us: int) -> None:
        """Deliver the samples of ``nodes`` before ``live_us``, as far back as the windows reach.

        What the server refuses is in ``report.causes``.
        """
        by_depth: dict[float, list[TagNode]] = {}
        for node in nodes:
            by_depth.setdefault(self._depths_s[node.tag], []).append(node)
        for depth_s, group in by_depth.items():
            start = moment(live_us - round(depth_s * 1e6))
            for part in chunks(group, self._connection.limits.history):
                if not await self._span(part, start, live_us, bounds=True):
                    await self._span(part, start, live_us, bounds=False)

    async def _span(self, nodes: Sequence[TagNode], start: datetime, live_us: int, *, bounds: bool) -> bool:
        """Read all pages of one span; False when the server knows no bounds, and nothing was delivered."""
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False,
            StartTime=start,
            EndTime=moment(live_us),
            NumValuesPerNode=ua.UInt32(max(1, VALUES_PER_ANSWER // len(nodes))),
            ReturnBounds=bounds,
        )
        left = {n.node_id: n for n in nodes}
        while left:
            results = await self._request(details, list(left))
            more: dict[ua.NodeId, TagNode] = {}
            page: list[tuple[int, int, float, int]] = []
            joined: list[TagNode] = []
            for node, result in zip(left.values(), results, strict=True):
                if bounds and result.StatusCode.value == StatusCodes.BadBoundNotSupported:
                    return False
                if not result.StatusCode.is_good():
                    self.report.causes.append(f"{node.equipment_id}.{node.tag}: {result.StatusCode.name}")
                elif isinstance(result.HistoryData, ua.HistoryData):
                    rows = self._rows(node, result.HistoryData.DataValues or [], live_us)
                    after_us = self._after_us.get(node.node_id, 0)
                    joined += [node] if rows and rows[0][1] == after_us else []
                    page += [row for row in rows if row[1] > after_us]
                if node.node_id in self._points:
                    more[node.node_id] = node
            self._sink.unbroken(joined)
            self._deliver(page)
            left = more
            await asyncio.sleep(0)
        return True

    def _rows(self, node: TagNode, values: Sequence[ua.DataValue], live_us: int) -> list[tuple[int, int, float, int]]:
        """Column, SourceTimestamp, value and StatusCode of what belongs to the past, in order of time."""
        times = (
            (event_time_us(dv), dv)
            for dv in values
            if dv.SourceTimestamp is not None and status_of(dv) not in _NO_VALUE
        )
        kept = [(t, dv) for t, dv in times if t < live_us]  # an end bound belongs to the live samples
        if not kept:
            return []
        self._reached.add(node.equipment_id)
        index = self._sink.index(node.equipment_id, node.tag)
        return sorted(((index, t, *number(dv)) for t, dv in kept), key=lambda row: row[1])

    def _deliver(self, page: Sequence[tuple[int, int, float, int]]) -> None:
        if not page:
            return
        indices, times, numbers, codes = zip(*page, strict=True)
        self.report.values += len(page)
        self._sink.history(
            np.array(indices, np.int64),
            np.array(times, np.int64),
            np.array(numbers, np.float64),
            np.array(codes, np.uint32),
        )

    # ---- events

    async def events(self, source: EventSource) -> list[Record]:
        """The newest ``MAX_EVENTS`` rows of ``source``, oldest first; none where its history may not be read."""
        notifier = (await self._connection.read([source.notifier], AttributeIds.EventNotifier))[0]
        if not _number(notifier) & ua.EventNotifier.HistoryRead.mask:
            return []
        details = ua.ReadEventDetails(
            NumValuesPerNode=ua.UInt32(MAX_EVENTS),
            StartTime=_NOT_GIVEN,  # with the end and a number given: backwards from the end (Part 11, 6.5.3.2)
            EndTime=_FAR_FUTURE,
            Filter=source.event_filter,
        )
        rows: list[Record] = []
        while len(rows) < MAX_EVENTS:
            (result,) = await self._request(details, [source.notifier])
            if not result.StatusCode.is_good():
                self.report.causes.append(f"events: {result.StatusCode.name}")
            elif isinstance(result.HistoryData, ua.HistoryEvent):
                fields = [list(e.EventFields or ()) for e in result.HistoryData.Events or ()]
                rows += [row for row in map(source.record, fields) if row is not None]
            if source.notifier not in self._points:
                break
        rows.sort(key=_time)
        return rows[-MAX_EVENTS:]

    def deliver_events(self, past: Sequence[Record], live: Sequence[Record]) -> None:
        """Hand over the past, then what came live while it was read, each row once."""
        seen = {frozenset(row.items()) for row in past}
        for row in past:
            self._sink.past_record(STREAM, row)
        for row in live:
            if frozenset(row.items()) in seen:
                self.report.duplicates += 1
            else:
                self._sink.record(STREAM, row)
        self.report.events += len(past)

    # ---- requests

    async def _request(self, details: object, nodes: Sequence[ua.NodeId]) -> list[ua.HistoryReadResult]:
        params = _parameters(details, nodes, self._points)
        results = await self._connection.client.uaclient.history_read(params)
        for node_id, result in zip(nodes, results, strict=True):
            self._points.pop(node_id, None)
            if result.ContinuationPoint:
                self._points[node_id] = result.ContinuationPoint
        return results

    async def _release(self) -> None:
        """Let the server forget what it holds for pages that were not read."""
        if self._points:
            params = _parameters(ua.ReadRawModifiedDetails(IsReadModified=False), list(self._points), self._points)
            params.ReleaseContinuationPoints = True
            self._points = {}
            with contextlib.suppress(OSError, TimeoutError, UaError):
                async with asyncio.timeout(RELEASE_S):
                    await self._connection.client.uaclient.history_read(params)


def _parameters(
    details: object, nodes: Sequence[ua.NodeId], points: Mapping[ua.NodeId, bytes]
) -> ua.HistoryReadParameters:
    params = ua.HistoryReadParameters()
    params.HistoryReadDetails = details
    params.TimestampsToReturn = ua.TimestampsToReturn.Source
    params.ReleaseContinuationPoints = False
    params.NodesToRead = [ua.HistoryReadValueId(NodeId=n, ContinuationPoint=points.get(n)) for n in nodes]
    return params


def _number(dv: ua.DataValue) -> int:
    """A whole number, such as a bit mask or a limit; 0 where it cannot be read."""
    value = None if dv.Value is None or status_of(dv) else dv.Value.Value
    return int(value) if isinstance(value, int) else 0


def _time(record: Record) -> str:
    return str(record["time"])
