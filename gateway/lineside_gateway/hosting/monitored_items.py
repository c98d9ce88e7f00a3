"""Monitored items of hosted nodes: what changed since the last publish, as references to the samples themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.server.address_space import AddressSpace
from asyncua.server.monitored_item_service import MonitoredItemData, MonitoredItemService
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaprotocol_auto import DataChangeFilter, EventFilter  # what is decoded; ua.* are its subclasses

from lineside_gateway.hosting.samples import Sample

if TYPE_CHECKING:
    from lineside_gateway.hosting.subscriptions import HostedSubscription

OVERFLOW = 0x480
"""InfoType DataValue and the Overflow bit of a StatusCode (OPC UA Part 4, 7.39.1)."""
AT_ONCE = 100
"""Items created before other clients get their turn, some 10 ms."""
_NUMBERS = (int, float)


class MonitoredValue(MonitoredItemData):
    """One monitored attribute of one subscription. ``waiting`` holds what the next publish will carry, oldest first."""

    def __init__(self, subscription: HostedSubscription, common: MonitoredItemData, discard_oldest: bool) -> None:
        super().__init__()
        self.client_handle = common.client_handle
        self.monitored_item_id = common.monitored_item_id
        self.mode = common.mode
        self.read_value_id = common.read_value_id
        self.queue_size = max(1, common.queue_size)
        self.filter = common.filter if isinstance(common.filter, DataChangeFilter) else None
        self.prefix = int(common.client_handle or 0).to_bytes(4, "little")
        self.waiting: list[Sample] = []
        self._subscription = subscription
        self._discard_oldest = discard_oldest
        self._last: Sample | None = None

    async def __call__(self, _handle: int, value: ua.DataValue, _error: ua.StatusCode | None = None) -> None:
        """Take a change that asyncua's own code announces: any attribute but Value."""
        self.offer(Sample.of(value))

    def offer(self, sample: Sample) -> None:
        """Keep ``sample`` for the next publish if the item reports and its filter lets it pass."""
        if self.mode is ua.MonitoringMode.Disabled:
            return
        last, self._last = self._last, sample
        if last is not None and not self._changed(last, sample):
            return
        if self.mode is not ua.MonitoringMode.Reporting:
            return
        waiting = self.waiting
        if not waiting:
            waiting.append(sample)
            self._subscription.has_news(self)
        elif self.queue_size == 1:
            waiting[0] = sample
        elif len(waiting) < self.queue_size:
            waiting.append(sample)
        elif self._discard_oldest:
            del waiting[0]
            waiting[0] = _overflowed(waiting[0])
            waiting.append(sample)
        else:
            waiting[-1] = _overflowed(sample)

    def report(self, mode: ua.MonitoringMode) -> None:
        """Change the MonitoringMode; a disabled item forgets what it had queued (Part 4, 5.13.4)."""
        self.mode = mode
        if mode is ua.MonitoringMode.Disabled:
            self.waiting.clear()
            self._last = None

    def _changed(self, last: Sample, sample: Sample) -> bool:
        """Whether the filter's trigger and deadband let ``sample`` pass (Part 4, 7.22.2)."""
        rule = self.filter
        before, after = last.StatusCode, sample.StatusCode
        if before is not after and (before is None or after is None or before.value != after.value):
            return True
        if rule is not None:
            if rule.Trigger is ua.DataChangeTrigger.Status:
                return False
            if rule.Trigger is ua.DataChangeTrigger.StatusValueTimestamp and (
                last.SourceTimestamp != sample.SourceTimestamp
            ):
                return True
        return _differs(last.Value, sample.Value, rule)


class HostedMonitoredItems(MonitoredItemService):
    """Monitored items of one subscription: data changes by ``MonitoredValue``, events by asyncua."""

    isub: HostedSubscription

    def __init__(self, isub: HostedSubscription, aspace: AddressSpace) -> None:
        super().__init__(isub, aspace)
        self.most = isub.most_items

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """Create what fits; past the limit of the subscription BadTooManyMonitoredItems."""
        room = max(0, self.most - len(self._monitored_items))
        asked = params.ItemsToCreate
        results: list[ua.MonitoredItemCreateResult] = []
        for start in range(0, min(room, len(asked)), AT_ONCE):
            params.ItemsToCreate = asked[start : min(room, start + AT_ONCE)]
            results += await super().create_monitored_items(params)
            await asyncio.sleep(0)
        for _ in asked[room:]:
            results.append(_refused(StatusCodes.BadTooManyMonitoredItems))
        return results

    def event_items(self, node_id: ua.NodeId) -> list[int]:
        """Ids of the items that hear the events of ``node_id``."""
        return list(self._monitored_events.get(node_id, ()))

    async def _trigger_event(self, event: Any, mid: int) -> None:
        """Queue an event that the item's filter lets pass; begin and end of a refresh pass any (Part 9, 4.5)."""
        item = self._monitored_items.get(mid)
        if item is None or not getattr(event, "unfiltered", False):
            await super()._trigger_event(event, mid)
            return
        told = ua.EventFieldList()
        told.ClientHandle = ua.IntegerId(item.client_handle or 0)
        told.EventFields = event.to_event_fields(item.filter.SelectClauses)
        await self.isub.enqueue_event(mid, told, item.queue_size)

    async def _create_data_change_monitored_item(
        self, params: ua.MonitoredItemCreateRequest
    ) -> ua.MonitoredItemCreateResult:
        asked, node = params.RequestedParameters, params.ItemToMonitor
        if (problem := _filter_problem(asked.Filter)) is not None:
            return _refused(problem)
        result, common = self._make_monitored_item_common(params)
        item = MonitoredValue(self.isub, common, bool(asked.DiscardOldest))
        result.StatusCode, handle = self.aspace.add_datachange_callback(node.NodeId, node.AttributeId, item)
        if not result.StatusCode.is_good():
            return result
        item.callback_handle = handle
        self._commit_monitored_item(result, item)
        self._monitored_datachange[handle] = result.MonitoredItemId
        item.offer(Sample.of(self.aspace.read_attribute_value(node.NodeId, node.AttributeId)))
        return result

    def _modify_monitored_item(self, params: ua.MonitoredItemModifyRequest) -> ua.MonitoredItemModifyResult:
        result = ua.MonitoredItemModifyResult()
        item = self._monitored_items.get(params.MonitoredItemId)
        asked = params.RequestedParameters
        problem = StatusCodes.BadMonitoredItemIdInvalid if item is None else None
        if isinstance(item, MonitoredValue):
            problem = _filter_problem(asked.Filter)
        if item is None or problem is not None:
            result.StatusCode = ua.StatusCode(ua.UInt32(problem or StatusCodes.BadMonitoredItemIdInvalid))
            return result
        result.RevisedSamplingInterval = self.isub.data.RevisedPublishingInterval
        result.RevisedQueueSize = ua.Counter(max(1, self._revise_queue_size(asked.QueueSize)))
        item.queue_size = result.RevisedQueueSize
        if isinstance(asked.Filter, DataChangeFilter | EventFilter):
            item.filter = asked.Filter
        item.client_handle = asked.ClientHandle
        if isinstance(item, MonitoredValue):
            item.prefix = int(asked.ClientHandle).to_bytes(4, "little")
            del item.waiting[: -item.queue_size]
        return result

    async def _set_monitoring_mode(self, mode: ua.MonitoringMode, mid: int) -> ua.StatusCode:
        item = self._monitored_items.get(mid)
        if not isinstance(item, MonitoredValue) or item.read_value_id is None:
            return await super()._set_monitoring_mode(mode, mid)
        was, place = item.mode, item.read_value_id
        item.report(mode)
        if was is ua.MonitoringMode.Disabled and mode is not was:
            item.offer(Sample.of(self.aspace.read_attribute_value(place.NodeId, place.AttributeId)))
        return ua.StatusCode()

    def _delete_monitored_items(self, mid: int) -> ua.StatusCode:
        item = self._monitored_items.get(mid)
        if not isinstance(item, MonitoredValue) or item.callback_handle is None:
            return super()._delete_monitored_items(mid)
        self.aspace.delete_datachange_callback(item.callback_handle)
        self._monitored_datachange.pop(item.callback_handle, None)
        del self._monitored_items[mid]
        item.report(ua.MonitoringMode.Disabled)
        return ua.StatusCode()


def _refused(status: int) -> ua.MonitoredItemCreateResult:
    result = ua.MonitoredItemCreateResult()
    result.StatusCode = ua.StatusCode(ua.UInt32(status))
    return result


def _filter_problem(rule: object) -> int | None:
    """Why a filter cannot be applied to a Variable; asyncua would fail at every change instead."""
    if rule is None or (isinstance(rule, ua.ExtensionObject) and rule.Body is None):
        return None
    if not isinstance(rule, DataChangeFilter):
        return StatusCodes.BadMonitoredItemFilterUnsupported
    if rule.DeadbandType == ua.DeadbandType.Percent:  # it would need an EURange on every node
        return StatusCodes.BadMonitoredItemFilterUnsupported
    return None


def _differs(before: ua.Variant | None, after: ua.Variant | None, rule: Any) -> bool:
    if before is None or after is None or before.VariantType is not after.VariantType:
        return before is not after
    old, new = before.Value, after.Value
    deadband = rule is not None and rule.DeadbandType == ua.DeadbandType.Absolute
    if deadband and isinstance(old, _NUMBERS) and isinstance(new, _NUMBERS):
        return bool(abs(new - old) > rule.DeadbandValue)
    return old is not new and bool(old != new)


def _overflowed(sample: Sample) -> Sample:
    marked = Sample.of(ua.DataValue(sample.Value, sample.StatusCode, sample.SourceTimestamp, sample.ServerTimestamp))
    status = 0 if sample.StatusCode is None else sample.StatusCode.value
    marked.StatusCode = ua.StatusCode(ua.UInt32(status | OVERFLOW))
    return marked
