"""Nodes of a server that look alike: machines of one kind, wherever they stand. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lineside_gateway.discovery.places import Names, Place, all_places

PLAIN_TYPES = frozenset({"", "i=58", "i=61", "i=62", "i=63"})
"""BaseObjectType, FolderType, BaseVariableType, BaseDataVariableType (OPC UA Part 5): none says what a node is."""
_SEPARATOR = re.compile(r"[_.\- ]")
_CUTS = 3
"""Separators of a name at which a machine's may end: ``Line1.Mill1.Spindle_Temp``."""
_WELL_KNOWN = frozenset({("Root",), ("Objects",), ("Root", "Objects")})
ALIKE = 0.6
"""Share of variable paths that objects of one kind have in common at least: machines differ in their options."""


def kinds_of(roots: Sequence[Place]) -> list[tuple[Place, ...]]:
    """Nodes with Variables below them, those that look alike together, in browse order; parts of machines too.

    Alike are nodes on one level of the tree that are of one type of their own, or have mostly the same Variables by
    name below them. A machine may be a Variable itself, a structure whose fields are Variables: so some PLCs show it.
    It may also be no node at all, but the Variables of a folder whose names begin alike (``Mill1_Temp``).
    """
    kinds: list[list[tuple[Place, frozenset[Names]]]] = []
    for place in (p for found in all_places(roots) for p in (found, *prefixed(found))):
        if not place.children or place.node.is_property or _is_standard(place):
            continue
        variables = frozenset(names for names, _ in place.variables())
        if not variables:
            continue
        for kind in kinds:
            first, known = kind[0]
            if first.node.depth == place.node.depth and _alike(first, known, place, variables):
                kind.append((place, variables))
                break
        else:
            kinds.append([(place, variables)])
    # A beginning that no other Variables have in their way is part of a name, and no machine.
    return [tuple(place for place, _ in kind) for kind in kinds if len(kind) > 1 or not kind[0][0].prefix]


def prefixed(folder: Place) -> Iterator[Place]:
    """The Variables right below ``folder`` by what their names begin with, where there are several such groups.

    Names are cut at each of their first separators in turn: which cut is a machine's name the tags have to tell.
    """
    names = [(c, [m.start() for m in _SEPARATOR.finditer(c.name)]) for c in folder.children if not c.children]
    for cut in range(_CUTS):
        groups: dict[str, list[Place]] = {}
        for child, at in names:
            if len(at) > cut and child.node.kind == "Variable":
                groups.setdefault(child.name[: at[cut]], []).append(child)
        groups = {prefix: group for prefix, group in groups.items() if len(group) > 1}
        if len(groups) > 1:
            for prefix, group in groups.items():
                yield Place(folder.server, folder.node, folder.names, folder.parent, group, prefix)


def _alike(one: Place, its: frozenset[Names], other: Place, theirs: frozenset[Names]) -> bool:
    own_type = one.node.type_definition
    if own_type not in PLAIN_TYPES and own_type == other.node.type_definition:
        return True
    return len(its & theirs) >= ALIKE * len(its | theirs)


def _is_standard(place: Place) -> bool:
    """Nodes of the OPC UA base namespace, such as Server and Aliases, are no equipment."""
    return place.names in _WELL_KNOWN or place.node.address.startswith("i=")
