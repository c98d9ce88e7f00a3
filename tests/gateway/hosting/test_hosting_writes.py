"""Writes, monitored items and publishing of the hosted server, seen by a plain OPC UA client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from asyncua import Client, Server, ua

from lineside_gateway.hosting import Access, Limits, Rights, SubscriptionLimits, hosting_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime(2026, 1, 5, 7, 0, 0, 123456, tzinfo=UTC)
LIMITS = SubscriptionLimits(
    shortest_publishing_ms=20.0, subscriptions_per_session=3, items_per_subscription=50, notifications_per_publish=1000
)


@dataclass
class Site:
    """A hosted server with Variables v0 .. v99 and a client."""

    server: Server
    client: Client
    index: int
    arrived: list[ua.PublishResult] = field(default_factory=list)

    def node(self, i: int) -> ua.NodeId:
        return ua.NodeId(f"v{i}", self.index)

    def write(self, i: int, value: object, kind: ua.VariantType = ua.VariantType.Double, **more: object) -> None:
        self.server.iserver.aspace.set_values([(self.node(i), ua.DataValue(ua.Variant(value, kind), **more))])

    async def subscribe(self, interval_ms: float = 20.0, most: int = 0) -> ua.CreateSubscriptionResult:
        self.arrived.clear()
        params = ua.CreateSubscriptionParameters(interval_ms, 3000, 50, most, True, 0)
        return await self.client.uaclient.create_subscription(params, self.arrived.append)

    async def monitor(
        self, subscription: int, *nodes: int, queue: int = 1, oldest: bool = True, rule: object = None
    ) -> list[ua.MonitoredItemCreateResult]:
        items = []
        for i in nodes:
            asked = ua.MonitoringParameters(i, 0, rule, queue, oldest)
            read = ua.ReadValueId(self.node(i), ua.AttributeIds.Value)
            items.append(ua.MonitoredItemCreateRequest(read, ua.MonitoringMode.Reporting, asked))
        params = ua.CreateMonitoredItemsParameters(subscription, ua.TimestampsToReturn.Both, items)
        return await self.client.uaclient.create_monitored_items(params)

    def seen(self) -> list[tuple[int, ua.DataValue]]:
        """Handle and value of all that has arrived, in order."""
        return [
            (int(item.ClientHandle), item.Value)
            for result in self.arrived
            for notification in result.NotificationMessage.NotificationData
            for item in notification.MonitoredItems
        ]

    async def settle(self) -> None:
        await asyncio.sleep(0.12)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_site() -> AsyncIterator[Site]:
    server = hosting_server(Access(limits=Limits(subscriptions=LIMITS)), Rights())
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/hosting")
    index = await server.register_namespace("urn:test")
    for i in range(100):
        await server.nodes.objects.add_variable(ua.NodeId(f"v{i}", index), f"v{i}", 0.0, ua.VariantType.Double)
    await server.start()
    assert server.bserver is not None
    async with Client(f"opc.tcp://127.0.0.1:{server.bserver.port}/hosting") as client:
        yield Site(server, client, index)
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def site(module_site: Site) -> AsyncIterator[Site]:
    yield module_site
    subscriptions = list(module_site.server.iserver.subscription_service.subscriptions)
    await module_site.client.uaclient.delete_subscriptions(subscriptions)


async def test_latest_value_wins_with_a_queue_of_one(site: Site) -> None:
    """Between two publishes a queue of one keeps the last value, in the order in which nodes first changed."""
    created = await site.subscribe()
    await site.monitor(created.SubscriptionId, 1, 2)
    await site.settle()
    site.arrived.clear()
    site.write(2, 1.0, SourceTimestamp=NOW)
    site.write(1, 2.0)
    site.write(2, 3.0, SourceTimestamp=NOW)
    await site.settle()
    seen = site.seen()
    assert [(h, v.Value.Value) for h, v in seen] == [(2, 3.0), (1, 2.0)]
    assert seen[0][1].SourceTimestamp == NOW


async def test_a_full_queue_says_so(site: Site) -> None:
    """A queue of two that takes four keeps the newest two and marks the gap, or with discard-newest the oldest."""
    created = await site.subscribe()
    await site.monitor(created.SubscriptionId, 3, queue=2)
    await site.monitor(created.SubscriptionId, 4, queue=2, oldest=False)
    await site.settle()
    site.arrived.clear()
    for value in (1.0, 2.0, 3.0, 4.0):
        site.write(3, value)
        site.write(4, value)
    await site.settle()
    by_node = {h: [(v.Value.Value, v.StatusCode.value & 0x480) for k, v in site.seen() if k == h] for h in (3, 4)}
    assert by_node == {3: [(3.0, 0x480), (4.0, 0)], 4: [(1.0, 0), (4.0, 0x480)]}


async def test_what_does_not_change_is_not_sent(site: Site) -> None:
    """The same value again is silent by default, and speaks where the filter asks for timestamps; deadbands hold."""
    created = await site.subscribe()
    stamps = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValueTimestamp, ua.DeadbandType.None_, 0)
    deadband = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Absolute, 5.0)
    await site.monitor(created.SubscriptionId, 5)
    await site.monitor(created.SubscriptionId, 6, rule=stamps)
    await site.monitor(created.SubscriptionId, 7, rule=deadband)
    await site.settle()
    site.arrived.clear()
    for i in (5, 6, 7):
        site.write(i, 0.0, SourceTimestamp=NOW)
    await site.settle()
    assert [h for h, _ in site.seen()] == [6]
    site.arrived.clear()
    site.write(7, 4.0)
    site.write(7, 10.0, StatusCode=ua.StatusCode(ua.StatusCodes.UncertainLastUsableValue))
    site.write(5, None, ua.VariantType.Null, StatusCode=ua.StatusCode(ua.StatusCodes.BadNoCommunication))
    await site.settle()
    assert [(h, v.StatusCode.name) for h, v in site.seen()] == [
        (7, "UncertainLastUsableValue"),
        (5, "BadNoCommunication"),
    ]
    site.write(5, 0.0)


async def test_filters_that_cannot_be_kept_are_refused(site: Site) -> None:
    """An event filter or a percent deadband on a Variable is refused when asked for, not at every change."""
    created = await site.subscribe()
    percent = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Percent, 5.0)
    for rule in (percent, ua.EventFilter()):
        (result,) = await site.monitor(created.SubscriptionId, 8, rule=rule)
        assert result.StatusCode.name == "BadMonitoredItemFilterUnsupported"


async def test_items_can_be_disabled_changed_and_deleted(site: Site) -> None:
    """A disabled item is silent and starts over when enabled; a deleted one stays silent; unknown ids are told."""
    created = await site.subscribe()
    one, two = await site.monitor(created.SubscriptionId, 9, 10)
    ua_client = site.client.uaclient
    mode = ua.SetMonitoringModeParameters(created.SubscriptionId, ua.MonitoringMode.Disabled, [one.MonitoredItemId])
    await ua_client.set_monitoring_mode(mode)
    deleted = ua.DeleteMonitoredItemsParameters(created.SubscriptionId, [two.MonitoredItemId, 999_999])
    answers = await ua_client.delete_monitored_items(deleted)
    assert [a.name for a in answers] == ["Good", "BadMonitoredItemIdInvalid"]
    await site.settle()
    site.arrived.clear()
    site.write(9, 5.0)
    site.write(10, 5.0)
    await site.settle()
    assert site.seen() == []
    changed = ua.MonitoredItemModifyRequest(one.MonitoredItemId, ua.MonitoringParameters(77, 0, None, 5, True))
    unknown = ua.MonitoredItemModifyRequest(999_999, ua.MonitoringParameters(1, 0, None, 5, True))
    params = ua.ModifyMonitoredItemsParameters(created.SubscriptionId, ua.TimestampsToReturn.Both, [changed, unknown])
    results = await ua_client.modify_monitored_items(params)
    assert [r.StatusCode.name for r in results] == ["Good", "BadMonitoredItemIdInvalid"]
    mode.MonitoringMode = ua.MonitoringMode.Reporting
    await ua_client.set_monitoring_mode(mode)
    await site.settle()
    assert [(h, v.Value.Value) for h, v in site.seen()] == [(77, 5.0)]


async def test_publishes_are_split_at_the_size_asked_for(site: Site) -> None:
    """Ten changes with at most four notifications per publish arrive as 4, 4 and 2, the first two announcing more."""
    created = await site.subscribe(most=4)
    await site.monitor(created.SubscriptionId, *range(20, 30))
    await site.settle()
    site.arrived.clear()
    for i in range(20, 30):
        site.write(i, 1.0)
    await site.settle()
    sizes = [(len(r.NotificationMessage.NotificationData[0].MonitoredItems), r.MoreNotifications) for r in site.arrived]
    assert sizes == [(4, True), (4, True), (2, False)]


async def test_requests_are_held_to_limits(site: Site) -> None:
    """Intervals are revised up, lifetimes down; the fourth subscription and the 51st item are refused."""
    created = await site.subscribe(interval_ms=0.0)
    assert created.RevisedPublishingInterval == 20.0
    assert created.RevisedLifetimeCount * 0.02 <= 600
    results = await site.monitor(created.SubscriptionId, *range(60))
    assert [r.StatusCode.name for r in results[48:52]] == ["Good", "Good", *["BadTooManyMonitoredItems"] * 2]
    await site.subscribe(interval_ms=math.nan)
    await site.subscribe()
    with pytest.raises(ua.uaerrors.BadTooManySubscriptions):
        await site.subscribe()


async def test_the_server_itself_can_subscribe(site: Site) -> None:
    """A subscription of the server's own, which history uses, gets objects and values."""
    got: list[object] = []

    class Handler:
        def datachange_notification(self, _node: object, value: object, _data: object) -> None:
            got.append(value)

    subscription = await site.server.create_subscription(20, Handler())
    await subscription.subscribe_data_change(site.server.get_node(site.node(40)))
    site.write(40, 8.0)
    await site.settle()
    await subscription.delete()
    assert got[-1] == 8.0


async def test_writes_are_checked(site: Site) -> None:
    """A wrong data type and an unknown node are refused with their StatusCode; a Bad value loses its number."""
    with pytest.raises(ua.uaerrors.BadTypeMismatch):
        site.write(41, 1, ua.VariantType.Int32)
    with pytest.raises(ua.uaerrors.BadNodeIdUnknown):
        site.write(1000, 1.0)
    site.write(41, 1.0, StatusCode=ua.StatusCode(ua.StatusCodes.BadNoData))
    shown = await site.client.get_node(site.node(41)).read_data_value(raise_on_bad_status=False)
    assert (shown.Value.Value, shown.StatusCode.name) == (None, "BadNoData")
    with pytest.raises(ua.uaerrors.BadTypeMismatch):
        site.write(41, "text", ua.VariantType.String)
