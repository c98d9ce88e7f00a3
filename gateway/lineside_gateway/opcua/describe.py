"""What a server says about a Variable: data type, value rank, access level, EngineeringUnits, EURange."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from asyncua import ua

from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import TagNode
from lineside_gateway.opcua.standard import AttributeIds, ObjectIds, StatusCodes, UaError
from lineside_gateway.opcua.values import status_of

GONE = {StatusCodes.BadNodeIdUnknown, StatusCodes.BadNodeIdInvalid}
"""What a server says of a node that it does not have."""
_HIGHEST_BUILT_IN = 25
"""Identifiers 1..25 of namespace 0 are the built-in types (OPC UA Part 6, 5.1.2)."""
_ENUMERATION = 29
_NUMBERS = {26: ua.VariantType.Double, 27: ua.VariantType.Int64, 28: ua.VariantType.UInt64}
"""The abstract types Number, Integer and UInteger."""
_READ, _WRITE = 0x01, 0x02
"""CurrentRead and CurrentWrite of the AccessLevel (OPC UA Part 3, 8.57)."""
_PROPERTIES = {"EngineeringUnits", "EURange"}
_NO_UNIT = ""


class Describer:
    """Reads descriptions in batches over one connection; data types are looked up once each."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._types: dict[ua.NodeId, tuple[ua.VariantType | None, str]] = {}

    async def describe(self, equipment_id: str, places: Mapping[str, ua.NodeId]) -> dict[str, TagNode]:
        """The TagNode of each tag whose NodeId the server knows; what else it is silent about stays open."""
        known = await self._connection.read(list(places.values()), AttributeIds.NodeClass)
        there = {t: n for (t, n), dv in zip(places.items(), known, strict=True) if status_of(dv) not in GONE}
        return await self._describe(equipment_id, there) if there else {}

    async def _describe(self, equipment_id: str, places: Mapping[str, ua.NodeId]) -> dict[str, TagNode]:
        tags, nodes = list(places), list(places.values())
        # At once: a server that is slow to answer is asked for all of it in one round trip.
        data_types, ranks, access, (units, ranges) = await asyncio.gather(
            self._values(nodes, AttributeIds.DataType),
            self._values(nodes, AttributeIds.ValueRank),
            self._values(nodes, AttributeIds.UserAccessLevel),
            self._properties(nodes),
        )
        out: dict[str, TagNode] = {}
        for i, tag in enumerate(tags):
            built_in, name = await self.built_in(data_types[i])
            if built_in in {None, ua.VariantType.Variant}:
                built_in = await self._type_of_value(nodes[i])
            level, rank = access[i], ranks[i]
            mask = level if isinstance(level, int) else _READ
            out[tag] = TagNode(
                equipment_id,
                tag,
                nodes[i],
                self._connection.namespaces.text(nodes[i]),
                built_in,
                name,
                isinstance(rank, int) and rank >= 0,
                units[i],
                ranges[i],
                bool(mask & _READ),
                bool(mask & _WRITE),
            )
        return out

    async def _values(self, nodes: Sequence[ua.NodeId], attribute: AttributeIds) -> list[object]:
        return [_value(dv) for dv in await self._connection.read(nodes, attribute)]

    async def _properties(self, nodes: Sequence[ua.NodeId]) -> tuple[list[str], list[tuple[float, float] | None]]:
        """EngineeringUnits and EURange of each node (OPC UA Part 8, 5.3.2)."""
        asked: list[tuple[int, ua.NodeId]] = []
        for i, references in enumerate(await self._connection.browse(nodes, ObjectIds.HasProperty)):
            asked += [(i, r.NodeId) for r in references if r.BrowseName.Name in _PROPERTIES]
        units: list[str] = [_NO_UNIT] * len(nodes)
        ranges: list[tuple[float, float] | None] = [None] * len(nodes)
        values = await self._values([n for _, n in asked], AttributeIds.Value)
        for (i, _), value in zip(asked, values, strict=True):
            if isinstance(value, ua.EUInformation):
                units[i] = value.DisplayName.Text or _NO_UNIT
            elif isinstance(value, ua.Range):
                ranges[i] = (float(value.Low), float(value.High))
        return units, ranges

    async def built_in(self, data_type: object) -> tuple[ua.VariantType | None, str]:
        """Built-in type behind a DataType, following HasSubtype upwards; (None, "") where the server does not say."""
        if not isinstance(data_type, ua.NodeId):
            return None, ""
        if data_type not in self._types:
            plain = _plain(data_type)
            if plain is not None:
                self._types[data_type] = (plain, plain.name)
                return self._types[data_type]
            try:
                names, built_in = await asyncio.gather(
                    self._values([data_type], AttributeIds.BrowseName), self._climb(data_type)
                )
            except UaError:
                self._types[data_type] = (None, data_type.to_string())
                return self._types[data_type]
            text = str(names[0].Name) if isinstance(names[0], ua.QualifiedName) else data_type.to_string()
            self._types[data_type] = (built_in, text)
        return self._types[data_type]

    async def _type_of_value(self, node_id: ua.NodeId) -> ua.VariantType | None:
        """Type of the present value: all there is to go by where the DataType is BaseDataType."""
        dv = (await self._connection.read([node_id]))[0]
        if dv.Value is None or dv.Value.Value is None or not isinstance(dv.Value.VariantType, ua.VariantType):
            return None
        return dv.Value.VariantType

    async def _climb(self, data_type: ua.NodeId) -> ua.VariantType | None:
        current = data_type
        for _ in range(20):  # deeper than any type tree; a loop in a server's tree ends here
            if current.NamespaceIndex == 0 and isinstance(current.Identifier, int):
                if current.Identifier == _ENUMERATION:
                    return ua.VariantType.Int32
                if current.Identifier in _NUMBERS:
                    return _NUMBERS[current.Identifier]
                built_in = _plain(current)
                if built_in is not None:
                    return built_in
            above = (await self._connection.browse([current], ObjectIds.HasSubtype, ua.BrowseDirection.Inverse))[0]
            if not above:
                return None
            current = above[0].NodeId
        return None


def _plain(data_type: ua.NodeId) -> ua.VariantType | None:
    """The built-in type that ``data_type`` itself is, None for every other."""
    identifier = data_type.Identifier
    if data_type.NamespaceIndex or not isinstance(identifier, int) or not 0 < identifier <= _HIGHEST_BUILT_IN:
        return None
    return ua.VariantType(identifier)


def _value(dv: ua.DataValue) -> object:
    good = dv.StatusCode is None or dv.StatusCode.is_good()
    return dv.Value.Value if good and dv.Value is not None else None
