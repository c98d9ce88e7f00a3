"""Building blocks of the hosted address space: folders, objects, types and read-only Variables."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from asyncua import ua
from asyncua.server.server import Server

from lineside_gateway.hosting import Sample
from lineside_gateway.publish.errors import HostingError
from lineside_gateway.publish.fields import VARIANT, Field, FieldType
from lineside_gateway.publish.names import display_name
from lineside_gateway.publish.nodeids import AttributeIds, ObjectIds, StatusCodes, own, standard, status_code

UNECE_URI = "http://www.opcfoundation.org/UA/units/un/cefact"
# UNECE Recommendation 20 common codes of the units tasks declare; OPC UA Part 8, 5.6.3 derives UnitId from the code.
UNECE = {
    "s": "SEC",
    "min": "MIN",
    "h": "HUR",
    "d": "DAY",
    "kW": "KWT",
    "kWh": "KWH",
    "degC": "CEL",
    "mm/s": "C16",
    "mm": "MMT",
    "um": "4H",
    "N": "NEW",
    "%": "P1",
    "1/min": "C94",
}

NOTIFIES = 0x01 | 0x04  # EventNotifier: SubscribeToEvents and HistoryRead (OPC UA Part 3, 8.59)
_NULL = ua.Variant(None, ua.VariantType.Null)
_status = functools.cache(status_code)  # nobody changes the StatusCode of a sample


class Part(Protocol):
    """A field of a base type that is to be a node: its names below the object, data type and type definition."""

    @property
    def names(self) -> tuple[str, ...]:
        """Browse path in the base namespace."""

    @property
    def data_type(self) -> int:
        """NodeId in the base namespace."""

    @property
    def variable(self) -> int:
        """VariableType of a component; 0 for a Property."""


@dataclass(slots=True)
class Builder:
    """Adds nodes to one server's namespace, all of them readable and none writable.

    ``data_types`` are the own data types of fields whose type is none of the base namespace; ``historizing``: clients
    can read the past of every Variable.
    """

    server: Server
    namespace: int
    data_types: dict[FieldType, ua.NodeId] = field(default_factory=dict)
    historizing: bool = False

    def node_id(self, identifier: str) -> ua.NodeId:
        """NodeId ``ns=<lineside>;s=identifier``."""
        return own(identifier, self.namespace)

    async def add_object(
        self,
        parent: ua.NodeId,
        identifier: str,
        name: str,
        *,
        type_definition: ua.NodeId | None = None,
        organizes: bool = False,
        notifies: bool = False,
    ) -> ua.NodeId:
        """An Object (a Folder without ``type_definition``) below ``parent``; ``notifies``: clients subscribe to it."""
        notifier = NOTIFIES if notifies else 0
        attributes = ua.ObjectAttributes(DisplayName=ua.LocalizedText(name), EventNotifier=ua.Byte(notifier))
        item = self._item(parent, identifier, name, ua.NodeClass.Object, attributes)
        item.ReferenceTypeId = standard(ObjectIds.Organizes if organizes else ObjectIds.HasComponent)
        item.TypeDefinition = type_definition or standard(ObjectIds.FolderType)
        return await self._add(item)

    async def add_object_type(self, parent: ua.NodeId, name: str, description: str) -> ua.NodeId:
        """An ObjectType derived from ``parent``."""
        attributes = ua.ObjectTypeAttributes(
            DisplayName=ua.LocalizedText(name), Description=ua.LocalizedText(description), IsAbstract=False
        )
        item = self._item(parent, name, name, ua.NodeClass.ObjectType, attributes)
        item.ReferenceTypeId = standard(ObjectIds.HasSubtype)
        return await self._add(item)

    async def add_variable(
        self, parent: ua.NodeId, identifier: str, shown: Field, *, name: str = "", declaration: bool = False
    ) -> ua.NodeId:
        """A Variable with its unit and range. It waits for its first value unless it is a type's declaration."""
        field_type = shown.field_type
        is_array = field_type is FieldType.REASONS
        past = self.historizing and not declaration
        access = ua.AccessLevel.CurrentRead.mask | (ua.AccessLevel.HistoryRead.mask if past else 0)
        attributes = ua.VariableAttributes(
            DisplayName=ua.LocalizedText(name or display_name(shown.name)),
            Description=ua.LocalizedText(shown.description),
            DataType=self.data_types.get(field_type) or standard(VARIANT[field_type].value),
            ValueRank=ua.ValueRank.OneDimension if is_array else ua.ValueRank.Scalar,
            ArrayDimensions=[ua.UInt32(0)] if is_array else [],
            AccessLevel=access,
            UserAccessLevel=access,
            Historizing=past,
        )
        item = self._item(parent, identifier, name or shown.browse_name, ua.NodeClass.Variable, attributes)
        item.ReferenceTypeId = standard(ObjectIds.HasComponent)
        analog = bool(shown.unit) or (shown.low is not None and shown.high is not None)
        item.TypeDefinition = standard(ObjectIds.BaseAnalogType if analog else ObjectIds.BaseDataVariableType)
        node_id = await self._add(item)
        if declaration:
            await self._mandatory(node_id)
        else:
            await self.write(node_id, ua.DataValue(StatusCode=status_code(StatusCodes.BadWaitingForInitialData)))
        if shown.unit:
            await self._property(node_id, f"{identifier}/EngineeringUnits", "EngineeringUnits", _unit(shown.unit))
        if shown.low is not None and shown.high is not None:
            await self._property(node_id, f"{identifier}/EURange", "EURange", ua.Range(shown.low, shown.high))
        return node_id

    async def add_condition_part(self, identifier: str, parent: str, part: Part) -> ua.NodeId:
        """A Property or Variable of the base namespace below a condition; its value is null until it is written."""
        attributes = ua.VariableAttributes(
            DisplayName=ua.LocalizedText(part.names[-1]),
            DataType=standard(part.data_type),
            ValueRank=ua.ValueRank.Scalar,
            AccessLevel=ua.AccessLevel.CurrentRead.mask,
            UserAccessLevel=ua.AccessLevel.CurrentRead.mask,
        )
        item = self._item(self.node_id(parent), identifier, part.names[-1], ua.NodeClass.Variable, attributes)
        item.BrowseName = ua.QualifiedName(part.names[-1], 0)
        item.ReferenceTypeId = standard(ObjectIds.HasComponent if part.variable else ObjectIds.HasProperty)
        item.TypeDefinition = standard(part.variable or ObjectIds.PropertyType)
        return await self._add(item)

    async def add_method(
        self,
        parent: ua.NodeId,
        identifier: str,
        name: str,
        words: str,
        arguments: Sequence[ua.Argument],
        *,
        outputs: Sequence[ua.Argument] = (),
        mandatory: bool = False,
    ) -> ua.NodeId:
        """A Method with its InputArguments and ``outputs``; what it does is put behind it later."""
        attributes = ua.MethodAttributes(
            DisplayName=ua.LocalizedText(name),
            Description=ua.LocalizedText(words),
            Executable=True,
            UserExecutable=True,
        )
        item = self._item(parent, identifier, name, ua.NodeClass.Method, attributes)
        item.ReferenceTypeId = standard(ObjectIds.HasComponent)
        node_id = await self._add(item)
        added = [node_id]
        for name_, declared in (("InputArguments", arguments), ("OutputArguments", outputs)):
            if declared:
                node = await self.server.get_node(node_id).add_property(
                    self.node_id(f"{identifier}/{name_}"),
                    ua.QualifiedName(name_, 0),
                    list(declared),
                    ua.VariantType.ExtensionObject,
                    standard(ObjectIds.Argument),
                )
                added.append(node.nodeid)
        for its in added if mandatory else ():
            await self._mandatory(its)
        return node_id

    async def refer(self, source: ua.NodeId, kind: int, target: ua.NodeId) -> None:
        """A reference from ``source`` to ``target``, seen from both; a method has one parent, its type."""
        whole = kind != ObjectIds.HasComponent
        await self.server.get_node(source).add_reference(target, kind, forward=True, bidirectional=whole)

    async def notify_at(self, node_id: ua.NodeId) -> None:
        """Let clients subscribe to events of ``node_id`` and read past ones."""
        value = ua.DataValue(ua.Variant(NOTIFIES, ua.VariantType.Byte))
        await self.server.get_node(node_id).write_attribute(AttributeIds.EventNotifier, value)

    async def write(self, node_id: ua.NodeId, value: ua.DataValue) -> None:
        """Set the Value attribute and notify subscribers.

        Raises:
            UaStatusCodeError: The value does not have the node's data type.
        """
        status = await self.server.iserver.aspace.write_attribute_value(node_id, AttributeIds.Value, value)
        status.check()

    async def _property(
        self, parent: ua.NodeId, identifier: str, name: str, value: ua.EUInformation | ua.Range
    ) -> None:
        data_type = ObjectIds.Range if isinstance(value, ua.Range) else ObjectIds.EUInformation
        attributes = ua.VariableAttributes(
            DisplayName=ua.LocalizedText(name),
            DataType=standard(data_type),
            Value=ua.Variant(value, ua.VariantType.ExtensionObject),
            ValueRank=ua.ValueRank.Scalar,
            AccessLevel=ua.AccessLevel.CurrentRead.mask,
            UserAccessLevel=ua.AccessLevel.CurrentRead.mask,
        )
        item = self._item(parent, identifier, name, ua.NodeClass.Variable, attributes)
        item.BrowseName = ua.QualifiedName(name, 0)  # OPC UA Part 8 defines both in the standard namespace
        item.ReferenceTypeId = standard(ObjectIds.HasProperty)
        item.TypeDefinition = standard(ObjectIds.PropertyType)
        await self._add(item)

    async def _mandatory(self, node_id: ua.NodeId) -> None:
        await self.server.get_node(node_id).add_reference(
            standard(ObjectIds.ModellingRule_Mandatory), ObjectIds.HasModellingRule, True, False
        )

    def _item(
        self,
        parent: ua.NodeId,
        identifier: str,
        name: str,
        node_class: ua.NodeClass,
        attributes: ua.ObjectAttributes | ua.ObjectTypeAttributes | ua.VariableAttributes | ua.MethodAttributes,
    ) -> ua.AddNodesItem:
        attributes.WriteMask = ua.UInt32(0)
        attributes.UserWriteMask = ua.UInt32(0)
        item = ua.AddNodesItem()
        item.RequestedNewNodeId = self.node_id(identifier)
        item.BrowseName = ua.QualifiedName(name, self.namespace)
        item.NodeClass = node_class
        item.ParentNodeId = parent
        item.NodeAttributes = attributes
        return item

    async def _add(self, item: ua.AddNodesItem) -> ua.NodeId:
        (result,) = await self.server.iserver.isession.add_nodes([item])
        if result.StatusCode.value == StatusCodes.BadNodeIdExists:
            raise HostingError(
                f"two hosted nodes would be '{item.RequestedNewNodeId.Identifier}'; "
                "give the equipment and its location distinct names"
            )
        result.StatusCode.check()
        added: ua.NodeId = result.AddedNodeId
        return added


def argument(name: str, kind: ua.VariantType, words: str) -> ua.Argument:
    """A scalar argument of a Method."""
    return ua.Argument(
        Name=ua.String(name),
        DataType=standard(kind.value),
        ValueRank=ua.Int32(-1),
        ArrayDimensions=[],
        Description=ua.LocalizedText(words),
    )


def data_value(
    value: object, variant_type: ua.VariantType, status: int, source: datetime | None, server: datetime | None = None
) -> Sample:
    """A value stamped with the source's time and the server's (now by default); BadNoData where there is no value."""
    stamp = server or datetime.now(UTC)
    if value is None:
        return Sample.new(_NULL, _status(StatusCodes.BadNoData), source, stamp)
    if isinstance(value, list | tuple):
        return Sample.new(ua.Variant(value, variant_type, is_array=True), _status(status), source, stamp)
    return Sample.scalar(value, variant_type, _status(status), source, stamp)


def _unit(unit: str) -> ua.EUInformation:
    """EUInformation of ``unit``; UnitId -1 and an empty namespace where UNECE has no code for it (Part 8, 5.6.3)."""
    code = UNECE.get(unit)
    return ua.EUInformation(
        NamespaceUri=UNECE_URI if code else "",
        UnitId=ua.Int32(int.from_bytes(code.encode(), "big") if code else -1),
        DisplayName=ua.LocalizedText(unit),
        Description=ua.LocalizedText(unit),
    )
