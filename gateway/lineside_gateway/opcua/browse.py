"""A server's address space as a tree, for people: names, addresses to configure, types, units, values."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asyncua import ua

from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.describe import Describer
from lineside_gateway.opcua.nodes import find, local
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.standard import ObjectIds
from lineside_gateway.opcua.values import status_of
from lineside_gateway.settings import ServerSettings

_CLASSES = {ua.NodeClass.Object, ua.NodeClass.Variable, ua.NodeClass.Method}
_VALUE_CHARS = 60


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One line of the tree. ``address`` is what settings take; ``value`` is cut short for display."""

    depth: int
    name: str
    path: str
    kind: str
    """Object, Variable or Method."""
    address: str
    data_type: str = ""
    value: str = ""
    unit: str = ""
    status: str = ""
    writable: bool = False


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
    found = await find(connection, start)
    tree = [_Branch(f.node_id, f.name, "Object", "/".join(f.path) or f.name, []) for f in found]
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
                child = _Branch(node_id, name, r.NodeClass.name, f"{parent.path}/{name}", [])
                parent.children.append(child)
                below.append(child)
        level = [b for b in below if b.kind != "Method" and not _is_server(b.node_id)]
        if not level or count >= max_nodes:
            break
    lines: list[tuple[TreeNode, ua.NodeId]] = []
    for branch in tree:
        _flatten(connection, branch, 0, lines)
    return await _describe(connection, lines)


@dataclass(slots=True)
class _Branch:
    node_id: ua.NodeId
    name: str
    kind: str
    path: str
    children: list[_Branch]


def _flatten(connection: Connection, branch: _Branch, depth: int, out: list[tuple[TreeNode, ua.NodeId]]) -> None:
    address = connection.namespaces.text(branch.node_id)
    out.append((TreeNode(depth, branch.name, branch.path, branch.kind, address), branch.node_id))
    for child in branch.children:
        _flatten(connection, child, depth + 1, out)


async def _describe(connection: Connection, lines: list[tuple[TreeNode, ua.NodeId]]) -> list[TreeNode]:
    variables = {str(i): node_id for i, (line, node_id) in enumerate(lines) if line.kind == "Variable"}
    described = await Describer(connection).describe("", variables)
    values = await connection.read(list(variables.values()))
    out = [line for line, _ in lines]
    for key, dv in zip(variables, values, strict=True):
        tag, i = described[key], int(key)
        good = status_of(dv) == 0
        out[i] = replace(
            out[i],
            data_type=tag.data_type_name + ("[]" if tag.is_array else ""),
            value=shown(dv.Value.Value if dv.Value is not None else None),
            unit=tag.unit,
            status="" if good or dv.StatusCode is None else dv.StatusCode.name,
            writable=tag.writable,
        )
    return out


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
