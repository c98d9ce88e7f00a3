from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError  # noqa: A004 - redis-py calls it so

from lineside_gateway.dispatch import BrokerError, CeleryDispatcher, EmbeddedBroker
from lineside_gateway.dispatch.line import Line
from lineside_gateway.dispatch.producer import RequestProducer
from lineside_plugins import WindowBatch, meeting
from lineside_plugins.wire import BatchResult, Status, decode_batch, encode_result, sign, verify


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def make_batch(windows: int = 1) -> WindowBatch:
    return WindowBatch(
        equipment_ids=tuple(f"M{i}" for i in range(windows)),
        tags=("Load",),
        values=np.ones((windows, 4, 1), dtype=np.float32),
        good=np.ones((windows, 4, 1), dtype=np.bool_),
        end=np.full(windows, np.datetime64("2026-01-05T07:00:00", "us")),
        period_s=1.0,
    )


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as b:
        yield b


async def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def take(redis: Redis, task: str = "tiny") -> dict[str, object]:
    """What a worker fetches: the meta of the next request, with its claim key."""
    raw = None
    while raw is None:
        raw = await redis.rpop(meeting.queue(task))
        await asyncio.sleep(0.005)
    import base64

    (claim_key, name, meta), _, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
    assert name == task
    return {**meta, "claim_key": claim_key}


async def reply(redis: Redis, meta: dict[str, object], result: BatchResult, key: bytes = b"") -> None:
    body = encode_result(result)
    signature = sign(key, {"id": meta["id"]}, body) if key else ""
    await redis.xadd(str(meta["reply"]), {"id": str(meta["id"]), "body": body, "hmac": signature})


async def test_the_message_is_celerys_own_and_the_batch_lies_beside_it(broker: EmbeddedBroker) -> None:
    """It has the headers that Celery itself writes, Celery can decode it, and the claim has a TTL."""
    from celery import Celery
    from kombu import Connection

    async with Redis.from_url(broker.url) as redis:
        producer, line = RequestProducer("gw"), Line(redis)
        request = producer.build(make_batch(3), "tiny", in_s(20), {"limit": 1})
        await line.ask(producer.commands(request))
        await line.close()
        assert len(decode_batch(await redis.get(meeting.claim_key(request.id)))) == 3
        assert 20 < await redis.ttl(meeting.claim_key(request.id)) <= 80
    with Connection(broker.url) as connection:
        queue = connection.SimpleQueue(meeting.queue("tiny"))
        message = queue.get(timeout=5)
        args, kwargs, _ = message.decode()
        assert message.headers["task"] == meeting.CELERY_TASK
        own = Celery(set_as_current=False).amqp.as_task_v2(request.id, meeting.CELERY_TASK, origin="gateway@gw")
        written = {k: v for k, v in message.headers.items() if k not in {"argsrepr", "ignore_result"}}
        assert written == {k: v for k, v in own.headers.items() if k in written}
        assert {k: v for k, v in own.headers.items() if v and k not in written} == {"argsrepr": "()"}
        assert (args[1], args[2]["config"], args[2]["reply"], kwargs) == (
            "tiny",
            {"limit": 1},
            meeting.reply_stream("gw"),
            {},
        )
        message.ack()
        queue.close()


async def test_an_answer_reaches_its_waiter(broker: EmbeddedBroker) -> None:
    """Each batch gets its own answer, whatever the order of the answers."""
    async with CeleryDispatcher("gw", broker.url) as d, Redis.from_url(broker.url) as redis:
        waiting = [asyncio.create_task(d.submit(make_batch(), "tiny", in_s(10), {"n": n})) for n in range(3)]
        metas = [await take(redis) for _ in range(3)]
        for meta in reversed(metas):
            await reply(redis, meta, BatchResult(Status.ANSWERED, error=str(meta["config"]["n"])))
        assert [r.error for r in await asyncio.gather(*waiting)] == ["0", "1", "2"]
        assert d.counts == {"submitted": 3, "answered": 3}
        assert d.pending == 0
        until_s = time.monotonic() + 10
        while await redis.xlen(meeting.reply_stream("gw")):  # taken off with the next read
            assert time.monotonic() < until_s
            await asyncio.sleep(0.01)


async def test_without_a_worker_a_batch_expires_and_leaves_nothing_behind(broker: EmbeddedBroker) -> None:
    """The deadline ends the wait, and a queue nobody reads does not grow."""
    async with CeleryDispatcher("gw", broker.url) as d, Redis.from_url(broker.url) as redis:
        started = time.monotonic()
        result = await d.submit(make_batch(), "tiny", in_s(0.4))
        assert result.status is Status.EXPIRED
        assert "no worker answered before the deadline" in result.error
        assert time.monotonic() - started < 2
        assert await redis.llen(meeting.queue("tiny")) == 0
        assert await redis.keys("lineside:claim:*") == []
        assert d.counts == {"submitted": 1, "expired": 1}
        assert await d.workers() == []


async def test_a_closed_line_opens_no_other_connection(broker: EmbeddedBroker) -> None:
    """Closed before it was used, in the middle of connecting, or in use: what is asked then or later is lost."""
    async with Redis.from_url(broker.url) as redis:
        lines = [Line(redis) for _ in range(3)]
        assert await lines[0].ask([("PING",)]) == [b"PONG"]
        begun = asyncio.create_task(lines[1].ask([("PING",)]))
        await asyncio.sleep(0)  # it connects
        for line in lines:
            await line.close()
        for asked in (begun, *(line.ask([("PING",)]) for line in lines)):
            with pytest.raises(ConnectionError, match="was closed"):
                await asked
        others = [c for c in await redis.client_list() if c["cmd"] != "client|list"]
        assert others == []


async def test_a_value_in_pieces_arrives_whole(broker: EmbeddedBroker) -> None:
    """Small ones and large ones in any order, between other commands; numbers and text as the broker has them."""
    small, large = b"s" * 10, bytes(range(256)) * 2000
    pieces = (small, memoryview(large), small, b"", large, large)
    async with Redis.from_url(broker.url) as redis:
        line = Line(redis)
        asked = [("SET", "k", pieces, "PX", 60_000), ("GET", "k"), ("SET", "ü", "ö"), ("GET", "ü"), ("INCRBY", "n", -7)]
        assert await line.ask(asked) == [b"OK", b"".join(pieces), b"OK", "ö".encode(), -7]
        await line.close()


async def test_no_more_than_the_limit_is_in_flight(broker: EmbeddedBroker) -> None:
    """Back-pressure: the next batch is sent when a slot is free, and other tasks have slots of their own."""
    async with CeleryDispatcher("gw", broker.url, max_in_flight=2) as d, Redis.from_url(broker.url) as redis:
        waiting = [asyncio.create_task(d.submit(make_batch(), "tiny", in_s(10))) for _ in range(4)]
        other = asyncio.create_task(d.submit(make_batch(), "other", in_s(10)))
        first = await take(redis)
        await reply(redis, await take(redis, "other"), BatchResult(Status.ANSWERED))
        await other
        await asyncio.sleep(0.1)
        assert await redis.llen(meeting.queue("tiny")) == 1
        await reply(redis, first, BatchResult(Status.ANSWERED))
        for _ in range(3):
            await reply(redis, await take(redis), BatchResult(Status.ANSWERED))
        await asyncio.gather(*waiting)


async def test_a_batch_without_a_slot_says_so_when_it_expires(broker: EmbeddedBroker) -> None:
    """The reason distinguishes too few workers from none."""
    async with CeleryDispatcher("gw", broker.url, max_in_flight=1) as d:
        results = await asyncio.gather(*[d.submit(make_batch(), "tiny", in_s(s)) for s in (4.0, 0.4)])
        assert ["no slot" in r.error for r in results] == [False, True]


async def test_answers_of_a_former_process_are_handed_over(broker: EmbeddedBroker) -> None:
    """What came while the gateway was away, or was read but not acknowledged, is not missed."""
    got: list[tuple[str, str]] = []

    async def refuse(request_id: str, _: BatchResult) -> None:
        raise RuntimeError(request_id)

    async def keep(request_id: str, result: BatchResult) -> None:
        got.append((request_id, result.error))

    async with Redis.from_url(broker.url) as redis:
        meta = {"id": "old", "reply": meeting.reply_stream("gw")}
        await reply(redis, meta, BatchResult(Status.FAILED, error="why"))
        async with CeleryDispatcher("gw", broker.url, on_late=refuse) as d:
            await until(lambda: d.counts["late"])
        async with CeleryDispatcher("gw", broker.url, on_late=keep):
            await until(lambda: got)
            assert got == [("old", "why")]
        assert (await redis.xpending(meeting.reply_stream("gw"), "gateway"))["pending"] == 0


async def test_signed_requests_and_answers(broker: EmbeddedBroker) -> None:
    """With a key the request verifies, and an answer by someone without the key is dropped."""
    key = b"secret"
    async with CeleryDispatcher("gw", broker.url, hmac_key=key) as d, Redis.from_url(broker.url) as redis:
        waiting = asyncio.create_task(d.submit(make_batch(), "tiny", in_s(10)))
        meta = await take(redis)
        claim = await redis.get(str(meta.pop("claim_key")))
        verify(key, meta, claim)
        await reply(redis, meta, BatchResult(Status.ANSWERED, error="forged"), b"other")
        await reply(redis, meta, BatchResult(Status.ANSWERED, error="true"), key)
        assert (await waiting).error == "true"


async def test_a_lost_broker_is_found_again_and_the_batch_sent_again(unused_tcp_port_factory) -> None:
    """A broker that comes back empty gets what it has forgotten; the wait ends well, and the loss is counted."""
    broker = EmbeddedBroker(unused_tcp_port_factory()).start()
    try:
        async with CeleryDispatcher("gw", broker.url) as d:
            async with Redis.from_url(broker.url) as redis:
                waiting = asyncio.create_task(d.submit(make_batch(), "tiny", in_s(20)))
                await take(redis)
            broker.stop()
            second = asyncio.create_task(d.submit(make_batch(), "tiny", in_s(20)))
            await until(lambda: not d.connected and d.counts["retries"])
            broker.start()
            async with Redis.from_url(broker.url) as redis:
                for _ in range(2):
                    await reply(redis, await take(redis), BatchResult(Status.ANSWERED))
                results = await asyncio.gather(waiting, second)
            assert [r.status for r in results] == [Status.ANSWERED] * 2
            assert d.counts["resent"] == 1
            assert d.pending == 0
    finally:
        broker.stop()


async def test_a_message_that_a_worker_took_along_is_sent_again(broker: EmbeddedBroker) -> None:
    """Taken off the queue and never noted as delivered: found missing and sent again; what a worker has is left."""
    async with CeleryDispatcher("gw", broker.url) as d, Redis.from_url(broker.url) as redis:
        waiting = [asyncio.create_task(d.submit(make_batch(), "tiny", in_s(30))) for _ in range(2)]
        lost, delivered = await take(redis), await take(redis)
        await redis.hset(meeting.UNACKED, str(delivered["id"]), "message")
        again = await take(redis)
        assert again["id"] == lost["id"]
        for meta in (again, delivered):
            await reply(redis, meta, BatchResult(Status.ANSWERED))
        await asyncio.gather(*waiting)
        assert d.counts == {"submitted": 2, "answered": 2, "resent": 1}


async def test_a_broker_that_is_away_expires_batches_with_its_name() -> None:
    """The sentence names the broker, without its password, and what to do."""
    url = "redis://:pass@127.0.0.1:1/0"
    async with CeleryDispatcher("gw", url) as d:
        result = await d.submit(make_batch(), "tiny", in_s(0.3))
        assert result.error == "task 'tiny': the broker at redis://127.0.0.1:1/0 does not answer; start it"
        assert await d.workers() == []
        with pytest.raises(BrokerError, match=r"redis://127.0.0.1:1/0 cannot be used.*correct broker.url"):
            await d.check()


async def test_cancelled_and_past_deadlines_are_accounted_for(broker: EmbeddedBroker) -> None:
    """submitted = answered + failed + expired + cancelled + pending at any time."""
    async with CeleryDispatcher("gw", broker.url) as d:
        late = await d.submit(make_batch(), "tiny", in_s(-1))
        assert late.status is Status.EXPIRED
        waiting = asyncio.create_task(d.submit(make_batch(), "tiny", in_s(10)))
        await asyncio.sleep(0.1)
        assert d.pending == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert d.pending == 0
        assert d.counts == {"submitted": 2, "expired": 1, "cancelled": 1}


async def test_a_close_that_is_cancelled_leaves_no_connection(broker: EmbeddedBroker) -> None:
    """Whoever ends the gateway a second time still finds every connection to the broker closed."""
    async with Redis.from_url(broker.url) as redis, CeleryDispatcher("gw", broker.url) as d:
        waiting = asyncio.create_task(d.submit(make_batch(), "tiny", in_s(30)))
        await take(redis)
        waiting.cancel()
        assert len(await redis.client_list()) > 1
        leaving = asyncio.create_task(d.__aexit__())
        await asyncio.sleep(0)
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        for _ in range(500):
            if len(left := await redis.client_list()) == 1:
                break
            await asyncio.sleep(0.01)
        assert len(left) == 1


def test_the_gateway_side_imports_no_models() -> None:
    """Dispatch needs Celery and Redis; torch and the workers' package stay out of the process."""
    import subprocess
    import sys

    code = (
        "import sys, lineside_gateway.dispatch; "
        "print([m for m in ('torch', 'safetensors', 'lineside_workers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
