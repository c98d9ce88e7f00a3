"""How machines are named in settings: browse patterns where they fit exactly, else one by one. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lineside_gateway.discovery.machines import Machines
from lineside_gateway.discovery.patterns import Names, pattern_of
from lineside_gateway.discovery.places import Place, all_places
from lineside_gateway.opcua.addresses import Address, BrowseAddress

_GLOB = frozenset("*?[")
"""Characters that an equipment_id cannot have, because tasks name equipment by globs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the settings' equipment and the ``places`` it matches; ``id`` is "" where the BrowseName serves."""

    browse: str
    places: tuple[Place, ...]
    id: str = ""

    @property
    def server(self) -> str:
        """Name of the server that hosts them."""
        return self.places[0].server


class Register:
    """Entries and equipment_ids of all machines found."""

    def __init__(self, kinds: Sequence[Machines], roots: Sequence[Place], start: Address) -> None:
        self._start: Names = start.parts if isinstance(start, BrowseAddress) else ()
        self._there: dict[str, list[Names]] = {root.server: [] for root in roots}
        for place in all_places(roots):
            if place.node.kind != "Method" and place.names:
                self._there[place.server].append(place.names)
        places = [p for kind in kinds for p in kind.places]
        names = Counter(p.name for p in places)
        alone = {p: names[p.name] == 1 and not _GLOB & set(p.name) for p in places}
        self._ids = {p: p.name if alone[p] else _unique(p, places) for p in places}

    def id_of(self, place: Place) -> str:
        """equipment_id of a machine."""
        return self._ids[place]

    def entries(self, kind: Machines) -> tuple[Entry, ...]:
        """One entry for all on a server where a pattern matches exactly them, else one for each."""
        out: list[Entry] = []
        for server, there in self._there.items():
            places = tuple(p for p in kind.places if p.server == server)
            own_names = all(self._ids[p] == p.name and not p.prefix for p in places)
            pattern = pattern_of([p.names for p in places], there, self._start) if own_names else None
            out += [self._single(p) for p in places] if pattern is None else [Entry(pattern, places)]
        return tuple(out)

    def _single(self, place: Place) -> Entry:
        there = self._there[place.server]
        path = pattern_of([place.names], there) if there.count(place.names) == 1 else None
        id_ = "" if self._ids[place] == place.node.name else self._ids[place]
        if path is None or (id_ and _GLOB & set(path)):
            # Two nodes have one path, the tree was entered by a NodeId, or a name that looks like a glob takes no id.
            return Entry(place.node.address, (place,), id_)
        return Entry(path, (place,), id_)


def _unique(place: Place, places: Sequence[Place]) -> str:
    """An id from the server's name or the nearest names above that tell the machine from those of the same name."""
    rivals = [p for p in places if p.name == place.name and p is not place]
    if rivals and all(p.server != place.server for p in rivals):
        return _as_id(f"{place.server}-{place.name}")
    for count in range(2, len(place.names) + 1):
        if all(p.names[-count:] != place.names[-count:] for p in rivals):  # whichever server they are on
            return _as_id("-".join(place.names[-count:]))
    return _as_id(f"{place.name}-{place.node.address.rpartition('=')[2]}")


def _as_id(text: str) -> str:
    return re.sub(r"[_.-]*[^A-Za-z0-9_.-]+", "_", text).strip("_.-")[:64]
