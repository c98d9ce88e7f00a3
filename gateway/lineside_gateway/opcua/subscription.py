"""One subscription of one connection: monitored items in batches, publish responses as columns, silence noticed.

asyncua's ``Subscription`` makes a task per value; here the publish callback is registered with ``UaClient``, which
calls it once per response, in order. One subscription carries all tags of a server, so that a response is a
consistent cut through them and its newest SourceTimestamp is a watermark.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from asyncua import ua

from lineside_gateway.errors import ConnectError
from lineside_gateway.opcua.connection import Connection, chunks
from lineside_gateway.opcua.delivery import OVERFLOW, Sink, TagNode
from lineside_gateway.opcua.publishing import Hold, SequenceNumbers, restart_publishing
from lineside_gateway.opcua.standard import AttributeIds, StatusCodes, UaError
from lineside_gateway.opcua.values import event_time_us, is_good, number, served_time_us, snapshot, status_of
from lineside_gateway.settings import Report

logger = logging.getLogger(__name__)

KEEP_ALIVE_COUNT = 10
"""Empty publishing intervals until a keep-alive; asyncua's 10,000 would hide a stalled server for minutes."""
SILENCE_KEEP_ALIVES = 3
SILENCE_MIN_S = 5.0
"""Silence longer than both restarts the publish loop, twice as long reconnects."""
MAX_NOTIFICATIONS = 10_000
_NO_FILTER = {
    StatusCodes.BadMonitoredItemFilterUnsupported,
    StatusCodes.BadMonitoredItemFilterInvalid,
    StatusCodes.BadFilterNotAllowed,
}

DataValueHandler = Callable[[ua.DataValue], None]
EventHandler = Callable[[list[ua.Variant]], None]


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
    publish_restarts: int = 0
    history: int = 0
    """Samples read from the server's history when the gateway started; not among ``values``."""


@dataclass(frozen=True, slots=True)
class Item:
    """A node to monitor. Exactly one of ``tag``, ``on_value`` and ``on_event`` says who receives it."""

    node_id: ua.NodeId
    tag: TagNode | None = None
    on_value: DataValueHandler | None = None
    on_event: EventHandler | None = None
    event_filter: ua.EventFilter | None = None
    queue_size: int = 0
    """0 takes the server's setting."""


class TagSubscription:
    """Delivers tags, single values and events of one connection to a sink; used from one event loop."""

    def __init__(self, connection: Connection, sink: Sink) -> None:
        self.counters = Counters()
        self.watermark_us = 0
        self.served_us = 0
        self._connection = connection
        self._sink = sink
        self._items: dict[int, Item] = {}
        self._columns: dict[int, int] = {}
        self._last_handle = 0
        self._id = 0
        self._sequence = SequenceNumbers()
        self._missing: list[int] = []
        self._silence_s = SILENCE_MIN_S
        self._heard_at = time.monotonic()
        self._restarted = False
        self._broken: Exception | None = None
        self._hold: Hold | None = None

    def hold(self) -> Hold:
        """Let what is published wait from now on, until ``release``."""
        self._hold = Hold()
        return self._hold

    async def release(self) -> None:
        """Deliver what has waited, in order, with pauses for others, and from then on at once."""
        while self._hold is not None and self._hold.waiting:
            self._deliver(self._hold.waiting.popleft())
            await asyncio.sleep(0)
        self._hold = None

    async def open(self) -> None:
        """Create the subscription on the server; responses are delivered from now on."""
        server = self._connection.server
        interval = server.publishing_interval_ms
        params = ua.CreateSubscriptionParameters()
        params.RequestedPublishingInterval = interval
        params.RequestedMaxKeepAliveCount = ua.UInt32(KEEP_ALIVE_COUNT)
        params.RequestedLifetimeCount = ua.UInt32(
            max(3 * KEEP_ALIVE_COUNT, int(server.session_timeout_s * 1e3 / interval))
        )
        params.MaxNotificationsPerPublish = ua.UInt32(MAX_NOTIFICATIONS)
        params.PublishingEnabled = True
        result = await self._connection.client.uaclient.create_subscription(params, self._on_publish)
        self._id = result.SubscriptionId
        keep_alive_s = result.RevisedPublishingInterval * result.RevisedMaxKeepAliveCount / 1000
        self._silence_s = max(SILENCE_KEEP_ALIVES * keep_alive_s, SILENCE_MIN_S)
        self._heard_at = time.monotonic()

    async def watch(self, items: Sequence[Item]) -> list[ua.StatusCode]:
        """Create monitored items in batches; one StatusCode per item, in order. Good ones deliver from now on.

        The server sends each item's present value first. A server that knows no timestamp trigger is asked again
        without it.
        """
        out: list[ua.StatusCode] = []
        for part in chunks(items, self._connection.limits.monitor):
            out += await self._create(part)
        return out

    async def _create(self, items: Sequence[Item]) -> list[ua.StatusCode]:
        handles = [self._register(item) for item in items]
        codes = await self._request(handles, filtered=self._connection.server.report is Report.TIMESTAMP)
        again = [i for i, c in enumerate(codes) if c.value in _NO_FILTER and items[i].event_filter is None]
        if again:
            for i, code in zip(again, await self._request([handles[i] for i in again], filtered=False), strict=True):
                codes[i] = code
        for handle, code in zip(handles, codes, strict=True):
            if not code.is_good():
                self._items.pop(handle, None)
                self._columns.pop(handle, None)
        return codes

    def _register(self, item: Item) -> int:
        """A client handle, known before the request: the first value may come before the answer."""
        self._last_handle += 1
        handle = self._last_handle
        self._items[handle] = item
        if item.tag is not None and item.tag.numeric:
            self._columns[handle] = self._sink.index(item.tag.equipment_id, item.tag.tag)
        return handle

    async def _request(self, handles: Sequence[int], *, filtered: bool) -> list[ua.StatusCode]:
        params = ua.CreateMonitoredItemsParameters()
        params.SubscriptionId = ua.UInt32(self._id)
        params.TimestampsToReturn = ua.TimestampsToReturn.Both
        params.ItemsToCreate = [self._create_request(h, self._items[h], filtered) for h in handles]
        results = await self._connection.client.uaclient.create_monitored_items(params)
        return [r.StatusCode for r in results]

    def _create_request(self, handle: int, item: Item, filtered: bool) -> ua.MonitoredItemCreateRequest:
        server = self._connection.server
        request = ua.MonitoredItemCreateRequest()
        request.ItemToMonitor.NodeId = item.node_id
        request.ItemToMonitor.AttributeId = AttributeIds.Value
        request.MonitoringMode = ua.MonitoringMode.Reporting
        parameters = request.RequestedParameters
        parameters.ClientHandle = ua.UInt32(handle)
        parameters.SamplingInterval = server.sampling_interval_ms
        parameters.QueueSize = ua.UInt32(item.queue_size or server.queue_size)
        parameters.DiscardOldest = True
        if item.event_filter is not None:
            request.ItemToMonitor.AttributeId = AttributeIds.EventNotifier
            parameters.SamplingInterval = 0
            parameters.Filter = item.event_filter
        elif filtered:
            parameters.Filter = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValueTimestamp)
        return request

    async def guard(self, seconds: float) -> None:
        """Wait ``seconds`` while watching the stream; a silent publish loop is restarted once, then given up.

        Raises:
            ConnectError: The server has sent neither data nor keep-alive for twice its time, or has dropped the
                subscription.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.5))
            if self._broken is not None:
                raise self._broken
            if self._missing:
                await self._fetch_missing()
            silent = time.monotonic() - self._heard_at
            name = self._connection.server.name
            if silent > 2 * self._silence_s:
                raise ConnectError(f"server '{name}' has sent nothing for {silent:.0f} s; connecting again")
            if silent > self._silence_s and not self._restarted:
                self._restarted = True
                self.counters.publish_restarts += 1
                logger.warning("publish_restarted server=%s silent_s=%.1f", name, silent)
                await restart_publishing(self._connection.client)

    def _on_publish(self, result: ua.PublishResult) -> None:
        """Called by asyncua once per publish response, in order."""
        self._heard_at, self._restarted = time.monotonic(), False
        if self._hold is not None:
            self._hold.add(result)
        else:
            self._deliver(result)

    def _deliver(self, result: ua.PublishResult) -> None:
        try:
            self._take(result)
        except Exception as e:  # noqa: BLE001  # asyncua would log and forget it; guard() raises it in the session loop
            self._broken = e

    def _take(self, result: ua.PublishResult) -> None:
        message = result.NotificationMessage
        notifications = message.NotificationData or []
        missing = self._sequence.check(int(message.SequenceNumber), has_data=bool(notifications))
        if missing:
            self.counters.sequence_gaps += 1
            self._missing += missing
        self.counters.responses += 1
        self._take_notifications(notifications)
        if notifications and not result.MoreNotifications:
            self._sink.flush(self._connection.server.name, self.watermark_us, self.served_us)

    def _take_notifications(self, notifications: Sequence[object]) -> None:
        for notification in notifications:
            if isinstance(notification, ua.DataChangeNotification):
                self._take_values(notification.MonitoredItems or [])
            elif isinstance(notification, ua.EventNotificationList):
                self._take_events(notification.Events or [])
            elif isinstance(notification, ua.StatusChangeNotification) and notification.Status.is_bad():
                name = self._connection.server.name
                raise ConnectError(
                    f"server '{name}' ended the subscription ({notification.Status.name}); connecting again"
                )

    async def _fetch_missing(self) -> None:
        """Ask for the messages that a gap left out, while the server still keeps them; they arrive late."""
        missing, self._missing = self._missing, []
        for number_ in missing:
            try:
                message = await self._connection.client.uaclient.session.republish(self._id, number_)
            except UaError:
                continue  # no longer kept: counted as a gap and not as republished
            if message.NotificationData:
                self.counters.republished += 1
                self._take_notifications(message.NotificationData)
                self._sink.flush(self._connection.server.name, self.watermark_us, self.served_us)

    def _take_values(self, items: Sequence[ua.MonitoredItemNotification]) -> None:
        columns, counters = self._columns, self.counters
        indices: list[int] = []
        times: list[int] = []
        values: list[float] = []
        codes: list[int] = []
        others: list[tuple[int, Item, ua.DataValue]] = []
        for notification in items:
            dv, handle = notification.Value, int(notification.ClientHandle)
            time_us = event_time_us(dv)
            if time_us > self.watermark_us and dv.SourceTimestamp is not None:
                self.watermark_us, self.served_us = time_us, served_time_us(dv)
            if status_of(dv) & OVERFLOW == OVERFLOW:
                counters.overflows += 1
            column = columns.get(handle)
            if column is not None:
                value, code = number(dv)
                indices.append(column)
                times.append(time_us)
                values.append(value)
                codes.append(code)
                continue
            item = self._items.get(handle)
            if item is None:
                counters.unknown_handles += 1
            else:
                others.append((time_us, item, dv))
        counters.values += len(items)
        if indices:
            status = np.array(codes, dtype=np.uint32)
            counters.wrong_types += int(np.count_nonzero(status == StatusCodes.BadTypeMismatch))
            self._sink.samples(
                np.array(indices, dtype=np.int64),
                np.array(times, dtype=np.int64),
                np.array(values, dtype=np.float64),
                status,
            )
        others.sort(key=lambda o: o[0])  # stable: values of one instant stay in the server's order
        for time_us, item, dv in others:
            self._take_other(time_us, item, dv)

    def _take_other(self, time_us: int, item: Item, dv: ua.DataValue) -> None:
        if item.on_value is not None:
            item.on_value(dv)
        elif item.tag is not None:
            value = snapshot(None if dv.Value is None else dv.Value.Value)
            good = is_good(status_of(dv)) and value is not None
            self._sink.latest(item.tag.equipment_id, item.tag.tag, time_us, value, good)

    def _take_events(self, events: Sequence[ua.EventFieldList]) -> None:
        self.counters.events += len(events)
        for event in events:
            item = self._items.get(int(event.ClientHandle))
            if item is not None and item.on_event is not None:
                item.on_event(list(event.EventFields or []))
