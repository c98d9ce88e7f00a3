"""Subscriptions of the hosted server: one publish encodes each changed sample once for all subscribers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.address_space import AddressSpace
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.subscription_service import SubscriptionService
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from lineside_gateway.hosting.monitored_items import HostedMonitoredItems, MonitoredValue

if TYPE_CHECKING:
    from asyncua.server.internal_server import InternalServer
    from asyncua.server.uaprocessor import PublishRequestData

_DATA_CHANGE = ua.NodeId(ua.Int32(ObjectIds.DataChangeNotification_Encoding_DefaultBinary))
_NO_DIAGNOSTICS = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class SubscriptionLimits:
    """What one server grants its clients; requests beyond are revised down or refused."""

    shortest_publishing_ms: float = 20.0
    longest_lifetime_s: float = 600.0
    subscriptions: int = 200
    subscriptions_per_session: int = 20
    items_per_subscription: int = 20_000
    queue_size: int = 1_000
    notifications_per_publish: int = 10_000
    unacknowledged: int = 100


class HostedSubscription(InternalSubscription):
    """One client's subscription; ``_news`` are the items with something to say, in the order they first spoke."""

    def __init__(
        self, data: ua.CreateSubscriptionResult, aspace: AddressSpace, limits: SubscriptionLimits,
        most_per_publish: int, *args: Any, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(data, aspace, *args, **kwargs)
        self.most_items = limits.items_per_subscription
        self.monitored_item_srv = HostedMonitoredItems(self, aspace)
        self._most_per_publish = most_per_publish
        self._news: list[MonitoredValue] = []
        self._immediate: asyncio.Task[None] | None = None

    def has_news(self, item: MonitoredValue) -> None:
        """Note that ``item`` has its first sample since it was last published."""
        self._news.append(item)
        if self.data.RevisedPublishingInterval <= 0.0 and self._immediate is None:
            self._immediate = asyncio.get_running_loop().create_task(self._publish_now())

    async def _publish_now(self) -> None:
        """A subscription of the server itself with interval 0 hears at once; clients are held to an interval."""
        self._immediate = None
        await self._trigger_publish()

    def has_published_results(self) -> bool:
        """Whether there is something to publish, or it is time for a keep-alive."""
        return bool(self._news and self._publishing_enabled) or super().has_published_results()

    async def publish_results(self, requestdata: PublishRequestData | None = None) -> bool:
        """Publish what waits, in several messages where one would be too large; False where nothing was sent."""
        sent = await super().publish_results(requestdata)
        while sent and self._news and self._publishing_enabled and await super().publish_results():
            pass
        return sent

    def _pop_publish_result(self) -> ua.PublishResult:
        result = super()._pop_publish_result()
        result.MoreNotifications = bool(self._news and self._publishing_enabled)
        return result

    def _pop_triggered_datachanges(self, result: ua.PublishResult) -> None:
        if not self._news:
            return
        items, room = self._news, self._most_per_publish
        if sum(len(item.waiting) for item in items) <= room:
            self._news = []
        else:
            items = self._first(room)
        notification: object
        if self.pub_request_callback is None:
            notification = _as_objects(items)
        else:
            notification = ua.ExtensionObject(_DATA_CHANGE, _encoded(items))
        for item in items:
            item.waiting.clear()
        result.NotificationMessage.NotificationData.append(notification)

    def _first(self, room: int) -> list[MonitoredValue]:
        """Take the items whose samples fit into ``room``, at least one; the rest stays."""
        taken = count = 0
        for item in self._news:
            count += len(item.waiting)
            if taken and count > room:
                break
            taken += 1
        items, self._news = self._news[:taken], self._news[taken:]
        return items


def _encoded(items: Iterable[MonitoredValue]) -> ua.ByteString:
    """A DataChangeNotification as OPC UA Binary (Part 4, 7.25.2): handle and DataValue per sample."""
    parts = [b""]
    count = 0
    for item in items:
        prefix = item.prefix
        for sample in item.waiting:
            parts.append(prefix)
            parts.append(sample.encoded)
            count += 1
    parts[0] = count.to_bytes(4, "little")
    parts.append(_NO_DIAGNOSTICS)
    return ua.ByteString(b"".join(parts))


def _as_objects(items: Iterable[MonitoredValue]) -> ua.DataChangeNotification:
    notification = ua.DataChangeNotification()
    for item in items:
        for sample in item.waiting:
            made = ua.MonitoredItemNotification()
            made.ClientHandle = ua.IntegerId(item.client_handle or 0)
            made.Value = sample
            notification.MonitoredItems.append(made)
    return notification


class HostedSubscriptions(SubscriptionService):
    """Creates ``HostedSubscription`` within limits; everything else is asyncua's."""

    def __init__(self, aspace: AddressSpace, iserver: InternalServer, limits: SubscriptionLimits) -> None:
        super().__init__(aspace, iserver)
        self.limits = limits

    async def create_subscription(
        self,
        params: ua.CreateSubscriptionParameters,
        callback: Callable[..., Any],
        session_id: ua.NodeId,
        request_callback: Callable[..., Any] | None = None,
    ) -> ua.CreateSubscriptionResult:
        """Create a subscription; interval, lifetime and keep-alive are revised to what the limits grant.

        Raises:
            ServiceError: BadTooManySubscriptions.
        """
        of_session = sum(sub.session_id == session_id for sub in self.subscriptions.values())
        external = request_callback is not None
        if external and (
            len(self.subscriptions) >= self.limits.subscriptions or of_session >= self.limits.subscriptions_per_session
        ):
            raise ServiceError(StatusCodes.BadTooManySubscriptions)
        result = self._revised(params, external=external)
        subscription = HostedSubscription(
            result,
            self.aspace,
            self.limits,
            min(params.MaxNotificationsPerPublish or math.inf, self.limits.notifications_per_publish),  # type: ignore[arg-type]
            callback,
            session_id,
            request_callback=request_callback,
            delete_callback=lambda: self.subscriptions.pop(result.SubscriptionId, None),
            no_acks_limit=self.limits.unacknowledged,
            max_queue_size=self.limits.queue_size,
            publishing_enabled=params.PublishingEnabled,
        )
        await subscription.start()
        self.subscriptions[result.SubscriptionId] = subscription
        return result

    def _revised(self, params: ua.CreateSubscriptionParameters, *, external: bool) -> ua.CreateSubscriptionResult:
        """Interval, keep-alive and lifetime as granted (Part 4, 5.14.2): the lifetime holds three keep-alives."""
        result = ua.CreateSubscriptionResult()
        interval = float(params.RequestedPublishingInterval)
        if external:
            shortest, longest = self.limits.shortest_publishing_ms, self.limits.longest_lifetime_s * 1000 / 3
            interval = min(max(interval, shortest), longest) if math.isfinite(interval) else shortest
        result.RevisedPublishingInterval = ua.Duration(interval)
        most = int(self.limits.longest_lifetime_s * 1000 / interval) if interval > 0 else 1_000_000
        keep_alive = min(max(1, params.RequestedMaxKeepAliveCount), max(1, most // 3))
        lifetime = min(max(params.RequestedLifetimeCount, 3 * keep_alive), max(most, 3))
        result.RevisedMaxKeepAliveCount = ua.Counter(keep_alive if external else params.RequestedMaxKeepAliveCount)
        result.RevisedLifetimeCount = ua.Counter(lifetime if external else params.RequestedLifetimeCount)
        self._sub_id_counter += 1
        result.SubscriptionId = ua.IntegerId(self._sub_id_counter)
        return result
