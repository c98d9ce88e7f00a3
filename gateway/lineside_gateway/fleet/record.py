"""What a shard's leader does to the plant, noted at the broker before it is done: its successor takes up from there.

An entry is made only with the fencing token of the lease that is in force, and once per key: of two members that
believe they lead, the broker lets one begin. It is forgotten when the plant's answer is no longer waited for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from lineside_gateway.dispatch.connection import LOSSES
from lineside_gateway.dispatch.line import Line
from lineside_gateway.fleet import names
from lineside_gateway.fleet.lease import Leases
from lineside_gateway.fleet.shards import Shards
from lineside_gateway.fleet.signed import seal, unseal
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.journal import FencedError, Journal, Remembered, decision_of, plain
from lineside_gateway.guard.refusal import Refusal

if TYPE_CHECKING:
    from redis.asyncio import Redis

BEGIN_WITHIN_S = 2.0
LEAST_KEPT_S = 600.0  # wall clock; longer than any deadline that a clock error could stretch
TAKEN, SENT, SETTLED = "taken", "sent", "settled"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

_BEGIN = """
local held = redis.call('HMGET', KEYS[1], 'member', 'token')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return {'fenced', held[1] or ''} end
local before = redis.call('HGET', KEYS[2], 'd:' .. ARGV[3])
if before then return {'begun', before} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('HDEL', KEYS[2], 'd:' .. key, 'm:' .. key)
  redis.call('ZREM', KEYS[3], key)
end
redis.call('HSET', KEYS[2], 'd:' .. ARGV[3], ARGV[4])
redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[5]), ARGV[3])
return {'ok', ''}
"""
_MARK = """
local held = redis.call('HMGET', KEYS[1], 'member', 'token')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] or redis.call('HEXISTS', KEYS[2], 'd:' .. ARGV[3]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'm:' .. ARGV[3], ARGV[4])
return 1
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision that was begun. ``foreign``: by another member, or another has taken it up since."""

    remembered: Remembered
    foreign: bool


class SharedRecord:
    """The record of one line's effects, as one member writes and reads it."""

    def __init__(self, redis: Redis, line: str, leases: Leases, shards: Shards, hmac_key: bytes = b"") -> None:
        self._redis = redis
        self._exchanges = Line(redis)  # one after the other: a pool would refuse what is begun at once beyond its size
        self._key = hmac_key
        self._line = line
        self._leases = leases
        self._shards = shards
        self._marks: dict[str, tuple[str, str]] = {}
        self._marked = asyncio.Event()

    async def begin(self, decision: Decision, answered_at: tuple[int | None, ...]) -> None:
        """Note that this member is about to carry ``decision`` out.

        Raises:
            FencedError: Another member leads, or has begun it, or the broker does not answer: leave it alone.
        """
        shard = self._shards.of(decision.equipment_id)
        entry = {"member": self._leases.member, "decision": plain(decision), "answered_at": answered_at}
        row = seal(self._key, f"{shard} {decision.key}", json.dumps(entry, separators=(",", ":")))
        kept_ms = round(1e3 * max(LEAST_KEPT_S, _open_s(decision)))
        try:
            async with asyncio.timeout(BEGIN_WITHIN_S):
                said, what = await self._eval(_BEGIN, shard, decision.key, row, str(kept_ms))
        except LOSSES as e:
            raise FencedError(f"the broker does not confirm the lease of shard '{shard}': {e}", Refusal.LEASE) from e
        if said == b"fenced":
            raise FencedError(f"'{what.decode() or 'nobody'}' leads shard '{shard}' by now", Refusal.LEASE)
        if said == b"begun":
            raise FencedError(f"{decision.key} was begun before, here or by another gateway", Refusal.DUPLICATE)

    def mark(self, shard: str, key: str, state: str) -> None:
        """Note how far it is, soon. Lost, this costs the successor a second look at the plant, never a second write."""
        self._marks[key] = (shard, state)
        self._marked.set()

    async def run(self) -> None:
        """Send marks until cancelled."""
        while True:
            await self._marked.wait()
            self._marked.clear()
            while self._marks:
                key, (shard, state) = next(iter(self._marks.items()))
                try:
                    async with asyncio.timeout(BEGIN_WITHIN_S):
                        await self._eval(_MARK, shard, key, state)
                except LOSSES:
                    await asyncio.sleep(BEGIN_WITHIN_S)
                    continue
                if self._marks.get(key) == (shard, state):
                    del self._marks[key]

    async def load(self, shard: str) -> list[Entry]:
        """What has been begun in ``shard`` and is still of interest, oldest decision first.

        Raises:
            RedisError, OSError: The broker is lost.
        """
        name = names.effects(self._line, shard)
        found = cast("dict[bytes, bytes]", await cast("Awaitable[Any]", self._redis.hgetall(name)))
        marks = {field[2:]: state.decode() for field, state in found.items() if field.startswith(b"m:")}
        sealed = {field[2:]: row for field, row in found.items() if field.startswith(b"d:")}
        rows = {key: unseal(self._key, f"{shard} {key.decode()}", row) for key, row in sealed.items()}
        entries = [self._entry(json.loads(row), marks.get(key, "")) for key, row in rows.items() if row is not None]
        return sorted(entries, key=lambda e: e.remembered.decision.decided or _LONG_AGO)

    def _entry(self, row: dict[str, Any], state: str) -> Entry:
        return Entry(
            Remembered(
                decision_of(row["decision"]), tuple(row["answered_at"]),
                sent=state in {SENT, SETTLED}, settled=state == SETTLED,
            ),
            foreign=row["member"] != self._leases.member or state == TAKEN,
        )  # fmt: skip

    async def _eval(self, script: str, shard: str, *arguments: str) -> Any:
        keys = [
            names.lease(self._line, shard),
            names.effects(self._line, shard),
            names.effects_until(self._line, shard),
        ]
        head = (self._leases.member, self._leases.token(shard))
        (reply,) = await self._exchanges.ask([("EVAL", script, len(keys), *keys, *head, *arguments)])
        return reply

    async def close(self) -> None:
        """Close the connection."""
        await self._exchanges.close()


class FleetJournal:
    """The write-back's journal in a fleet: at the broker first, under the lease, then on this member's own disk."""

    def __init__(self, inner: Journal, record: SharedRecord, shards: Shards) -> None:
        self._inner = inner
        self._record = record
        self._shards = shards
        self._open: dict[str, str] = {}

    def follows(self, key: str) -> bool:
        """Whether this member is carrying it out."""
        return key in self._open

    def adopt(self, begun: Remembered) -> None:
        """Follow a decision that another member, or an earlier run, has begun, and tell the next that we have."""
        shard = self._open[begun.decision.key] = self._shards.of(begun.decision.equipment_id)
        if not begun.sent:
            self._record.mark(shard, begun.decision.key, TAKEN)

    async def begin(self, decision: Decision, answered_at: tuple[int | None, ...]) -> None:
        """Note it in both.

        Raises:
            LinesideError: It must not be carried out.
        """
        await self._record.begin(decision, answered_at)
        self._open[decision.key] = self._shards.of(decision.equipment_id)
        await self._inner.begin(decision, answered_at)

    def sent(self, key: str) -> None:
        """All its writes were taken."""
        self._inner.sent(key)
        if key in self._open:
            self._record.mark(self._open[key], key, SENT)

    def settled(self, key: str) -> None:
        """Nothing more will come of it."""
        self._inner.settled(key)
        if key in self._open:
            self._record.mark(self._open.pop(key), key, SETTLED)


def _open_s(decision: Decision) -> float:
    """Plant time for which the plant's answer is waited for; taken as wall time, which a fast plant only shortens."""
    if decision.decided is None or decision.answer_by is None:
        return 0.0
    return (decision.answer_by - decision.decided).total_seconds()
