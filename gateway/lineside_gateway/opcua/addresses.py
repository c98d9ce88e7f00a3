"""How a node is named in settings: a NodeId with its namespace URI, or a browse path with globs."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from asyncua import ua

from lineside_gateway.errors import NodeError
from lineside_gateway.opcua.standard import ObjectIds, UaError, standard

_NODE_ID = re.compile(r"^(?:(?P<kind>nsu|ns)=(?P<ns>[^;]*);)?(?P<type>[isgb])=(?P<value>.+)$", re.DOTALL)
_SEPARATOR = re.compile(r"(?<!&)/")
_WELL_KNOWN = {"Root": ObjectIds.RootFolder, "Objects": ObjectIds.ObjectsFolder, "Server": ObjectIds.Server}


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The NamespaceArray of one connection. Indices are valid for this connection only; URIs always."""

    uris: tuple[str, ...]

    def index(self, uri: str) -> int:
        """Index of ``uri`` on this connection.

        Raises:
            NodeError: The server does not have it (now).
        """
        try:
            return self.uris.index(uri)
        except ValueError:
            raise NodeError(
                f"namespace '{uri}' is not on the server; it has {', '.join(self.uris) or 'none'}"
            ) from None

    def text(self, node_id: ua.NodeId) -> str:
        """``nsu=...;s=...``: the form that stays right when the server reorders its namespaces."""
        short = ua.NodeId(node_id.Identifier, ua.Int16(0), node_id.NodeIdType).to_string()
        index = int(node_id.NamespaceIndex)
        if index == 0:
            return short
        return f"nsu={self.uris[index]};{short}" if index < len(self.uris) else f"ns={index};{short}"


@dataclass(frozen=True, slots=True)
class NodeIdAddress:
    """A NodeId as configured. ``uri`` None and ``index`` set: an index, which a server may reorder."""

    identifier: str
    uri: str | None
    index: int

    @property
    def by_index(self) -> bool:
        """True where a namespace index other than 0 is used: accepted with a warning."""
        return self.uri is None and self.index > 0

    def resolve(self, namespaces: Namespaces) -> ua.NodeId:
        """The NodeId on this connection.

        Raises:
            NodeError: The namespace URI is not on the server.
        """
        index = self.index if self.uri is None else namespaces.index(self.uri)
        return ua.NodeId.from_string(f"ns={index};{self.identifier}")


@dataclass(frozen=True, slots=True)
class BrowseAddress:
    """A browse path of BrowseNames, each of which may be a glob (``*``, ``?``, ``[...]``); namespaces are ignored."""

    parts: tuple[str, ...]

    @property
    def has_glob(self) -> bool:
        """True where several nodes may match."""
        return any(c in part for part in self.parts for c in "*?[")

    @property
    def root(self) -> str:
        """Name of the well-known node the path starts from; Objects where it names none."""
        return self.parts[0] if self.parts[0] in _WELL_KNOWN else "Objects"

    def start(self) -> tuple[ua.NodeId, tuple[str, ...]]:
        """The well-known node the path starts from, and the parts that remain."""
        return standard(_WELL_KNOWN[self.root]), self.parts[self.parts[0] in _WELL_KNOWN :]


Address = NodeIdAddress | BrowseAddress


def parse_address(text: str) -> Address:
    """Read a configured node address.

    ``nsu=<uri>;s=<id>`` (or ``i``, ``g``, ``b``), ``ns=<index>;s=<id>``, ``i=<id>``, else a browse path with ``/``
    between BrowseNames and ``&/`` for a slash inside one (OPC UA Part 4, A.2).

    Raises:
        NodeError: Neither of these forms.
    """
    match = _NODE_ID.match(text)
    if match is not None:
        return _node_id(text, match)
    parts = tuple(p.replace("&/", "/") for p in _SEPARATOR.split(text.strip("/")))
    if not text.strip("/") or not all(parts):
        raise NodeError(f"node '{text}' has an empty part; write 'Objects/Folder/Name' or 'nsu=<uri>;s=<id>'")
    return BrowseAddress(parts)


def _node_id(text: str, match: re.Match[str]) -> NodeIdAddress:
    identifier = f"{match['type']}={match['value']}"
    try:
        ua.NodeId.from_string(f"ns=0;{identifier}")
    except (UaError, ValueError) as e:
        raise NodeError(f"node '{text}' is not a NodeId: {e}; write 'nsu=<uri>;s=<id>'") from e
    if match["kind"] == "nsu":
        return NodeIdAddress(identifier, match["ns"], 0)
    if match["ns"] is not None and not match["ns"].isdigit():
        raise NodeError(f"node '{text}' has namespace index '{match['ns']}'; it is a number, or write nsu=<uri>")
    return NodeIdAddress(identifier, None, int(match["ns"] or 0))


def matches(name: str, pattern: str) -> bool:
    """True where BrowseName ``name`` matches the glob, case and all."""
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def path_text(parts: Sequence[str]) -> str:
    """The parts as a configured browse path."""
    return "/".join(p.replace("/", "&/") for p in parts)
