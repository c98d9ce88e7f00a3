"""Objects of a server that look alike: machines of one kind, wherever they stand. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lineside_gateway.discovery.places import Names, Place, all_places

PLAIN_TYPES = frozenset({"", "i=58", "i=61"})
"""BaseObjectType and FolderType (OPC UA Part 5, 6.2 and 6.6): they say nothing of what an Object is."""
_WELL_KNOWN = frozenset({("Root",), ("Objects",), ("Root", "Objects")})
ALIKE = 0.6
"""Share of variable paths that objects of one kind have in common at least: machines differ in their options."""


def kinds_of(roots: Sequence[Place]) -> list[tuple[Place, ...]]:
    """Objects with variables below them, those that look alike together, in browse order; parts of machines too.

    Alike are objects on one level of the tree that are of one type of their own, or have mostly the same variable
    names below them.
    """
    kinds: list[list[tuple[Place, frozenset[Names]]]] = []
    for place in all_places(roots):
        if place.node.kind != "Object" or _is_standard(place):
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
