"""Simulated gateways and workers that spend nothing on windows and models, over the wire commands of the real ones."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from redis.asyncio import Redis

from lineside_gateway.dispatch.connection import connect
from lineside_gateway.dispatch.line import Command, Line
from lineside_gateway.dispatch.producer import RequestProducer
from lineside_plugins import meeting
from lineside_plugins.types import WindowBatch
from lineside_workers.requests import counter, desk, scripts

TASK = "bench"
IN_FLIGHT = 3  # batches per gateway, as the dispatcher has them
ANSWER_BYTES_PER_WINDOW = 260  # a row of a result with one reason
DEADLINE_S = 30.0
END_WITHIN_S = 10.0  # a cancellation that comes while a connection is made may be lost on Python 3.11


@dataclass(frozen=True, slots=True)
class Load:
    """How many of each, and what a batch is."""

    name: str
    gateways: int
    workers: int
    windows: int
    samples: int
    tags: int

    def batch(self) -> WindowBatch:
        """Windows with some samples that are not Good, as plants have them: their quality is sent too."""
        shape = (self.windows, self.samples, self.tags)
        good = np.ones(shape, np.bool_)
        good[0, 0, 0] = False
        return WindowBatch(
            equipment_ids=tuple(f"M{number}" for number in range(self.windows)),
            tags=tuple(f"T{number}" for number in range(self.tags)),
            values=np.ones(shape, np.float32),
            good=good,
            end=np.full(self.windows, "2026-01-05T07:00:00", "datetime64[us]"),
            period_s=1.0,
        )


@dataclass(slots=True)
class Book:
    """When each open batch was sent, and seconds of those that came further: to a worker, and back."""

    sent: dict[str, float] = field(default_factory=dict)
    taken_in: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    claim_bytes: int = 0

    def take_in(self, request_id: str) -> None:
        """A worker has the batch."""
        self.taken_in.append(time.monotonic() - self.sent[request_id])

    def close(self) -> Book:
        """What is in it so far; it begins anew."""
        whole = Book(dict(self.sent), self.taken_in.copy(), self.answered.copy(), self.claim_bytes)
        for kept in (self.taken_in, self.answered):
            kept.clear()
        return whole

    def answer(self, request_id: str) -> None:
        """The gateway has the answer."""
        self.answered.append(time.monotonic() - self.sent.pop(request_id))


async def carry(load: Load, url: str, seconds: float) -> Book:
    """Run ``load`` for ``seconds``, as fast as it goes."""
    redis, book = connect(url), Book()
    workers = [asyncio.create_task(Worker(load, redis, book, number).run()) for number in range(load.workers)]
    gateways = [Gateway(load, redis, f"gw{number}", book) for number in range(load.gateways)]
    until = time.monotonic() + seconds
    try:
        await asyncio.gather(*(_keep_busy(gateway, until) for gateway in gateways))
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await redis.aclose()
    return book


async def _keep_busy(gateway: Gateway, until: float) -> None:
    await gateway.open()
    for _ in range(IN_FLIGHT):
        await gateway.send()
    while gateway.waits_for:
        for _ in range(await gateway.listen()):
            if time.monotonic() < until:
                await gateway.send()
    await gateway.close()


class Gateway:
    """Sends one batch again and again, each time as another request, and reads the answers."""

    def __init__(self, load: Load, redis: Redis, name: str, book: Book) -> None:
        self._stream = meeting.reply_stream(name)
        self._producer = RequestProducer(name)
        self._batch = load.batch()
        self._out, self._back = Line(redis), Line(redis)
        self._book = book
        self._done: list[bytes] = []
        self.waits_for = 0

    async def open(self) -> None:
        """Make the stream of answers."""
        await self._back.ask([("XGROUP", "CREATE", self._stream, "gateway", "0", "MKSTREAM")])

    async def send(self) -> None:
        """Send it once more."""
        deadline = datetime.now(UTC) + timedelta(seconds=DEADLINE_S)
        request = self._producer.build(self._batch, TASK, deadline, {})
        self._book.claim_bytes = sum(map(len, request.claim))
        self._book.sent[request.id] = time.monotonic()
        self.waits_for += 1
        await self._out.ask([*self._acknowledging(), *self._producer.commands(request)])

    async def listen(self) -> int:
        """Read a page of answers, for a second at most; how many came."""
        read: Command = (
            "XREADGROUP", "GROUP", "gateway", "bench", "COUNT", 64, "BLOCK", 1000, "STREAMS", self._stream, ">"
        )  # fmt: skip
        replies = await self._back.ask([*self._acknowledging(), read])
        entries = replies[-1][0][1] if replies[-1] else []
        self._done = [number for number, _ in entries]
        for _, fields in entries:
            self._book.answer(fields[1].decode())
        self.waits_for -= len(entries)
        return len(entries)

    def _acknowledging(self) -> list[Command]:
        """What has been read, to whichever connection is written to next."""
        done, self._done = self._done, []
        return [("XACK", self._stream, "gateway", *done), ("XDEL", self._stream, *done)] if done else []

    async def close(self) -> None:
        """Close the connections."""
        await self._out.close()
        await self._back.close()


class Worker:
    """As ``lineside_workers.requests``: waits as Celery does when idle, takes the next batch itself under load."""

    def __init__(self, load: Load, redis: Redis, book: Book, number: int) -> None:
        self._wait, self._line = Line(redis), Line(redis)
        self._answer = bytes(ANSWER_BYTES_PER_WINDOW * load.windows)
        self._book = book
        self._number = number
        self._taken_keys = [meeting.taken_key(f"{uuid.uuid4().hex}:{n}") for n in range(desk.AHEAD)]

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                (popped,) = await self._wait.ask([("BRPOP", meeting.queue(TASK), 1)])
                if popped is not None:
                    await self._turn(popped[1])
        finally:
            await self._wait.close()
            await self._line.close()

    async def _turn(self, message: bytes) -> None:
        """Answer ``message``, and what waits behind it."""
        request_id, stream = _meta(message)
        claim = meeting.claim_key(request_id)
        delivered: list[Command] = [
            ("ZADD", meeting.UNACKED_INDEX, str(time.time()), request_id),
            ("HSET", meeting.UNACKED, request_id, message),
        ]
        await self._line.ask([*delivered, *_attempt(request_id), ("PTTL", claim), ("GET", claim)])
        self._book.take_in(request_id)
        held = await self._ask([], desk.AHEAD)
        while True:
            answers = [self._answered(request_id, stream)]
            if not held:
                held, answers = await self._ask(answers, desk.AHEAD), []
                if not held:
                    return
            request_id, stream = held.pop(0)
            self._book.take_in(request_id)
            held += await self._ask([*answers, *_attempt(request_id)], desk.AHEAD - len(held))

    async def _ask(self, commands: Sequence[Command], most: int) -> list[tuple[str, str]]:
        """``commands`` and the wish for up to ``most`` batches in one write; id and stream of each."""
        to = self._taken_keys[:most]
        keys = (meeting.UNACKED_INDEX, meeting.UNACKED, *to, meeting.queue(TASK))
        take: Command = ("EVAL", scripts.TAKE, len(keys), *keys, str(time.time()), len(to))
        claims: list[Command] = [("GET", key) for key in to]
        replies = await self._line.ask([*commands, take, *claims, ("UNLINK", *to)])
        return [_meta(row[0]) for row in replies[len(commands)]]

    def _answered(self, request_id: str, stream: str) -> Command:
        keys = (
            meeting.claim_key(request_id), meeting.attempts_key(request_id), stream, meeting.UNACKED_INDEX,
            meeting.UNACKED,
        )  # fmt: skip
        arguments = (meeting.REPLY_MAX_ENTRIES, request_id, self._answer, "", request_id)
        return ("EVAL", scripts.ANSWER, len(keys), *keys, *arguments)


def _attempt(request_id: str) -> list[Command]:
    key = meeting.attempts_key(request_id)
    return [("INCR", key), ("EXPIRE", key, counter.ATTEMPTS_TTL_S)]


def _meta(message: bytes) -> tuple[str, str]:
    """Id and stream, which the origin tells too: decoding the body is no part of the broker's cost."""
    headers = json.loads(message)["headers"]
    return headers["id"], meeting.reply_stream(headers["origin"].removeprefix("gateway@"))


async def quietly(*tasks: asyncio.Task[Any]) -> None:
    """End tasks that run until cancelled."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=END_WITHIN_S)
