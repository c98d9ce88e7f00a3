"""Requests that a member found in its store when it came back, given to the member that leads by now."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from lineside_gateway.dispatch.connection import IO_TIMEOUT_S, LONGEST_WAIT_S, LOSSES
from lineside_gateway.fleet import names
from lineside_gateway.store import Kept
from lineside_gateway.store.rows import request_of, row_of
from lineside_plugins.types import ContractError
from lineside_plugins.wire import WireError, sign, verify

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

PAGE = 64
MOST = 10_000  # requests that wait for a leader; the oldest are dropped beyond it
_LENGTH = struct.Struct("!I")


class Handover:
    """One list per shard at the broker. Deadlines are told by the broker's clock: those of the members may differ."""

    def __init__(self, redis: Redis, line: str, hmac_key: bytes = b"") -> None:
        self._redis = redis
        self._line = line
        self._key = hmac_key
        self._to_give: deque[tuple[str, Kept, Callable[[], object]]] = deque()
        self._given = asyncio.Event()
        self._next_id = -(10**15)  # far from those of the store, which count down from -1

    def give(self, shard: str, kept: Kept, done: Callable[[], object]) -> None:
        """Hand ``kept`` to whoever leads ``shard``, soon; ``done`` is called when the broker has it."""
        self._to_give.append((shard, kept, done))
        self._given.set()

    async def run(self) -> None:
        """Send what is to be given until cancelled."""
        while True:
            await self._given.wait()
            self._given.clear()
            while self._to_give:
                shard, kept, done = self._to_give[0]
                try:
                    async with asyncio.timeout(IO_TIMEOUT_S):
                        await self._send(shard, kept)
                except LOSSES:
                    await asyncio.sleep(LONGEST_WAIT_S)
                    continue
                self._to_give.popleft()
                done()

    async def look(self, shard: str) -> tuple[list[Kept], int]:
        """Up to a page of what has been handed over, and how many entries that is; they stay until ``done``.

        Raises:
            RedisError, OSError: The broker is lost.
        """
        rows = await self._list("lrange", shard, 0, PAGE - 1)
        if not rows:
            return [], 0
        now = await self._now()
        found = [k for k in (self._decode(row, now) for row in cast("Sequence[bytes]", rows)) if k is not None]
        return found, len(rows)

    async def done(self, shard: str, count: int) -> None:
        """Forget the first ``count`` entries: they are in this member's store.

        Raises:
            RedisError, OSError: The broker is lost; they are looked at again, and the guard knows their keys.
        """
        await self._list("ltrim", shard, count, -1)

    async def _send(self, shard: str, kept: Kept) -> None:
        left_s = kept.expires_at - time.time()
        row = row_of(0, kept.request, await self._now() + left_s, 0.0)
        head: dict[str, object] = {"id": shard, "row": row[:-1]}
        if self._key:
            head["hmac"] = sign(self._key, head, row[-1])
        packed = json.dumps(head, separators=(",", ":")).encode()
        await self._list("rpush", shard, _LENGTH.pack(len(packed)) + packed + row[-1])
        await self._list("ltrim", shard, -MOST, -1)
        await self._list("expire", shard, 3600)

    def _decode(self, entry: bytes, broker_now: float) -> Kept | None:
        try:
            (length,) = _LENGTH.unpack_from(entry)
            head, window = json.loads(entry[_LENGTH.size :][:length]), entry[_LENGTH.size + length :]
            if self._key:
                verify(self._key, head, window)
            self._next_id -= 1
            request, expires_at = request_of([*head["row"], window], self._next_id)
        except (struct.error, ValueError, KeyError, TypeError, WireError, ContractError) as e:
            logger.warning("handed_request_damaged line=%s error=%s", self._line, e)
            return None
        return Kept(request, time.time() + expires_at - broker_now)

    async def _now(self) -> float:
        seconds, micros = await self._redis.time()
        return float(seconds) + micros / 1e6

    async def _list(self, command: str, shard: str, *arguments: Any) -> Any:
        return await cast("Awaitable[Any]", getattr(self._redis, command)(names.handed(self._line, shard), *arguments))
