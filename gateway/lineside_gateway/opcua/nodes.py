"""From configured addresses to nodes: equipment by browse path, its tags by BrowseName below it, their description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from asyncua import ua

from lineside_gateway.errors import NodeError
from lineside_gateway.opcua.addresses import BrowseAddress, matches, parse_address, path_text
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import Equipment, TagNode
from lineside_gateway.opcua.describe import Describer
from lineside_gateway.opcua.standard import AttributeIds
from lineside_gateway.settings import EquipmentSettings


@dataclass(frozen=True, slots=True)
class Found:
    """A node that a browse path leads to, with the BrowseNames on the way."""

    node_id: ua.NodeId
    name: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WantedEquipment:
    """One entry of the settings' equipment and the tags its tasks want, tag -> address (its own name by default)."""

    entry: EquipmentSettings
    tags: Mapping[str, str] = field(default_factory=dict)
    numeric: frozenset[str] = frozenset()
    """Tags that a task's window needs as numbers; a node of another type counts as missing."""
    optional: frozenset[str] = frozenset()
    """Tags that no task needs; looked for, and not complained about."""


async def find(connection: Connection, address: str) -> list[Found]:
    """Nodes at ``address``, in browse order; a NodeId gives one, a glob any number.

    Raises:
        NodeError: Nothing there; the sentence names the deepest part that was found and what stands below it.
    """
    parsed = parse_address(address)
    if not isinstance(parsed, BrowseAddress):
        node_id = parsed.resolve(connection.namespaces)
        name = (await connection.read([node_id], AttributeIds.BrowseName))[0]
        if name.StatusCode is None or not name.StatusCode.is_good() or name.Value is None:
            raise NodeError(
                f"node '{address}' is not on server '{connection.server.name}'; compare with 'lineside browse'"
            )
        return [Found(node_id, name.Value.Value.Name, (name.Value.Value.Name,))]
    start, parts = parsed.start()
    level = [Found(start, parsed.parts[0], ())]
    for at, part in enumerate(parts):
        below = await _children(connection, level)
        hit = [f for f in below if matches(f.name, part)]
        if not hit:
            there = ", ".join(sorted({f.name for f in below})[:12]) or "nothing"
            above = path_text(parsed.parts[: len(parsed.parts) - len(parts) + at]) or "Objects"
            raise NodeError(
                f"'{part}' of browse path '{address}' is not below '{above}' on server '{connection.server.name}'; "
                f"there: {there}"
            )
        level = hit
    return level


async def resolve(connection: Connection, wanted: Sequence[WantedEquipment]) -> list[Equipment]:
    """Every piece of equipment with its tags; what cannot be found is in ``missing`` with its cause.

    An entry whose own browse path leads nowhere gives an Equipment without tags where it has an id.
    """
    describer = Describer(connection)
    out: list[Equipment] = []
    for want in wanted:
        try:
            roots = await find(connection, want.entry.browse)
        except NodeError as e:
            if want.entry.id is not None:
                nowhere = _equipment(connection, want.entry, Found(ua.NodeId(), want.entry.id, ()))
                out.append(replace(nowhere, missing=dict.fromkeys(want.tags, e.sentence)))
            continue
        for root in roots:
            equipment = _equipment(connection, want.entry, root)
            places, missing = await _places(connection, root, equipment.id, want.tags)
            tags = await describer.describe(equipment.id, places)
            missing |= {t: _unknown(connection, places[t]) for t in places.keys() - tags.keys()}
            unfit = {t: cause for t, node in tags.items() if (cause := _unfit(node, number=t in want.numeric))}
            kept = {t: node for t, node in tags.items() if t not in unfit}
            out.append(replace(equipment, tags=kept, missing=missing | unfit, unfit=frozenset(unfit)))
    return out


async def _places(
    connection: Connection, root: Found, equipment_id: str, tags: Mapping[str, str]
) -> tuple[dict[str, ua.NodeId], dict[str, str]]:
    """NodeId of each tag, and the cause for each that is missing."""
    places: dict[str, ua.NodeId] = {}
    missing: dict[str, str] = {}
    paths: dict[str, tuple[str, ...]] = {}
    for tag, text in tags.items():
        try:
            address = parse_address(text.replace("{id}", equipment_id))
            if isinstance(address, BrowseAddress):
                paths[tag] = address.parts
            else:
                places[tag] = address.resolve(connection.namespaces)
        except NodeError as e:
            missing[tag] = e.sentence
    if paths:
        found, browsed_all = await _search(connection, root, paths)
        places |= found
        for tag in paths.keys() - found.keys():
            bound = "" if browsed_all else f" within max_nodes={connection.server.max_nodes}"
            missing[tag] = (
                f"no node '{path_text(paths[tag])}' below '{equipment_id}' on server '{connection.server.name}'{bound} "
                f"and max_depth={connection.server.max_depth}; set its path in tags"
            )
    return places, missing


async def _search(
    connection: Connection, root: Found, paths: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, ua.NodeId], bool]:
    """Breadth first below ``root``: the nearest node whose trailing BrowseNames match each path.

    Returns the nodes and whether everything within max_depth was seen before max_nodes was reached.
    """
    found: dict[str, ua.NodeId] = {}
    level, seen = [Found(root.node_id, root.name, ())], {root.node_id}
    for _ in range(connection.server.max_depth):
        below = [f for f in await _children(connection, level) if f.node_id not in seen]
        for f in below:
            seen.add(f.node_id)
            for tag, path in paths.items():
                if tag not in found and _ends_with(f.path, path):
                    found[tag] = f.node_id
        if len(found) == len(paths) or not below:
            return found, True
        if len(seen) > connection.server.max_nodes:
            return found, False
        level = below
    return found, True


def _unknown(connection: Connection, node_id: ua.NodeId) -> str:
    address = connection.namespaces.text(node_id)
    return (
        f"node {address} is not on server '{connection.server.name}' (BadNodeIdUnknown); compare with 'lineside browse'"
    )


def _unfit(node: TagNode, *, number: bool) -> str:
    """Why no task can use the node's values, "" where one can; ``number``: a task asks for a number."""
    kind = f"an array of {node.data_type_name}" if node.is_array else node.data_type_name
    if node.structured:
        return (
            f"{node.address} is {kind}, a structure, and tasks take plain values; point tags.{node.tag} at the "
            "component Variable that holds the field ('lineside browse' lists them)"
        )
    if not number or node.data_type is None or node.numeric:
        return ""
    return f"{node.address} is {kind} and the task needs a number; point tags.{node.tag} at a numeric node"


def _ends_with(path: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return len(path) >= len(wanted) and all(matches(p, w) for p, w in zip(path[-len(wanted) :], wanted, strict=True))


async def _children(connection: Connection, parents: Sequence[Found]) -> list[Found]:
    """Objects and Variables one hierarchical reference below, in browse order."""
    out: list[Found] = []
    for parent, references in zip(parents, await connection.browse([p.node_id for p in parents]), strict=True):
        out += [
            Found(local(r.NodeId), r.BrowseName.Name, (*parent.path, r.BrowseName.Name))
            for r in references
            if r.NodeClass in {ua.NodeClass.Object, ua.NodeClass.Variable} and _is_local(r.NodeId)
        ]
    return out


def _is_local(node_id: ua.NodeId) -> bool:
    return not isinstance(node_id, ua.ExpandedNodeId) or not node_id.ServerIndex


def local(node_id: ua.NodeId) -> ua.NodeId:
    """An ExpandedNodeId of this server as a NodeId that compares and hashes like one."""
    return ua.NodeId(node_id.Identifier, node_id.NamespaceIndex, node_id.NodeIdType)


def _equipment(connection: Connection, entry: EquipmentSettings, root: Found) -> Equipment:
    return Equipment(
        entry.id or root.name,
        connection.server.name,
        root.node_id,
        connection.namespaces.text(root.node_id),
        entry.site,
        entry.area,
        entry.work_center,
    )
