"""Enumerated data types of a recommendation: its state and its mode."""

from __future__ import annotations

from collections.abc import Iterable

from asyncua import ua
from asyncua.server.server import Server

from lineside_gateway.publish.fields import ENUMERATIONS, FieldType
from lineside_gateway.publish.nodeids import ObjectIds, own, standard

NAMES = {FieldType.STATE: "RecommendationStateEnum", FieldType.MODE: "RecommendationModeEnum"}


async def add_enumerations(server: Server, namespace: int) -> dict[FieldType, ua.NodeId]:
    """Define both below Enumeration, with EnumDefinition and EnumStrings; their DataType NodeIds."""
    return {kind: await _add(server, namespace, NAMES[kind], words) for kind, words in ENUMERATIONS.items()}


async def _add(server: Server, namespace: int, name: str, words: Iterable[str]) -> ua.NodeId:
    data_type = own(name, namespace)
    parent = server.get_node(standard(ObjectIds.Enumeration))
    node = await parent.add_data_type(data_type, ua.QualifiedName(name, namespace))
    definition = ua.EnumDefinition()
    texts = [ua.LocalizedText(word) for word in words]
    for i, text in enumerate(texts):
        definition.Fields.append(ua.EnumField(Value=ua.Int64(i), DisplayName=text, Name=ua.String(text.Text)))
    await node.write_data_type_definition(definition)
    strings = await node.add_property(
        own(f"{name}/EnumStrings", namespace), ua.QualifiedName("EnumStrings", 0), texts, ua.VariantType.LocalizedText
    )
    await strings.set_modelling_rule(True)
    return data_type
