"""The hosted address space: a write goes straight to the node and to those who monitor it."""

from __future__ import annotations

from collections.abc import Iterable

from asyncua import ua
from asyncua.server.address_space import AddressSpace, AttributeValue, NodeData
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from lineside_gateway.hosting.monitored_items import MonitoredValue
from lineside_gateway.hosting.samples import Sample

_GOOD = ua.StatusCode()
_NULL = ua.Variant(None, ua.VariantType.Null)
_BAD_BITS = 0x8000_0000  # severity Bad or reserved, OPC UA Part 4, 7.39.1
NodeValue = tuple[ua.NodeId, ua.DataValue]


class HostedAddressSpace(AddressSpace):
    """asyncua's address space with a Value write that awaits nothing and copies nothing.

    What is written is from then on the server's: the writer must not change it. Services, history and other
    attributes go through asyncua's own code.
    """

    async def write_attribute_value(self, nodeid: ua.NodeId, attr: AttributeIds, value: ua.DataValue) -> ua.StatusCode:
        """Write as asyncua does; Values by the short way."""
        if attr != AttributeIds.Value:
            return await super().write_attribute_value(nodeid, attr, value)
        return self.set_value(nodeid, value)

    def set_values(self, values: Iterable[NodeValue]) -> None:
        """Write many Values in order; subscribers see them together in their next publish.

        Raises:
            UaStatusCodeError: A node is unknown or its data type another; those before it are written.
        """
        for node_id, value in values:
            status = self.set_value(node_id, value)
            if status is not _GOOD:
                status.check()

    def set_value(self, node_id: ua.NodeId, value: ua.DataValue) -> ua.StatusCode:
        """Write one Value and notify its monitored items; a Bad one loses its value (Part 4, 7.11)."""
        node = self._nodes.get(node_id)
        if node is None:
            return _status(StatusCodes.BadNodeIdUnknown)
        held = node.attributes.get(AttributeIds.Value)
        if held is None:
            return _status(StatusCodes.BadAttributeIdInvalid)
        sample = Sample.of(value)
        status = sample.StatusCode
        if status is not None and status.value >= _BAD_BITS:
            sample.Value = _NULL
        elif not self._fits(sample, held, node):
            return _status(StatusCodes.BadTypeMismatch)
        if held.value_setter is not None:
            held.value_setter(node, AttributeIds.Value, sample)
        else:
            held.value = sample
            held.value_callback = None
        for monitored in held.datachange_callbacks.values():
            if isinstance(monitored, MonitoredValue):
                monitored.offer(sample)
        return _GOOD

    def _fits(self, value: ua.DataValue, held: AttributeValue, node: NodeData) -> bool:
        before, after = held.value, value.Value
        if before is not None and before.Value is not None and after is not None:
            expected = before.Value.VariantType
            if expected is after.VariantType and expected is not ua.VariantType.Null:
                return True
        return self._is_expected_variant_type(value, held, node)


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
