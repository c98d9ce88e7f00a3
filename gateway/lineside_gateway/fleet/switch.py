"""The plant-wide switch of a fleet: thrown at one member, it holds all of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol, cast

from lineside_gateway.fleet import names
from lineside_gateway.fleet.signed import seal, unseal
from lineside_gateway.guard.switch import Throw

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Switch(Protocol):
    """The member's own switch, on its disk."""

    def read(self) -> Throw:
        """How it stands."""

    def throw(self, demoted: bool, *, by: str, why: str = "") -> Throw:
        """Throw it."""


class SharedSwitch:
    """Keeps one member's switch and the broker's copy alike: what was thrown last counts."""

    def __init__(self, redis: Redis, line: str, hmac_key: bytes = b"") -> None:
        self._redis = redis
        self._key = hmac_key
        self._name = names.switch(line)
        self._seen: Throw | None = None

    async def look(self, switch: Switch) -> None:
        """Tell the others what was thrown here, or do as they say.

        Raises:
            RedisError, OSError: The broker is lost; each member keeps to its own switch.
        """
        here, row = switch.read(), cast("bytes | None", await self._redis.get(self._name))
        body = unseal(self._key, self._name, row) if row else None
        there = Throw(**json.loads(body)) if body else Throw()
        if row and body is None:  # whoever wrote this has no say; ours stands, and stands there again
            await self._redis.set(self._name, seal(self._key, self._name, json.dumps(asdict(here))))
            return
        if not _same(here, there):
            thrown_here = here.at > there.at if self._seen is None else not _same(here, self._seen)
            if thrown_here:
                await self._redis.set(self._name, seal(self._key, self._name, json.dumps(asdict(here))))
            else:
                here = switch.throw(there.demoted, by=there.by, why=there.why)
        self._seen = here


def _same(one: Throw, other: Throw) -> bool:
    """Alike but for when: each member notes its own time."""
    return (one.demoted, one.by, one.why) == (other.demoted, other.by, other.why)
