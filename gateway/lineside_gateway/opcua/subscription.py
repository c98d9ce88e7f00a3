"""One subscription of one connection: monitored items in batches, publish responses as columns, silence noticed.

The publish callback is registered with ``UaClient``, which calls it once per response, in order. One subscription
carries all tags of a server, so that a response is a consistent cut through them and its newest SourceTimestamp is a
watermark. A subscription per data type would make every message uniform, and was measured to cost the client 1.1 times
as much at 5,000 values a publish, as much at 1,000 and 1.5 times at 100: mixed messages are decoded as fast, and there
are fewer of them. How often a tag comes is its own SamplingInterval's to say.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from asyncua import ua

from lineside_gateway.errors import ConnectError
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import Sink
from lineside_gateway.opcua.monitoring import Item, Monitor
from lineside_gateway.opcua.publishing import Hold, SequenceNumbers, restart_publishing
from lineside_gateway.opcua.routing import Counters, Routes
from lineside_gateway.opcua.standard import StatusCodes, UaError, UaStatusCodeError
from lineside_gateway.opcua.wire import DataChanges, Published, WireError, fetch_missing, plain_published

logger = logging.getLogger(__name__)

KEEP_ALIVE_COUNT = 10
"""Empty publishing intervals until a keep-alive; asyncua's 10,000 would hide a stalled server for minutes."""
SILENCE_KEEP_ALIVES = 3
SILENCE_MIN_S = 5.0
"""Silence longer than both restarts the publish loop, twice as long reconnects."""
MAX_NOTIFICATIONS = 10_000
_NO_SUBSCRIPTION = {
    StatusCodes.BadServiceUnsupported,
    StatusCodes.BadNotImplemented,
    StatusCodes.BadNotSupported,
    StatusCodes.BadTooManySubscriptions,
}


class TagSubscription:
    """Delivers tags, single values and events of one connection to a sink; used from one event loop."""

    def __init__(self, connection: Connection, sink: Sink) -> None:
        self.counters = Counters()
        self._connection = connection
        self._sink = sink
        self._monitor = Monitor(connection)
        self._routes = Routes(sink, self.counters)
        self._id = 0
        self._refused = 0
        self._sequence = SequenceNumbers()
        self._missing: list[int] = []
        self._after_missing: Published | None = None
        self._missing_gap = 0
        self._loss_gaps: list[int] = []
        self._silence_s = SILENCE_MIN_S
        self._heard_at = time.monotonic()
        self._restarted = False
        self._broken: Exception | None = None
        self._hold: Hold | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The server's ids of the subscriptions that are open."""
        return (self._id,) if self._id else ()

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
        """Create the subscription on the server; responses are delivered from now on.

        Where the server has no subscriptions, or none left, ``watch`` says so of each item.
        """
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
        try:
            result = await self._connection.client.uaclient.create_subscription(params, self._on_publish)
        except UaStatusCodeError as e:
            if e.code not in _NO_SUBSCRIPTION:
                raise
            logger.warning("not_subscribed server=%s cause=%s", server.name, e)
            self._refused = int(e.code)
            return
        self._id = result.SubscriptionId
        keep_alive_s = result.RevisedPublishingInterval * result.RevisedMaxKeepAliveCount / 1000
        self._silence_s = max(SILENCE_KEEP_ALIVES * keep_alive_s, SILENCE_MIN_S)
        self._heard_at = time.monotonic()

    async def watch(self, items: Sequence[Item]) -> list[ua.StatusCode]:
        """Create monitored items in batches; one StatusCode per item, in order. Good ones deliver from now on.

        The server sends each item's present value first.
        """
        if self._refused:
            return [ua.StatusCode(ua.UInt32(StatusCodes.BadServiceUnsupported)) for _ in items]
        handles = {self._routes.add(item): item for item in items}
        try:
            codes = await self._monitor.create(self._id, handles)
        except BaseException:
            for handle in handles:  # what the server may have created all the same comes as unknown handles
                self._routes.remove(handle)
            raise
        for handle, code in codes.items():
            if not code.is_good():
                self._routes.remove(handle)
        return [codes[h] for h in handles]

    async def resume(self, gaps: Sequence[int]) -> None:
        """Go on after the session was taken up on a new channel.

        What the server kept comes now, and what was on the way is asked for again; if all of it comes, ``gaps`` of the
        sink are filled.
        """
        self._heard_at, self._restarted = time.monotonic(), False
        self._loss_gaps += gaps
        await restart_publishing(self._connection.client)

    async def guard(self, seconds: float) -> None:
        """Wait ``seconds`` while watching the stream; a silent publish loop is restarted once, then given up.

        Raises:
            ConnectError: The server has sent neither data nor keep-alive for twice its time, or has dropped the
                subscription.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.2))
            if self._broken is not None:
                raise self._broken
            if self._missing:
                await self._fetch_missing()
            await self.release()
            silent = 0.0 if self._refused else time.monotonic() - self._heard_at
            name = self._connection.server.name
            if silent > 2 * self._silence_s:
                raise ConnectError(f"server '{name}' has sent nothing for {silent:.0f} s; connecting again")
            if silent > self._silence_s and not self._restarted:
                self._restarted = True
                self.counters.publish_restarts += 1
                logger.warning("publish_restarted server=%s silent_s=%.1f", name, silent)
                await restart_publishing(self._connection.client)

    def _on_publish(self, result: Published | ua.PublishResult) -> None:
        """Called once per publish response, in order; asyncua's own objects come on the plain path."""
        self._heard_at, self._restarted = time.monotonic(), False
        self._connection.vitals.beat()
        found = plain_published(result) if isinstance(result, ua.PublishResult) else result
        if self._hold is not None:
            self._hold.add(found)
        else:
            self._deliver(found)

    def _deliver(self, found: Published) -> None:
        try:
            self._take(found)
        except Exception as e:  # noqa: BLE001  # asyncua would log and forget it; guard() raises it in the session loop
            self._broken = e

    def _take(self, found: Published) -> None:
        if found.error:
            self.counters.undecodable += 1
            logger.warning("response_undecodable server=%s cause=%s", self._connection.server.name, found.error)
        if found.sequence_number:
            missing = self._sequence.check(found.sequence_number, has_data=found.has_data)
            if missing:
                self.counters.sequence_gaps += 1
                self._missing += missing
                if self._hold is None:  # what follows waits, so that nothing of what is asked for comes late
                    self._missing_gap = self._sink.gap(self._connection.server.name, "a publish response was lost")
                    self._after_missing, self._hold = found, Hold()
                    return
        self._take_response(found)
        if found.has_data and self._loss_gaps and not self._missing:
            for gap in self._loss_gaps:
                self._sink.filled(gap)
            self._loss_gaps.clear()

    def _take_response(self, found: Published) -> None:
        self.counters.responses += 1
        self._take_notifications(found.notifications)
        if found.notifications and not found.more:
            self._flush()

    def _flush(self) -> None:
        self._sink.flush(self._connection.server.name, self._routes.newest_us, self._routes.served_us)

    def _take_notifications(self, notifications: Sequence[object]) -> None:
        for notification in notifications:
            if isinstance(notification, DataChanges):
                self._routes.take(notification)
            elif isinstance(notification, ua.EventNotificationList):
                self._routes.take_events(notification.Events or [])
            elif isinstance(notification, ua.StatusChangeNotification) and notification.Status.is_bad():
                name = self._connection.server.name
                raise ConnectError(
                    f"server '{name}' ended the subscription ({notification.Status.name}); connecting again"
                )

    async def _fetch_missing(self) -> None:
        """Ask for the messages that a gap left out, while the server still keeps them, then go on with what waits."""
        whole = True
        for number_ in self._missing:
            if self._hold is not None and self._hold.full:
                whole = False
                break
            found = await self._republished(number_)
            if found:
                self.counters.republished += 1
                self._take_notifications(found)
                self._flush()
            whole = whole and bool(found)
        self._missing.clear()
        if whole:
            self._sink.filled(self._missing_gap)
        else:
            self._loss_gaps.clear()  # they stay open until the next values
        if self._after_missing is not None:
            result, self._after_missing = self._after_missing, None
            self._take_response(result)

    async def _republished(self, number_: int) -> Sequence[object]:
        """What a message held, nothing where the server keeps it no longer."""
        try:
            return await fetch_missing(self._connection.client, self._id, number_)
        except WireError:
            self.counters.undecodable += 1
        except UaError:
            pass  # no longer kept: counted as a gap and not as republished
        return ()
