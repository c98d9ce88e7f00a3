"""Official nodesets: which of a folder's files are needed, in which order, and what is repaired before the import.

asyncua's importer stumbles over three things in them, found with those of October 2024: a RequiredModel without date or
version, default values that are structures of the nodeset itself, and option sets with a Definition. It also loses
which fields may hold a subtype. All are put right here, and what was taken out is written back afterwards.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from asyncua import ua
from asyncua.server.server import Server
from asyncua.ua import uatypes

from lineside_gateway.opcua.standard import UaError
from lineside_gateway.publish.errors import HostingError

logger = logging.getLogger(__name__)

BASE = "http://opcfoundation.org/UA/"
DI, MACHINE_TOOL = BASE + "DI/", BASE + "MachineTool/"
RESULT, JOB_CONTROL = BASE + "Machinery/Result/", BASE + "ISA95-JOBCONTROL_V2/"
WANTED = (DI, MACHINE_TOOL, RESULT, JOB_CONTROL)
SOURCE = "https://github.com/OPCFoundation/UA-Nodeset"

_CLASHES = logging.getLogger("asyncua.ua.uatypes")
_N = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
_TYPES = "{http://opcfoundation.org/UA/2008/02/Types.xsd}"
_ANY_VERSION = {"Version": "0", "PublicationDate": "2000-01-01T00:00:00Z"}
_KNOWN_STRUCTURES = {"i=297", "i=7616"}
"""XML encodings of Argument and EnumValueType, structures of the base namespace that declarations need."""


@dataclass(slots=True)
class Nodeset:
    """One file. ``option_sets`` and ``subtyped`` are what its import leaves out, by NodeId as the file writes it."""

    path: Path
    root: ET.Element
    uri: str
    requires: tuple[str, ...]
    option_sets: dict[str, ua.EnumDefinition] = field(default_factory=dict)
    subtyped: dict[str, frozenset[str]] = field(default_factory=dict)

    def repair(self) -> None:
        """Take out and complete what the importer stumbles over."""
        for model in self.root.iter(_N + "RequiredModel"):
            model.attrib.update({k: v for k, v in _ANY_VERSION.items() if k not in model.attrib})
        for node in (*self.root.iter(_N + "UAVariable"), *self.root.iter(_N + "UAVariableType")):
            value = node.find(_N + "Value")
            if value is not None and any(t not in _KNOWN_STRUCTURES for t in _structures(value)):
                node.remove(value)
        for node in self.root.iter(_N + "UADataType"):
            definition, name = node.find(_N + "Definition"), str(node.get("NodeId"))
            if definition is None:
                continue
            if definition.get("IsOptionSet") == "true":
                node.remove(definition)
                self.option_sets[name] = _bits(definition)
            elif subtyped := [f for f in definition if f.get("AllowSubTypes") == "true"]:
                self.subtyped[name] = frozenset(str(f.get("Name")) for f in subtyped)


def find_nodesets(folder: Path) -> list[Nodeset]:
    """What of ``folder`` is wanted, with all it stands on, in the order of their import.

    A wanted nodeset that stands on one that is not there is left out, and the log says which.

    Raises:
        HostingError: There is no such folder, it holds no nodeset that is wanted, or a file cannot be read.
    """
    if not folder.is_dir():
        raise HostingError(
            f"gateway.nodesets: there is no folder '{folder}'; download the official files from {SOURCE}"
        )
    there = {n.uri: n for n in (_read(p) for p in sorted(folder.rglob("*.[xX][mM][lL]"))) if n is not None}
    ordered: dict[str, Nodeset] = {}
    for uri in WANTED:
        needed: dict[str, Nodeset] = {}
        lacking = _collect(uri, there, needed)
        if not lacking:
            ordered |= {u: n for u, n in needed.items() if u not in ordered}
        elif uri in there:
            logger.warning("nodeset_left_out file=%s missing=%s source=%s", there[uri].path, lacking, SOURCE)
    if not ordered:
        raise HostingError(
            f"gateway.nodesets: '{folder}' holds none of {', '.join(WANTED)} with all they stand on; "
            f"download the official files from {SOURCE}"
        )
    return list(ordered.values())


async def import_nodesets(server: Server, nodesets: list[Nodeset]) -> None:
    """Add the nodes of ``nodesets`` to the server, some two seconds of CPU for all of ``WANTED``.

    Raises:
        HostingError: A file is not one that asyncua can import.
    """
    with _no_classes():
        for nodeset in nodesets:
            nodeset.repair()
            try:
                await server.import_xml(xmlstring=ET.tostring(nodeset.root, encoding="unicode"))
                await _complete(server, nodeset)
            except (UaError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as e:
                raise HostingError(
                    f"gateway.nodesets: '{nodeset.path}' cannot be imported; replace it by the official file "
                    f"from {SOURCE}",
                    detail=repr(e),
                ) from e


def _read(path: Path) -> Nodeset | None:
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - files of whoever sets up the gateway, as its settings are
    except (ET.ParseError, OSError) as e:
        raise HostingError(
            f"gateway.nodesets: '{path}' is not XML that can be read; remove or replace it", str(e)
        ) from e
    model = root.find(f"{_N}Models/{_N}Model")
    if root.tag != _N + "UANodeSet" or model is None:
        return None
    required = [str(r.get("ModelUri")) for r in model.iter(_N + "RequiredModel")]
    return Nodeset(path, root, str(model.get("ModelUri")), tuple(u for u in required if u != BASE))


def _collect(uri: str, there: Mapping[str, Nodeset], found: dict[str, Nodeset]) -> str:
    """Put ``uri`` into ``found`` behind all it stands on; what is missing, "" where nothing is."""
    if uri in found:
        return ""
    if uri not in there:
        return uri
    for required in there[uri].requires:
        if lacking := _collect(required, there, found):
            return lacking
    found[uri] = there[uri]
    return ""


def _structures(value: ET.Element) -> Iterator[str]:
    for body in value.iter(_TYPES + "ExtensionObject"):
        yield body.findtext(f"{_TYPES}TypeId/{_TYPES}Identifier", "")


def _bits(definition: ET.Element) -> ua.EnumDefinition:
    bits = ua.EnumDefinition()
    for one in definition:
        name, value = str(one.get("Name")), int(one.get("Value", "0"))
        bits.Fields.append(
            ua.EnumField(Value=ua.Int64(value), DisplayName=ua.LocalizedText(name), Name=ua.String(name))
        )
    return bits


async def _complete(server: Server, nodeset: Nodeset) -> None:
    """Write back what the import left out (Part 3, 8.48 and 8.49)."""
    uris = [BASE, *(str(u.text) for u in nodeset.root.iterfind(f"{_N}NamespaceUris/{_N}Uri"))]
    for name, bits in nodeset.option_sets.items():
        await server.get_node(await _local(server, name, uris)).write_data_type_definition(bits)
    for name, fields in nodeset.subtyped.items():
        node = server.get_node(await _local(server, name, uris))
        definition: Any = await node.read_data_type_definition()
        definition.StructureType = ua.StructureType.StructureWithSubtypedValues
        for one in definition.Fields:
            one.IsOptional = str(one.Name) in fields
        await node.write_data_type_definition(definition)


async def _local(server: Server, name: str, uris: list[str]) -> ua.NodeId:
    """A NodeId of the file as the server has it."""
    node_id = ua.NodeId.from_string(name)
    index = await server.get_namespace_index(uris[node_id.NamespaceIndex])
    return ua.NodeId(node_id.Identifier, ua.Int16(index))


@contextlib.contextmanager
def _no_classes() -> Iterator[None]:
    """Undo what the import tells asyncua's decoder.

    It registers a class per structure for the whole process, by NodeId with the index that the namespace has here. A
    PLC whose namespaces have other indices would have its structures decoded by them.
    """
    registries: list[dict[Any, Any]] = [
        uatypes.extension_objects_by_datatype, uatypes.extension_objects_by_typeid, uatypes.enums_by_datatype,
        uatypes.datatype_by_extension_object, uatypes.typeid_by_extension_objects, uatypes.enums_datatypes,
        uatypes.basetype_by_datatype, uatypes.basetype_datatypes, vars(ua),
    ]  # fmt: skip
    before = [dict(registry) for registry in registries]
    level = _CLASHES.level
    _CLASHES.setLevel(logging.ERROR)  # two specifications have a type of one name: of no meaning without classes
    try:
        yield
    finally:
        _CLASHES.setLevel(level)
        for registry, kept in zip(registries, before, strict=True):
            for added in registry.keys() - kept.keys():
                del registry[added]
            registry.update(kept)
