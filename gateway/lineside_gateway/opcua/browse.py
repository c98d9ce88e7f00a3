"""A server's address space as a tree, for people: names, addresses to configure, types, units, values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from asyncua import ua

from lineside_gateway.opcua.addresses import BrowseAddress, parse_address, path_text
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.describe import Describer
from lineside_gateway.opcua.nodes import find, local
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.standard import AttributeIds, ObjectIds
from lineside_gateway.opcua.values import status_of
from lineside_gateway.settings import ServerSettings

_CLASSES = {ua.NodeClass.Object, ua.NodeClass.Variable, ua.NodeClass.Method}
_VALUE_CHARS = 60
PROPERTY_TYPE = "i=68"
"""PropertyType (OPC UA Part 5, 7.3)."""


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One line of the tree. ``address`` is what settings take; ``value`` is cut short for display."""

    depth: int
    name: str
    path: str
    """Browse path from a well-known node; "" where the tree starts at a NodeId."""
    kind: str
    """Object, Variable or Method."""
    address: str
    type_definition: str = ""
    """Address of its ObjectType or VariableType."""
    type_name: str = ""
    """BrowseName of an Object's type."""
    data_type: str = ""
    numeric: bool = False
    """A scalar number or Boolean, or of a type that the server does not state."""
    structured: bool = False
    """Its value has fields of its own."""
    value: str = ""
    unit: str = ""
    status: str = ""
    writable: bool = False

    @property
    def is_property(self) -> bool:
        """A characteristic of the node above it rather than a value of the plant (OPC UA Part 3, 4.5.2)."""
        return self.type_definition == PROPERTY_TYPE


async def browse_server(
    server: ServerSettings, pki: Pki, start: str = "Objects", *, max_depth: int = 4, max_nodes: int = 2000
) -> list[TreeNode]:
    """Connect once and list what is at ``start`` and below, parents before children; the Server object stays closed.

    Raises:
        ConnectError: The server cannot be reached, is not trusted, or refuses the user.
        NodeError: Nothing at ``start``.
    """
    async with Session(server, pki).connect() as connection:
        return await browse(connection, start, max_depth=max_depth, max_nodes=max_nodes)


async def browse(connection: Connection, start: str, *, max_depth: int, max_nodes: int) -> list[TreeNode]:
    """As ``browse_server``, over a connection that stands.

    Raises:
        NodeError: Nothing at ``start``.
    """
    tree = await _roots(connection, start)
    level, count, seen = tree, len(tree), {b.node_id for b in tree}
    for _ in range(max_depth):
        below: list[_Branch] = []
        for parent, references in zip(level, await connection.browse([b.node_id for b in level]), strict=True):
            for r in references:
                node_id = local(r.NodeId)
                if r.NodeClass not in _CLASSES or node_id in seen or count >= max_nodes:
                    continue
                seen.add(node_id)
                count += 1
                name = str(r.BrowseName.Name)
                path = parent.path and f"{parent.path}/{path_text((name,))}"
                child = _Branch(node_id, name, r.NodeClass.name, path, local(r.TypeDefinition))
                parent.children.append(child)
                below.append(child)
        level = [b for b in below if b.kind != "Method" and not _is_server(b.node_id)]
        if not level or count >= max_nodes:
            break
    lines: list[tuple[TreeNode, _Branch]] = []
    for branch in tree:
        _flatten(connection, branch, 0, lines)
    return await _describe(connection, lines)


@dataclass(slots=True)
class _Branch:
    node_id: ua.NodeId
    name: str
    kind: str
    path: str
    type_definition: ua.NodeId
    children: list[_Branch] = field(default_factory=list)


async def _roots(connection: Connection, start: str) -> list[_Branch]:
    found, address = await find(connection, start), parse_address(start)
    nodes = [f.node_id for f in found]
    classes = await connection.read(nodes, AttributeIds.NodeClass)
    types = await connection.browse(nodes, ObjectIds.HasTypeDefinition)
    out: list[_Branch] = []
    for f, dv, defined in zip(found, classes, types, strict=True):
        kind = ua.NodeClass.Object if dv.Value is None or dv.Value.Value is None else ua.NodeClass(dv.Value.Value)
        path = path_text((address.root, *f.path)) if isinstance(address, BrowseAddress) else ""
        out.append(_Branch(f.node_id, f.name, kind.name, path, local(defined[0].NodeId) if defined else ua.NodeId()))
    return out


def _flatten(connection: Connection, branch: _Branch, depth: int, out: list[tuple[TreeNode, _Branch]]) -> None:
    text = connection.namespaces.text
    type_ = "" if branch.type_definition.is_null() else text(branch.type_definition)
    out.append((TreeNode(depth, branch.name, branch.path, branch.kind, text(branch.node_id), type_), branch))
    for child in branch.children:
        _flatten(connection, child, depth + 1, out)


async def _describe(connection: Connection, lines: list[tuple[TreeNode, _Branch]]) -> list[TreeNode]:
    variables = {str(i): branch.node_id for i, (line, branch) in enumerate(lines) if line.kind == "Variable"}
    described = await Describer(connection).describe("", variables)
    values = await connection.read(list(variables.values()))
    types = await _type_names(connection, [branch.type_definition for line, branch in lines if line.kind == "Object"])
    out = [replace(line, type_name=types.get(branch.type_definition, "")) for line, branch in lines]
    for key, dv in zip(variables, values, strict=True):
        tag, i = described.get(key), int(key)
        if tag is None:
            continue  # gone since it was browsed
        good = status_of(dv) == 0
        out[i] = replace(
            out[i],
            data_type=tag.data_type_name + ("[]" if tag.is_array else ""),
            numeric=tag.numeric or tag.data_type is None,
            structured=tag.structured,
            value=shown(dv.Value.Value if dv.Value is not None else None),
            unit=tag.unit,
            status="" if good or dv.StatusCode is None else dv.StatusCode.name,
            writable=tag.writable,
        )
    return out


async def _type_names(connection: Connection, types: Sequence[ua.NodeId]) -> dict[ua.NodeId, str]:
    known = [t for t in dict.fromkeys(types) if not t.is_null()]
    names = await connection.read(known, AttributeIds.BrowseName)
    return {t: str(dv.Value.Value.Name) for t, dv in zip(known, names, strict=True) if dv.Value and dv.Value.Value}


def shown(value: object) -> str:
    """A value on one short line."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list | tuple):
        text = f"[{', '.join(shown(v) for v in value[:3])}{', ...' if len(value) > 3 else ''}] ({len(value)})"
    elif isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, ua.LocalizedText):
        text = str(value.Text or "")
    else:
        text = "" if value is None else str(value)
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 3] + "..."


def _is_server(node_id: ua.NodeId) -> bool:
    return node_id.NamespaceIndex == 0 and node_id.Identifier == ObjectIds.Server
