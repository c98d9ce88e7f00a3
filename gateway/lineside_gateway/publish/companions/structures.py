"""Structures of the hosted address space itself, to write values of imported types without a class for each."""

from __future__ import annotations

from asyncua import ua
from asyncua.server.address_space import AddressSpace
from asyncua.ua.object_ids import ObjectIdNames

from lineside_gateway.opcua.structures import Structure, StructureField
from lineside_gateway.publish.errors import HostingError
from lineside_gateway.publish.nodeids import AttributeIds, ObjectIds, standard

_BUILT_IN: dict[object, ua.VariantType] = {int(kind): kind for kind in ua.VariantType if kind}  # Part 6, 5.1.2
_HAS_SUBTYPE = standard(ObjectIds.HasSubtype)


class LocalStructures:
    """Reads the definitions of one address space, each once."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._known: dict[ua.NodeId, Structure] = {}

    def load(self, data_type: ua.NodeId) -> Structure:
        """The structure of ``data_type``, with those it holds.

        Raises:
            HostingError: The type has no definition of a structure.
        """
        if data_type in self._known:
            return self._known[data_type]
        value = self._space.read_attribute_value(data_type, AttributeIds.DataTypeDefinition).Value
        definition = value.Value if value is not None else None
        if not isinstance(definition, ua.StructureDefinition):
            raise HostingError(
                f"gateway.nodesets: data type {data_type.to_string()} is no structure; use official files"
            )
        made = self._known[data_type] = Structure(data_type.to_string(), definition.DefaultEncodingId)
        made.fields += [self._field(f, definition.StructureType) for f in definition.Fields or []]
        return made

    def _field(self, declared: ua.StructureField, of: ua.StructureType) -> StructureField:
        name, is_array = str(declared.Name), declared.ValueRank >= 0
        if of == ua.StructureType.StructureWithSubtypedValues and declared.IsOptional:  # it tells its type itself
            return StructureField(name, ua.VariantType.ExtensionObject, is_array, optional=False)
        optional = of == ua.StructureType.StructureWithOptionalFields and bool(declared.IsOptional)
        return StructureField(name, self._kind(declared.DataType), is_array, optional)

    def _kind(self, data_type: ua.NodeId) -> ua.VariantType | type | Structure:
        """What encodes a value of ``data_type``: the nearest type above it that has an encoding of its own."""
        above: ua.NodeId | None = data_type
        while above is not None:
            if above.NamespaceIndex == 0 and above.Identifier == ObjectIds.Enumeration:
                return ua.VariantType.Int32
            if above.NamespaceIndex == 0 and above.Identifier == ObjectIds.BaseDataType:
                return ua.VariantType.Variant
            if above.NamespaceIndex == 0 and above.Identifier == ObjectIds.Structure:
                return self._structured(data_type)
            if above.NamespaceIndex == 0 and above.Identifier in _BUILT_IN:
                return _BUILT_IN[above.Identifier]
            above = self._supertype(above)
        raise HostingError(f"gateway.nodesets: data type {data_type.to_string()} is unknown; use official files")

    def _structured(self, data_type: ua.NodeId) -> type | Structure:
        if data_type.NamespaceIndex:
            return self.load(data_type)
        known: type = getattr(ua, ObjectIdNames[data_type.Identifier])  # type: ignore[index]  # numeric there
        return known

    def _supertype(self, data_type: ua.NodeId) -> ua.NodeId | None:
        node = self._space.get(data_type)
        above = (
            [r.NodeId for r in node.references if r.ReferenceTypeId == _HAS_SUBTYPE and not r.IsForward] if node else []
        )
        return above[0] if above else None
