"""Structures of a server, read and written by their DataTypeDefinition (OPC UA Part 3, 8.48; Part 6, 5.2.6).

asyncua keeps one registry of structure classes per process, by NodeId with a namespace index: two servers, or one
server after its namespaces have moved, would meet each other's classes there. Here a type belongs to its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary

from lineside_gateway.errors import NodeError
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.describe import Describer
from lineside_gateway.opcua.standard import AttributeIds, ObjectIds


@dataclass(frozen=True, slots=True)
class StructureField:
    """One field: a built-in type, a structure of the base namespace, or another ``Structure``."""

    name: str
    kind: ua.VariantType | type[Any] | Structure
    is_array: bool
    optional: bool


@dataclass(slots=True, eq=False)
class Structure:
    """A structured DataType of one connection. ``fields`` is filled after construction: types may hold themselves."""

    name: str
    encoding_id: ua.NodeId
    fields: list[StructureField] = field(default_factory=list)

    def decode(self, value: object) -> dict[str, Any] | None:
        """The structure as a dict, nested ones too; None for null.

        ``value`` is the ExtensionObject as asyncua gives it, or an object of a class that this process registered.
        """
        if isinstance(value, ua.ExtensionObject):
            return None if value.Body is None else self._read(Buffer(value.Body))
        return None if value is None else {f.name: _plain(getattr(value, f.name, None), f) for f in self.fields}

    def encode(self, value: Mapping[str, Any]) -> ua.ExtensionObject:
        """``value``, by field name, as an ExtensionObject; optional fields that are absent or None stay absent."""
        return ua.ExtensionObject(TypeId=self.encoding_id, Body=ua.ByteString(self._write(value)))

    @property
    def _optional(self) -> list[StructureField]:
        return [f for f in self.fields if f.optional]

    def _read(self, data: Buffer) -> dict[str, Any]:
        mask = int(ua_binary.unpack_uatype(ua.VariantType.UInt32, data)) if self._optional else 0
        present = {f.name for i, f in enumerate(self._optional) if mask >> i & 1}
        return {f.name: _read(f, data) if not f.optional or f.name in present else None for f in self.fields}

    def _write(self, value: Mapping[str, Any]) -> bytes:
        out = b""
        if self._optional:
            mask = sum(1 << i for i, f in enumerate(self._optional) if value.get(f.name) is not None)
            out = ua_binary.pack_uatype(ua.VariantType.UInt32, mask)
        for f in self.fields:
            if not f.optional or value.get(f.name) is not None:
                out += _write(f, value.get(f.name))
        return out


class StructureTypes:
    """Reads definitions over one connection, each once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._describer = Describer(connection)
        self._known: dict[ua.NodeId, Structure] = {}

    async def load(self, data_type: ua.NodeId) -> Structure:
        """The structure of ``data_type``, with those it holds.

        Raises:
            NodeError: The server gives no definition, or one of a kind that is not read (unions, subtyped fields).
        """
        if data_type in self._known:
            return self._known[data_type]
        # Known before it is read: types may hold themselves, and the fields below are asked for all at once.
        structure = self._known[data_type] = Structure("", ua.NodeId())
        (_, name), values = await asyncio.gather(
            self._describer.built_in(data_type), self._connection.read([data_type], AttributeIds.DataTypeDefinition)
        )
        definition = values[0].Value.Value if values[0].Value is not None else None
        plain = (ua.StructureType.Structure, ua.StructureType.StructureWithOptionalFields)
        if not isinstance(definition, ua.StructureDefinition) or definition.StructureType not in plain:
            raise NodeError(
                f"data type {name} of server '{self._connection.server.name}' has no structure definition that can be "
                "read; the server needs OPC UA 1.04 DataTypeDefinition, without unions"
            )
        fields = definition.Fields or []
        kinds = await asyncio.gather(*(self._kind(f.DataType) for f in fields))
        structure.name, structure.encoding_id = name, definition.DefaultEncodingId
        structure.fields += [
            StructureField(str(f.Name), kind, f.ValueRank >= 0, bool(f.IsOptional))
            for f, kind in zip(fields, kinds, strict=True)
        ]
        return structure

    async def _kind(self, data_type: ua.NodeId) -> ua.VariantType | type[Any] | Structure:
        built_in, name = await self._describer.built_in(data_type)
        if built_in is None:
            raise NodeError(f"data type {data_type.to_string()} of server '{self._connection.server.name}' is unknown")
        if built_in is not ua.VariantType.ExtensionObject or data_type.Identifier == ObjectIds.Structure:
            return built_in
        if data_type.NamespaceIndex:
            return await self.load(data_type)
        known: type[Any] = getattr(ua, name)
        return known


def _read(f: StructureField, data: Buffer) -> Any:
    if not f.is_array:
        return _read_one(f.kind, data)
    count = int(ua_binary.unpack_uatype(ua.VariantType.Int32, data))
    return None if count < 0 else [_read_one(f.kind, data) for _ in range(count)]


def _read_one(kind: ua.VariantType | type[Any] | Structure, data: Buffer) -> Any:
    if isinstance(kind, Structure):
        return kind._read(data)  # noqa: SLF001  # a structure inside a structure has no ExtensionObject header
    if isinstance(kind, ua.VariantType):
        return ua_binary.unpack_uatype(kind, data)
    return ua_binary.struct_from_binary(kind, data)


def _write(f: StructureField, value: Any) -> bytes:
    if not f.is_array:
        return _write_one(f.kind, value)
    items = list(value) if value is not None else []
    count = len(items) if value is not None else -1
    return ua_binary.pack_uatype(ua.VariantType.Int32, count) + b"".join(_write_one(f.kind, v) for v in items)


def _write_one(kind: ua.VariantType | type[Any] | Structure, value: Any) -> bytes:
    if isinstance(kind, Structure):
        return kind._write(value or {})  # noqa: SLF001  # as in _read_one
    if isinstance(kind, ua.VariantType):
        return ua_binary.pack_uatype(kind, value)
    return ua_binary.struct_to_binary(kind() if value is None else value)


def _plain(value: Any, f: StructureField) -> Any:
    """A field of a registered class's object; nested structures as dicts."""
    if value is None or not isinstance(f.kind, Structure):
        return value
    return [f.kind.decode(v) for v in value] if f.is_array else f.kind.decode(value)
