"""Nodes of a server that look alike: machines of one kind, wherever they stand. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lineside_gateway.discovery.places import Names, Place, all_places

PLAIN_TYPES = frozenset({"", "i=58", "i=61", "i=62", "i=63"})
"""BaseObjectType, FolderType, BaseVariableType, BaseDataVariableType (OPC UA Part 5): none says what a node is."""
_WELL_KNOWN = frozenset({("Root",), ("Objects",), ("Root", "Objects")})
ALIKE = 0.6
"""Share of variable paths that objects of one kind have in common at least: machines differ in their options."""


def kinds_of(roots: Sequence[Place]) -> list[tuple[Place, ...]]:
    """Nodes with Variables below them, those that look alike together, in browse order; parts of machines too.

    Alike are nodes on one level of the tree that are of one type of their own, or have mostly the same Variables by
    name below them. A machine may be a Variable itself, a structure whose fields are Variables: so some PLCs show it.
    """
    kinds: list[list[tuple[Place, frozenset[Names]]]] = []
    for place in all_places(roots):
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
    return [tuple(place for place, _ in kind) for kind in kinds]


def _alike(one: Place, its: frozenset[Names], other: Place, theirs: frozenset[Names]) -> bool:
    own_type = one.node.type_definition
    if own_type not in PLAIN_TYPES and own_type == other.node.type_definition:
        return True
    return len(its & theirs) >= ALIKE * len(its | theirs)


def _is_standard(place: Place) -> bool:
    """Nodes of the OPC UA base namespace, such as Server and Aliases, are no equipment."""
    return place.names in _WELL_KNOWN or place.node.address.startswith("i=")
