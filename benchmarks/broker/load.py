"""Simulated gateways and workers that spend nothing on windows and models, over the wire commands of the real ones."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass

from redis.asyncio import Redis

from lineside_gateway.dispatch.connection import connect
from lineside_gateway.dispatch.line import Line
from lineside_plugins import meeting
from lineside_workers import counter, scripts

TASK = "bench"
IN_FLIGHT = 3  # batches per gateway, as the dispatcher has them
MESSAGE_BYTES = 1100  # a Celery envelope with the task's meta, as RequestProducer writes it
ANSWER_BYTES_PER_WINDOW = 260  # a row of a result with one reason
TTL_MS = 90_000


@dataclass(frozen=True, slots=True)
class Load:
    """How many of each, and what a batch is."""

    name: str
    gateways: int
    workers: int
    windows: int
    window_bytes: int

    @property
    def claim_bytes(self) -> int:
        """Bytes of a batch under its claim key."""
        return self.windows * self.window_bytes


async def carry(load: Load, url: str, seconds: float) -> list[float]:
    """Run ``load`` for ``seconds``; the seconds from sending to answer of each batch."""
    redis, waits = connect(url), list[float]()
    workers = [asyncio.create_task(_work(load, Line(redis), number)) for number in range(load.workers)]
    gateways = [_Gateway(load, redis, f"gw{number}", waits) for number in range(load.gateways)]
    until = time.monotonic() + seconds
    try:
        await asyncio.gather(*(gateway.run(until) for gateway in gateways))
    finally:
        for worker in workers:
            worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*workers)
        await redis.aclose()
    return waits


class _Gateway:
    def __init__(self, load: Load, redis: Redis, name: str, waits: list[float]) -> None:
        self._stream = meeting.reply_stream(name)
        self._claim = bytes(load.claim_bytes)
        self._out, self._back = Line(redis), Line(redis)
        self._sent: dict[str, float] = {}
        self._waits = waits

    async def run(self, until: float) -> None:
        await self._back.ask([("XGROUP", "CREATE", self._stream, "gateway", "0", "MKSTREAM")])
        for _ in range(IN_FLIGHT):
            await self._send()
        done: list[bytes] = []
        while self._sent:
            acknowledge = [("XACK", self._stream, "gateway", *done), ("XDEL", self._stream, *done)] if done else []
            read = ("XREADGROUP", "GROUP", "gateway", "bench", "COUNT", 64, "BLOCK", 1000, "STREAMS", self._stream, ">")
            replies = await self._back.ask([*acknowledge, read])
            entries = replies[-1][0][1] if replies[-1] else []
            done = [number for number, _ in entries]
            for _, fields in entries:
                self._waits.append(time.monotonic() - self._sent.pop(fields[1].decode()))
                if time.monotonic() < until:
                    await self._send()
        await self._out.close()
        await self._back.close()

    async def _send(self) -> None:
        name = uuid.uuid4().hex
        message = f"{self._stream} {name} ".encode().ljust(MESSAGE_BYTES, b"x")
        self._sent[name] = time.monotonic()
        await self._out.ask(
            [
                ("SET", meeting.claim_key(name), self._claim, "PX", TTL_MS),
                ("LPUSH", meeting.queue(TASK), message),
            ]
        )


async def _work(load: Load, line: Line, number: int) -> None:
    answer = bytes(ANSWER_BYTES_PER_WINDOW * load.windows)
    try:
        while True:
            (taken,) = await line.ask([("BRPOP", meeting.queue(TASK), 1)])
            if taken is None:
                continue
            stream, name, _ = taken[1].split(b" ", 2)
            request_id, tag = name.decode(), f"{number}:{name.decode()}"
            attempts, claim = meeting.attempts_key(request_id), meeting.claim_key(request_id)
            await line.ask(
                [
                    ("ZADD", meeting.UNACKED_INDEX, str(time.time()), tag),
                    ("HSET", meeting.UNACKED, tag, taken[1]),
                    ("INCR", attempts),
                    ("EXPIRE", attempts, counter.ATTEMPTS_TTL_S),
                    ("PTTL", claim),
                    ("GET", claim),
                ]
            )
            keys = (claim, attempts, stream, meeting.UNACKED_INDEX, meeting.UNACKED)
            arguments = (meeting.REPLY_MAX_ENTRIES, request_id, answer, "", tag)
            await line.ask([("EVAL", scripts.ANSWER, len(keys), *keys, *arguments)])
    finally:
        await line.close()
