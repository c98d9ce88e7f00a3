"""Monitored items: what each is for, and how a server is asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from asyncua import ua

from lineside_gateway.opcua.connection import Connection, Limit
from lineside_gateway.opcua.delivery import TagNode
from lineside_gateway.opcua.standard import AttributeIds, StatusCodes
from lineside_gateway.settings import Report, TagSampling

_NO_FILTER = {
    StatusCodes.BadMonitoredItemFilterUnsupported,
    StatusCodes.BadMonitoredItemFilterInvalid,
    StatusCodes.BadFilterNotAllowed,
}

DataValueHandler = Callable[[ua.DataValue], None]
EventHandler = Callable[[list[ua.Variant]], None]


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


class Monitor:
    """Creates the monitored items of one connection, in batches that the server takes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, subscription_id: int, items: Mapping[int, Item]) -> dict[int, ua.StatusCode]:
        """Create ``items`` by client handle; one StatusCode each.

        A server that knows no timestamp trigger is asked again without it.
        """
        codes = await self._request(subscription_id, items, filtered=True)
        again = {h: items[h] for h, c in codes.items() if c.value in _NO_FILTER and items[h].event_filter is None}
        return codes | await self._request(subscription_id, again, filtered=False)

    async def _request(
        self, subscription_id: int, items: Mapping[int, Item], *, filtered: bool
    ) -> dict[int, ua.StatusCode]:
        async def create(part: Sequence[int]) -> list[ua.StatusCode]:
            params = ua.CreateMonitoredItemsParameters()
            params.SubscriptionId = ua.UInt32(subscription_id)
            params.TimestampsToReturn = ua.TimestampsToReturn.Both
            params.ItemsToCreate = [self._create_request(h, items[h], filtered) for h in part]
            results = await self._connection.client.uaclient.create_monitored_items(params)
            return [r.StatusCode for r in results]

        codes = await self._connection.batched(Limit.MONITOR, list(items), create)
        return dict(zip(items, codes, strict=True))

    def _create_request(self, handle: int, item: Item, filtered: bool) -> ua.MonitoredItemCreateRequest:
        server = self._connection.server
        request = ua.MonitoredItemCreateRequest()
        request.ItemToMonitor.NodeId = item.node_id
        request.ItemToMonitor.AttributeId = AttributeIds.Value
        request.MonitoringMode = ua.MonitoringMode.Reporting
        parameters = request.RequestedParameters
        parameters.ClientHandle = ua.UInt32(handle)
        own = server.sampling_of("" if item.tag is None else item.tag.tag)
        interval = own.sampling_interval_ms
        parameters.SamplingInterval = server.sampling_interval_ms if interval is None else interval
        parameters.QueueSize = ua.UInt32(item.queue_size or own.queue_size or server.queue_size)
        parameters.DiscardOldest = True
        if item.event_filter is not None:
            request.ItemToMonitor.AttributeId = AttributeIds.EventNotifier
            parameters.SamplingInterval = 0
            parameters.Filter = item.event_filter
        elif filtered:
            parameters.Filter = _filter(server.report, own)
        return request


def _filter(report: Report, sampling: TagSampling) -> ua.DataChangeFilter | None:
    """What is a change worth reporting (OPC UA Part 4, 7.22.2); None where the server's default says the same."""
    if sampling.deadband is not None:
        return ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Absolute, sampling.deadband)
    if sampling.deadband_percent is not None:
        percent = sampling.deadband_percent
        return ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Percent, percent)
    return ua.DataChangeFilter(ua.DataChangeTrigger.StatusValueTimestamp) if report is Report.TIMESTAMP else None
