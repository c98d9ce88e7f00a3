"""A browsed tree as places one can walk, and what the gateway will find below one by a path. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lineside_gateway.discovery.words import ID
from lineside_gateway.opcua.addresses import BrowseAddress, matches, parse_address
from lineside_gateway.opcua.browse import TreeNode

Names = tuple[str, ...]


@dataclass(eq=False, slots=True)
class Place:
    """One node of a server's tree; ``names`` lead there, () where it was reached by NodeId only."""

    server: str
    node: TreeNode
    names: Names
    parent: Place | None = None
    children: list[Place] = field(default_factory=list)
    prefix: str = ""
    """What the names of its children begin with, where the place is only some of a node's children."""

    @property
    def name(self) -> str:
        """BrowseName, or what stands for one."""
        return self.prefix or self.node.name

    def is_within(self, other: Place) -> bool:
        """Whether it is ``other`` or lies below it."""
        place: Place | None = self
        while place is not None and place is not other:
            place = place.parent
        return place is other

    def below(self) -> Iterator[tuple[Names, Place]]:
        """Everything below, nearest first, as the gateway searches, with the BrowseNames on the way."""
        level: list[tuple[Names, Place]] = [((), self)]
        while level:
            level = [((*names, c.name), c) for names, place in level for c in place.children]
            yield from level

    def variables(self) -> Iterator[tuple[Names, Place]]:
        """Variables below that hold values of the plant; the machine's own name is ``{id}`` in their paths."""
        for names, place in self.below():
            if place.node.kind == "Variable" and not place.node.is_property:
                yield tuple(with_id(n, self.name) for n in names), place

    def resolve(self, path: Sequence[str]) -> Place | None:
        """The node that the gateway takes for ``path``: the nearest whose trailing BrowseNames match."""
        wanted = [p.replace(ID, self.name) for p in path]
        for names, place in self.below():
            there = place.node.kind != "Method" and len(names) >= len(wanted)
            if there and all(matches(n, w) for n, w in zip(names[-len(wanted) :], wanted, strict=True)):
                return place
        return None


def with_id(text: str, machine: str) -> str:
    """``text`` with ``{id}`` where the machine's name stands as a word: ``Mill1_Temp`` is ``{id}_Temp``."""
    if len(machine) < 2:  # a letter is too likely to be part of something else
        return text
    return re.sub(rf"(?<![^\W_]){re.escape(machine)}(?![a-z0-9])", ID, text)


def tree_of(nodes: Sequence[TreeNode], server: str = "") -> list[Place]:
    """Roots of the tree of ``server`` whose lines ``nodes`` are, parents before children."""
    roots: list[Place] = []
    above: list[Place] = []
    for node in nodes:
        address = parse_address(node.path) if node.path else None
        place = Place(server, node, address.parts if isinstance(address, BrowseAddress) else ())
        above = above[: node.depth]
        if above:
            place.parent = above[-1]
            above[-1].children.append(place)
        else:
            roots.append(place)
        above.append(place)
    return roots


def all_places(roots: Sequence[Place]) -> Iterator[Place]:
    """Every place of the tree, nearest to the roots first."""
    level = list(roots)
    while level:
        yield from level
        level = [c for place in level for c in place.children]
