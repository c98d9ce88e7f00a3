"""Objects and Variables of companion types, with NodeIds of our own namespace."""

from __future__ import annotations

from dataclasses import dataclass

from asyncua import ua

from lineside_gateway.publish.nodeids import ObjectIds, StatusCodes, standard, status_code
from lineside_gateway.publish.variables import Builder

_DATA_VARIABLE = standard(ObjectIds.BaseDataVariableType)


@dataclass(frozen=True, slots=True)
class Part:
    """A Variable of an imported type: its BrowseName's namespace and what it holds. ``rank`` 1 is an array."""

    name: str
    index: int
    data_type: ua.NodeId
    variant: ua.VariantType
    rank: int = ua.ValueRank.Scalar
    type_definition: ua.NodeId = _DATA_VARIABLE


async def add_object(
    builder: Builder, parent: ua.NodeId, identifier: str, name: str, index: int, type_definition: ua.NodeId,
    *, organizes: bool = False,
) -> ua.NodeId:  # fmt: skip
    """An Object below ``parent`` with a BrowseName of namespace ``index``; the one that is there already."""
    node_id = builder.node_id(identifier)
    if builder.server.iserver.aspace.get(node_id) is None:
        item = _item(parent, node_id, ua.QualifiedName(name, index), type_definition)
        item.NodeClass = ua.NodeClass.Object
        item.ReferenceTypeId = standard(ObjectIds.Organizes if organizes else ObjectIds.HasComponent)
        item.NodeAttributes = ua.ObjectAttributes(DisplayName=ua.LocalizedText(name), EventNotifier=ua.Byte(0))
        await _add(builder, item)
    return node_id


async def add_variable(builder: Builder, parent: ua.NodeId, identifier: str, part: Part) -> ua.NodeId:
    """A read-only Variable below ``parent`` that waits for its first value."""
    node_id = builder.node_id(identifier)
    item = _item(parent, node_id, ua.QualifiedName(part.name, part.index), part.type_definition)
    item.NodeClass = ua.NodeClass.Variable
    is_property = part.type_definition == standard(ObjectIds.PropertyType)
    item.ReferenceTypeId = standard(ObjectIds.HasProperty if is_property else ObjectIds.HasComponent)
    item.NodeAttributes = ua.VariableAttributes(
        DisplayName=ua.LocalizedText(part.name),
        DataType=part.data_type,
        ValueRank=part.rank,
        ArrayDimensions=[ua.UInt32(0)] if part.rank > 0 else [],
        AccessLevel=ua.AccessLevel.CurrentRead.mask,
        UserAccessLevel=ua.AccessLevel.CurrentRead.mask,
    )
    await _add(builder, item)
    await builder.write(node_id, ua.DataValue(StatusCode=status_code(StatusCodes.BadWaitingForInitialData)))
    return node_id


def _item(parent: ua.NodeId, node_id: ua.NodeId, name: ua.QualifiedName, type_: ua.NodeId) -> ua.AddNodesItem:
    return ua.AddNodesItem(ParentNodeId=parent, RequestedNewNodeId=node_id, BrowseName=name, TypeDefinition=type_)


async def _add(builder: Builder, item: ua.AddNodesItem) -> None:
    (result,) = await builder.server.iserver.isession.add_nodes([item])
    result.StatusCode.check()
