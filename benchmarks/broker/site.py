"""A whole site at one broker: a hundred hosts' connections, a fleet of gateways, and batches at the pace of the plan.

What everybody does besides batches is there too: heartbeats and who reads them, leases, presence, the look for messages
that died with their worker. Real: the server, the wire commands, message, claim and scripts, ``fleet.Member``.
Simulated: windows, models and Celery; all connections are of one process on the same machine.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from benchmarks.broker import plan
from benchmarks.broker.load import TASK, Book, Gateway, Load, Worker, quietly
from lineside_gateway.dispatch.connection import connect
from lineside_gateway.dispatch.line import Line
from lineside_gateway.fleet import Member
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.settings import FleetSettings, ShardSettings
from lineside_plugins import meeting

# As in lineside_workers.supervision.heartbeat, lineside_gateway.runtime.worker_watch, kombu's unacked_restore_interval.
BEAT_EVERY_S = 1.0
BEAT_TTL_S = 6
JOIN_EVERY_S = 0.02  # worker processes, one after the other
SETTLE_S = 8.0  # the shards are led
DRAIN_S = 10.0
HEARTBEAT = json.dumps({"node": "w", "pad": "x" * plan.WORKER_BYTES})[: plan.WORKER_BYTES]


@dataclass(frozen=True, slots=True)
class Site:
    """How many of each."""

    hosts: int = 100
    leading: int = 20

    @property
    def workers(self) -> int:
        """Worker processes, one for each device."""
        return self.hosts * plan.DEVICES_PER_HOST

    @property
    def load(self) -> Load:
        """A batch of the plan."""
        return Load("site", 2 * self.leading, self.workers, plan.BATCH, plan.SAMPLES, plan.TAGS_PER_MACHINE)


class Nothing:
    """Takes shards over and does nothing with them."""

    async def took_over(self, *_: object) -> None:
        """Nothing to load."""

    stood_down = handed = took_over


async def run(site: Site, url: str, paces: Sequence[float], seconds: float, look: Callable[[], None]) -> list[Book]:
    """Run ``site`` for ``seconds`` at each of ``paces`` (batches/s); ``look`` is called as each begins and ends."""
    redis, book, books = connect(url), Book(), list[Book]()
    gateways = [Gateway(site.load, redis, f"gw{number}", book) for number in range(site.leading)]
    for gateway in gateways:
        await gateway.open()
    with tempfile.TemporaryDirectory() as folder:
        members = [_take_part(site, number, url, Path(folder)) for number in range(2 * site.leading)]
        watching = [_watch(redis) for _ in range(2 * site.leading)]
        tasks = [asyncio.create_task(work) for work in (*members, *watching, *map(_listen, gateways))]
        for number in range(site.workers):
            tasks += [asyncio.create_task(work) for work in _worker(site, redis, book, number)]
            await asyncio.sleep(JOIN_EVERY_S)
        await asyncio.sleep(SETTLE_S)
        for pace in paces:
            look()
            await _send(pace, gateways, seconds)
            look()
            until = time.monotonic() + DRAIN_S
            while book.sent and time.monotonic() < until:  # noqa: ASYNC110 - answers come in twenty places
                await asyncio.sleep(0.05)
            books.append(book.close())
        dead = [t for t in tasks if t.done()]
        await quietly(*tasks)
    for task in dead:
        task.result()
    await redis.aclose()
    return books


async def _send(pace: float, gateways: Sequence[Gateway], seconds: float) -> None:
    """One batch after the other, each from the next gateway, at ``pace`` whatever becomes of them."""
    began, number = time.monotonic(), 0
    under_way: set[asyncio.Task[None]] = set()
    while (due := number / pace) < seconds:
        await asyncio.sleep(max(0.0, began + due - time.monotonic()))
        task = asyncio.create_task(gateways[number % len(gateways)].send())
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
    await asyncio.gather(*under_way)


async def _take_part(site: Site, number: int, url: str, folder: Path) -> None:
    """A member of the fleet; each shard has one that leads it and one that stands by for any."""
    last = site.leading - 1
    shards = [
        ShardSettings(name=f"s{i}", equipment="*" if i == last else f"{i}-*", prefer=f"g{i}") for i in range(last + 1)
    ]
    member = Member(FleetSettings(member=f"g{number}", shards=tuple(shards), return_after_s=0.0), "line", url)
    await member.run(Nothing(), PlantSwitch(folder / f"{number}"), f"opc.tcp://g{number}:4850", f"urn:g{number}")


async def _listen(gateway: Gateway) -> None:
    while True:
        await gateway.listen()


async def _watch(redis: Redis) -> None:
    """A gateway looks once a second which workers there are."""
    line = Line(redis)

    async def look() -> None:
        cursor, keys = b"0", list[bytes]()
        while True:
            ((cursor, found),) = await line.ask([("SCAN", cursor, "MATCH", meeting.WORKER_PATTERN, "COUNT", 1000)])
            keys += found
            if cursor == b"0":
                break
        if keys:
            await line.ask([("MGET", *keys)])

    await _every_second(look, line)


def _worker(site: Site, redis: Redis, book: Book, number: int) -> list[Coroutine[Any, Any, None]]:
    """A worker process: its batches, its heartbeat, Celery's look for what others have lost, and its remote control."""
    beat, celery = Line(redis), Line(redis)
    key = meeting.worker_key(f"w{number}")

    async def restore() -> None:
        (mine,) = await celery.ask([("SET", "unacked_mutex", str(number), "NX", "PX", 5000)])
        if mine is not None:
            look = ("ZREVRANGEBYSCORE", meeting.UNACKED_INDEX, str(time.time() - 30), "0", "LIMIT", "0", "10")
            await celery.ask([look, ("DEL", "unacked_mutex")])

    return [
        Worker(site.load, redis, book, number).run(),
        _every_second(lambda: beat.ask([("SET", key, HEARTBEAT, "EX", BEAT_TTL_S)]), beat),
        _every_second(restore, celery),
        _hear(redis),
    ]


async def _hear(redis: Redis) -> None:
    """A connection that is subscribed and hears nothing."""
    line = Line(redis)
    try:
        await line.ask([("SUBSCRIBE", f"0.{TASK}.pidbox")])
        await asyncio.Event().wait()
    finally:
        await line.close()


async def _every_second(work: Callable[[], Awaitable[object]], line: Line) -> None:
    begin = hash(id(line)) % 1000 / 1000  # not all in one moment
    await asyncio.sleep(begin)
    try:
        while True:
            await work()
            await asyncio.sleep(BEAT_EVERY_S)
    finally:
        await line.close()
