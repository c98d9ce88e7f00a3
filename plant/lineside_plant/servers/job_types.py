"""ISA-95 Job Control structures (OPC 10031-4 v2.00, 7.3), built node by node in a running server.

Names, fields, optionality and numeric NodeIds are the standard's, so that a client written against the official
nodeset meets what it expects. asyncua keeps one registry of structure classes per process; the classes here are held
by the server that made them, never looked up by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.common.manage_nodes import create_data_type, create_encoding
from asyncua.common.structures104 import load_custom_struct
from asyncua.server.server import Server

from lineside_plant.servers.nodeids import ObjectIds, numeric, standard

JOB_CONTROL_URI = "http://opcfoundation.org/UA/ISA95-JOBCONTROL_V2/"

JOB_ORDER = "ISA95JobOrderDataType"
JOB_ORDER_AND_STATE = "ISA95JobOrderAndStateDataType"
STATE = "ISA95StateDataType"
WORK_MASTER = "ISA95WorkMasterDataType"
PARAMETER = "ISA95ParameterDataType"
EQUIPMENT = "ISA95EquipmentDataType"


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    data_type: int | str  # an ns0 identifier, or the name of a structure of this table
    optional: bool = True
    array: bool = False


@dataclass(frozen=True, slots=True)
class _Structure:
    name: str
    type_id: int
    encoding_id: int
    fields: tuple[_Field, ...]


_ID = ObjectIds
_DESCRIPTIONS = _Field("Description", _ID.LocalizedText, array=True)
_QUANTITY = (_Field("Quantity", _ID.DecimalString), _Field("EngineeringUnits", _ID.EUInformation))
_PROPERTIES = _Field("Properties", "ISA95PropertyDataType", array=True)


def _required(name: str, data_type: int | str = _ID.String, *, array: bool = False) -> _Field:
    return _Field(name, data_type, optional=False, array=array)


def _resource(name: str, type_id: int, encoding_id: int, use: str, *leading: _Field) -> _Structure:
    head = leading or (_required("ID"),)
    fields = (*head, _DESCRIPTIONS, _Field(use, _ID.String), *_QUANTITY, _PROPERTIES)
    return _Structure(name, type_id, encoding_id, fields)


def _valued(name: str, type_id: int, encoding_id: int, nested: str) -> _Structure:
    fields = (
        _required("ID"),
        _required("Value", _ID.BaseDataType),
        _DESCRIPTIONS,
        _Field("EngineeringUnits", _ID.EUInformation),
        _Field(nested, name, array=True),
    )
    return _Structure(name, type_id, encoding_id, fields)


# Source: OPC 10031-4 v2.00, 7.3, and the identifiers of its published nodeset. A structure stands after those it uses.
_STRUCTURES = (
    _valued("ISA95PropertyDataType", 3002, 5002, "Subproperties"),
    _valued(PARAMETER, 3003, 5005, "Subparameters"),
    _resource(EQUIPMENT, 3005, 5008, "EquipmentUse"),
    _Structure(
        STATE,
        3006,
        5029,
        (
            _required("BrowsePath", _ID.RelativePath),
            _required("StateText", _ID.LocalizedText),
            _required("StateNumber", _ID.UInt32),
        ),
    ),
    _Structure(
        WORK_MASTER,
        3007,
        5011,
        (_required("ID"), _Field("Description", _ID.LocalizedText), _Field("Parameters", PARAMETER, array=True)),
    ),
    _resource(
        "ISA95MaterialDataType",
        3010,
        5017,
        "MaterialUse",
        *(_Field(f"Material{part}ID", _ID.String) for part in ("Class", "Definition", "Lot", "Sublot")),
    ),
    _resource("ISA95PersonnelDataType", 3011, 5020, "PersonnelUse"),
    _resource("ISA95PhysicalAssetDataType", 3012, 5023, "PhysicalAssetUse"),
    _Structure(
        JOB_ORDER,
        3008,
        5014,
        (
            _required("JobOrderID"),
            _DESCRIPTIONS,
            _Field("WorkMasterID", WORK_MASTER, array=True),
            _Field("StartTime", _ID.DateTime),
            _Field("EndTime", _ID.DateTime),
            _Field("Priority", _ID.Int16),
            _Field("JobOrderParameters", PARAMETER, array=True),
            _Field("PersonnelRequirements", "ISA95PersonnelDataType", array=True),
            _Field("EquipmentRequirements", EQUIPMENT, array=True),
            _Field("PhysicalAssetRequirements", "ISA95PhysicalAssetDataType", array=True),
            _Field("MaterialRequirements", "ISA95MaterialDataType", array=True),
        ),
    ),
    _Structure(
        JOB_ORDER_AND_STATE, 3015, 5032, (_required("JobOrder", JOB_ORDER), _required("State", STATE, array=True))
    ),
)


@dataclass(frozen=True, slots=True)
class JobTypes:
    """The structure classes of one server, by standard name, and their data type NodeIds."""

    classes: Mapping[str, type]
    data_types: Mapping[str, ua.NodeId]

    def make(self, name: str, **fields: Any) -> Any:
        """An instance of structure ``name``; optional fields left out stay absent on the wire."""
        return self.classes[name](**fields)


async def build_job_types(server: Server, index: int) -> JobTypes:
    """Add the ISA-95 structures to ``server`` in namespace ``index`` and return their classes."""
    data_types: dict[str, ua.NodeId] = {}
    classes: dict[str, type] = {}
    for structure in _STRUCTURES:
        nodeid = numeric(structure.type_id, index)
        data_types[structure.name] = nodeid
        node = await create_data_type(
            server.nodes.base_structure_type, nodeid, ua.QualifiedName(structure.name, index), structure.name
        )
        encoding_id = numeric(structure.encoding_id, index)
        await create_encoding(node, encoding_id, ua.QualifiedName("Default Binary", 0))
        definition = _definition(structure, encoding_id, data_types, server.nodes.base_structure_type.nodeid)
        await node.write_data_type_definition(definition)
        classes[structure.name] = await load_custom_struct(node)
    return JobTypes(classes, data_types)


def _definition(
    structure: _Structure, encoding_id: ua.NodeId, data_types: Mapping[str, ua.NodeId], base: ua.NodeId
) -> ua.StructureDefinition:
    definition = ua.StructureDefinition()
    definition.DefaultEncodingId = encoding_id
    definition.BaseDataType = base
    definition.StructureType = (
        ua.StructureType.StructureWithOptionalFields
        if any(field.optional for field in structure.fields)
        else ua.StructureType.Structure
    )
    definition.Fields = [_structure_field(field, data_types) for field in structure.fields]
    return definition


def _structure_field(field: _Field, data_types: Mapping[str, ua.NodeId]) -> ua.StructureField:
    result = ua.StructureField()
    result.Name = field.name
    result.Description = ua.LocalizedText(field.name)
    result.DataType = data_types[field.data_type] if isinstance(field.data_type, str) else standard(field.data_type)
    result.ValueRank = ua.ValueRank.OneDimension if field.array else ua.ValueRank.Scalar
    result.ArrayDimensions = [ua.UInt32(0)] if field.array else []
    result.IsOptional = field.optional
    return result
