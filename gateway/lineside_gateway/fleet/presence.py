"""Which members a line has, and where each hosts: leading or not, a member says so as long as it lives."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lineside_gateway.fleet import names
from lineside_gateway.fleet.signed import seal, unseal

if TYPE_CHECKING:
    from redis.asyncio import Redis

PRESENT_S = 6.0  # three times as long as between two words of it
FORGOTTEN_AFTER_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One member: the endpoint it hosts, its ApplicationUri, and how long ago it was heard of."""

    member: str
    endpoint: str
    uri: str
    age_s: float

    @property
    def present(self) -> bool:
        """Whether it lives, as far as known."""
        return self.age_s <= PRESENT_S


class Presence:
    """One hash per line at the broker; times are by the broker's clock."""

    def __init__(self, redis: Redis, line: str, hmac_key: bytes = b"") -> None:
        self._redis = redis
        self._name = names.members(line)
        self._key = hmac_key
        self._tidied = False

    async def tell(self, member: str, endpoint: str, uri: str) -> None:
        """Say that ``member`` is here; the first time, forget those that nobody has heard of for a day.

        Raises:
            RedisError, OSError: The broker is lost.
        """
        row = json.dumps({"endpoint": endpoint, "uri": uri, "at": await self._now()})
        await self._hash("hset", member, seal(self._key, self._place(member), row))
        if not self._tidied:
            recent = {s.member for s in await self.seen()}
            for gone in {name.decode() for name in await self._hash("hgetall")} - recent:
                await self._hash("hdel", gone)
            self._tidied = True

    async def seen(self) -> list[Seen]:
        """All that have been heard of within a day, by name.

        Raises:
            RedisError, OSError: The broker is lost.
        """
        now = await self._now()
        rows = cast("dict[bytes, bytes]", await self._hash("hgetall"))
        found = [self._seen(name.decode(), sealed, now) for name, sealed in sorted(rows.items())]
        return [s for s in found if s is not None and s.age_s <= FORGOTTEN_AFTER_S]

    def _seen(self, member: str, sealed: bytes, now: float) -> Seen | None:
        body = unseal(self._key, self._place(member), sealed)
        if body is None:
            return None
        row = json.loads(body)
        return Seen(member, str(row["endpoint"]), str(row["uri"]), max(0.0, now - float(row["at"])))

    def _place(self, member: str) -> str:
        return f"{self._name} {member}"

    async def _now(self) -> float:
        seconds, micros = await self._redis.time()
        return float(seconds) + micros / 1e6

    async def _hash(self, command: str, *arguments: str) -> Any:
        return await cast("Awaitable[Any]", getattr(self._redis, command)(self._name, *arguments))
