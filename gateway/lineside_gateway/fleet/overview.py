"""How a fleet stands, asked of the broker by somebody who is no member of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lineside_gateway.dispatch import BrokerError
from lineside_gateway.dispatch.connection import IO_TIMEOUT_S, LOSSES, connect, without_password
from lineside_gateway.fleet import names
from lineside_gateway.fleet.presence import Presence, Seen

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from lineside_gateway.settings.fleet import FleetSettings, ShardSettings


@dataclass(frozen=True, slots=True)
class ShardNow:
    """Who leads one shard, "" for nobody; since when, and how old the lease is: how long ago it was renewed."""

    shard: str
    prefer: str | None
    leader: str
    standbys: tuple[str, ...]
    led_for_s: float | None
    lease_age_s: float | None


@dataclass(frozen=True, slots=True)
class FleetNow:
    """The fleet of one line at one moment."""

    line: str
    lease_s: float
    shards: tuple[ShardNow, ...]
    members: tuple[Seen, ...]

    @property
    def whole(self) -> bool:
        """Whether every shard is led."""
        return all(s.leader for s in self.shards)


async def overview(url: str, line: str, settings: FleetSettings, hmac_key: bytes = b"") -> FleetNow:
    """How the fleet of ``line`` stands at the broker.

    Raises:
        BrokerError: The broker does not answer: nobody leads then.
    """
    redis = connect(url)
    try:
        async with asyncio.timeout(IO_TIMEOUT_S):
            members = await Presence(redis, line, hmac_key).seen()
            here = [m.member for m in members if m.present]
            shards = [await _shard(redis, line, s, here, settings.lease_s) for s in settings.shards]
    except LOSSES as e:
        raise BrokerError(
            f"the broker at {without_password(url)} cannot be used: {e or 'no answer'}; while it is away no gateway of "
            f"'{line}' leads, and none writes to the plant; start it or correct broker.url"
        ) from e
    finally:
        await redis.aclose()
    return FleetNow(line, settings.lease_s, tuple(shards), tuple(members))


async def _shard(redis: Redis, line: str, shard: ShardSettings, here: list[str], lease_s: float) -> ShardNow:
    name = names.lease(line, shard.name)
    held = await cast("Awaitable[Any]", redis.hmget(name, ["member", "token"]))
    left_ms = await redis.pttl(name)
    leader = (held[0] or b"").decode()
    standbys = tuple(m for m in here if m != leader)
    if not leader or left_ms < 0:
        return ShardNow(shard.name, shard.prefer, "", standbys, None, None)
    seconds, micros = await redis.time()
    led_for_s = (1e6 * seconds + micros - int(held[1])) / 1e6  # a token is the broker's time in us when it was given
    return ShardNow(shard.name, shard.prefer, leader, standbys, max(0.0, led_for_s), max(0.0, lease_s - left_ms / 1e3))
