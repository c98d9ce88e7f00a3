"""The structure in which hosted nodes give the causes of a recommendation."""

from dataclasses import dataclass

from asyncua import ua
from asyncua.common.structures104 import new_struct_field
from asyncua.server.server import Server

from lineside_gateway.publish.nodeids import ObjectIds, own, standard
from lineside_plugins.types import Reason

# No postponed annotations here: asyncua's encoder reads the field types of the class as they stand.


@dataclass
class ReasonDataType:
    """Tag, share of the score it explains (0..1) and the cause in words."""

    Tag: ua.String = ua.String("")  # noqa: RUF009 - a String is an immutable str
    Weight: ua.Double = ua.Double(0.0)  # noqa: RUF009
    Text: ua.String = ua.String("")  # noqa: RUF009


async def add_reason_type(server: Server, namespace: int) -> ua.NodeId:
    """Define ReasonDataType below Structure with its binary encoding, so that clients can decode it."""
    data_type = own("ReasonDataType", namespace)
    encoding = own("ReasonDataType/DefaultBinary", namespace)
    node = await server.nodes.base_structure_type.add_data_type(
        data_type, ua.QualifiedName("ReasonDataType", namespace), "One cause of a recommendation"
    )
    await _add_encoding(server, data_type, encoding)
    definition = ua.StructureDefinition(
        DefaultEncodingId=encoding,
        BaseDataType=server.nodes.base_structure_type.nodeid,
        StructureType=ua.StructureType.Structure,
        Fields=[
            new_struct_field("Tag", ua.VariantType.String, description="Tag that explains the score"),
            new_struct_field("Weight", ua.VariantType.Double, description="Share of the score, 0..1"),
            new_struct_field("Text", ua.VariantType.String, description="The cause in words"),
        ],
    )
    await node.write_data_type_definition(definition)
    ua.register_extension_object("ReasonDataType", encoding, ReasonDataType, data_type)
    return data_type


async def _add_encoding(server: Server, data_type: ua.NodeId, encoding: ua.NodeId) -> None:
    item = ua.AddNodesItem(
        ParentNodeId=data_type,
        ReferenceTypeId=standard(ObjectIds.HasEncoding),
        RequestedNewNodeId=encoding,
        BrowseName=ua.QualifiedName("Default Binary", 0),
        NodeClass=ua.NodeClass.Object,
        NodeAttributes=ua.ObjectAttributes(DisplayName=ua.LocalizedText("Default Binary")),
        TypeDefinition=standard(ObjectIds.DataTypeEncodingType),
    )
    (result,) = await server.iserver.isession.add_nodes([item])
    result.StatusCode.check()


def encoded(reasons: tuple[Reason, ...]) -> list[ReasonDataType]:
    """Reasons as the hosted structure, in the given order."""
    return [ReasonDataType(ua.String(r.tag), ua.Double(r.weight), ua.String(r.text)) for r in reasons]
