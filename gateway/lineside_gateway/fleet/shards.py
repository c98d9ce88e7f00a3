"""Which shard a piece of equipment belongs to. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from lineside_gateway.settings.fleet import ShardSettings


class Shards:
    """The shards in the order of the settings; the first whose pattern fits has the equipment."""

    def __init__(self, shards: Sequence[ShardSettings]) -> None:
        self._shards = tuple(shards)
        self._known: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(s.name for s in self._shards)

    def preferred(self, shard: str) -> str | None:
        """The member that leads it when it is there."""
        return next(s.prefer for s in self._shards if s.name == shard)

    def of(self, equipment_id: str) -> str:
        """The shard of a piece of equipment, or of the line by the gateway's id."""
        found = self._known.get(equipment_id)
        if found is None:
            found = self._known[equipment_id] = next(
                s.name for s in self._shards if any(fnmatch.fnmatchcase(equipment_id, p) for p in s.patterns)
            )
        return found
