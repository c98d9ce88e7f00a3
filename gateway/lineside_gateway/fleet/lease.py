"""Leases at the broker: for each shard at most one member acts, whatever stops, dies or is cut off.

A lease is a key with a TTL and a fencing token that only grows. A member that holds it renews it every fifth of the
TTL, and trusts it for four fifths from the moment it asked, by its own clock: it falls silent before another can take
over. A free lease is taken when its last holder's time is over by the clock of whoever takes it, seen on an unbroken
connection; after a reconnect that means a whole TTL, because a broker that came back may have forgotten a lease that
is still trusted (asynchronous replication, no persistence).

Source: C. Gray, D. Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency",
SOSP 1989, section 5 (clock drift).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lineside_gateway.dispatch.connection import LOSSES
from lineside_gateway.fleet import names
from lineside_gateway.fleet.shards import Shards

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

TRUSTED_SHARE = 0.8  # the rest covers a write under way, and clocks that run apart by up to a tenth
LOOKS_PER_LEASE = 5
SOON_S = 0.02  # after the moment at which a lease runs out
YIELD_S = 1.0  # what a member that is not preferred leaves to the one that is

# Renews, takes if allowed, or tells who holds. A free lease that was given back may be taken by whoever it was given
# back for, one that is not there if ARGV[4] says that its time is over. Replies: mine, member, token, ms left, wanted.
_LOOK = """
local member, token, kept_for = unpack(redis.call('HMGET', KEYS[1], 'member', 'token', 'for'))
local mine = member == ARGV[1] and token == ARGV[2]
local given = member == '' and ARGV[5] == '1' and (kept_for == '' or kept_for == ARGV[1])
if given or not member and ARGV[4] == '1' then
  local now = redis.call('TIME')
  token = string.format('%.0f', math.max(tonumber(redis.call('GET', KEYS[2]) or '0') + 1, now[1] * 1e6 + now[2]))
  redis.call('SET', KEYS[2], token)
  redis.call('HSET', KEYS[1], 'member', ARGV[1], 'token', token, 'for', '')
  member, mine = ARGV[1], true
end
if mine then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
if ARGV[6] == '1' and not mine then redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[3]) end
return {mine and 1 or 0, member or '', token or '', redis.call('PTTL', KEYS[1]), redis.call('EXISTS', KEYS[3])}
"""
# A lease that is given back stays as a free one for its TTL: whoever sees it knows that nobody trusts it any more.
_GIVE_BACK = """
local held = redis.call('HMGET', KEYS[1], 'member', 'token')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'member', '', 'for', ARGV[3])
return 1
"""


def boot_s() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps where there is such a one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(slots=True)
class Standing:
    """How one shard stands for this member. ``free_at_s``: when its last known holder's time is over."""

    token: str = ""
    trusted_until_s: float = float("-inf")
    holder: str = ""
    free_at_s: float = float("inf")
    led: bool = False
    told: str = ""
    times: int = 0


class Successor(Protocol):
    """Who is told of gains and losses, on the event loop."""

    async def gained(self, shard: str) -> None:
        """The lease is held; prepare. The shard is led when this returns."""

    async def elsewhere(self, shard: str) -> None:
        """It is not led, and who leads it has changed."""


class Leases:
    """The leases of one member over ``shards``. ``clock`` is in seconds and never set."""

    def __init__(
        self, redis: Redis, line: str, member: str, shards: Shards, lease_s: float, *,
        return_after_s: float = 600.0, clock: Callable[[], float] = boot_s,
    ) -> None:  # fmt: skip
        self.member = member
        self._redis = redis
        self._line = line
        self._shards = shards
        self._lease_s = lease_s
        self._clock = clock
        self._asks_from_s = clock() + return_after_s
        self._contact = False
        self._standing = {name: Standing() for name in shards.names}

    def leads(self, shard: str) -> bool:
        """Whether this member may act for ``shard`` now."""
        one = self._standing[shard]
        return one.led and self._clock() < one.trusted_until_s

    def holder(self, shard: str) -> str:
        """The member that holds it as far as known, "" for nobody or unknown."""
        return self._standing[shard].holder if self._contact else ""

    def times_led(self, shard: str) -> int:
        """How often this member has come to lead it since its start."""
        return self._standing[shard].times

    def token(self, shard: str) -> str:
        """The fencing token of the lease held last."""
        return self._standing[shard].token

    async def run(self, successor: Successor) -> None:
        """Hold and take leases until cancelled, then give them back."""
        try:
            while True:
                for shard in self._standing:
                    await self._turn(shard, successor)
                await asyncio.sleep(self._pause_s())
        finally:
            for shard, one in self._standing.items():
                if one.trusted_until_s > self._clock():
                    await self._give_back(shard)

    async def _give_back(self, shard: str, to: str = "") -> None:
        """So that another need not wait for the TTL; ``to`` alone may take it where that is given."""
        one = self._standing[shard]
        one.trusted_until_s = float("-inf")
        try:
            async with asyncio.timeout(self._lease_s / LOOKS_PER_LEASE):
                await self._eval(_GIVE_BACK, [names.lease(self._line, shard)], [self.member, one.token, to])
        except LOSSES:
            logger.info("lease_left_to_expire shard=%s", shard)

    def _pause_s(self) -> float:
        """A fifth of the lease, or until one runs out."""
        soonest = min(one.free_at_s for one in self._standing.values()) - self._clock() + SOON_S
        return min(self._lease_s / LOOKS_PER_LEASE, max(soonest, SOON_S))

    async def _turn(self, shard: str, successor: Successor) -> None:
        one = self._standing[shard]
        try:
            async with asyncio.timeout(self._lease_s / LOOKS_PER_LEASE):
                await self._look(shard, one)
            held = self._clock() < one.trusted_until_s
            if held and not one.led:
                async with asyncio.timeout(self._lease_s):
                    await successor.gained(shard)
                one.led = True
                one.times += 1
                logger.warning("shard_led shard=%s member=%s token=%s", shard, self.member, one.token)
        except LOSSES as e:
            if self._contact:
                logger.warning("fleet_out_of_contact member=%s error=%s", self.member, e)
            self._contact = False
        holder = self.holder(shard)
        if one.led and self._clock() >= one.trusted_until_s:
            one.led = False
            logger.warning("shard_lost shard=%s member=%s holder=%s", shard, self.member, holder or "nobody")
        elif one.led or holder == one.told:
            one.told = holder
            return
        one.told = holder
        await successor.elsewhere(shard)

    async def _look(self, shard: str, one: Standing) -> None:
        asked, unbroken = self._clock(), self._contact
        if not unbroken:  # what was known of other holders may be forgotten by a broker that has come back
            for other in self._standing.values():
                other.free_at_s = asked + self._lease_s
        preferred = self._shards.preferred(shard)
        yields = preferred not in {None, self.member}
        over = asked >= one.free_at_s + YIELD_S * yields
        asks = preferred == self.member and asked >= self._asks_from_s
        keys = [names.lease(self._line, shard), names.fence(self._line, shard), names.wanted(self._line, shard)]
        arguments: list[str | int] = [
            self.member,
            one.token,
            round(1e3 * self._lease_s),
            int(over),
            int(unbroken),
            int(asks),
        ]
        mine, holder, token, left_ms, wanted = await self._eval(_LOOK, keys, arguments)
        self._contact = True
        one.holder = holder.decode()
        if one.holder:
            one.free_at_s = self._clock() + left_ms / 1e3
        if mine:
            one.token, one.trusted_until_s = token.decode(), asked + TRUSTED_SHARE * self._lease_s
        else:
            one.trusted_until_s = float("-inf")
        if mine and wanted and yields:
            await self._give_back(shard, preferred or "")

    async def _eval(self, script: str, keys: list[str], arguments: list[str | int]) -> Any:
        return await self._redis.eval(script, len(keys), *keys, *map(str, arguments))
