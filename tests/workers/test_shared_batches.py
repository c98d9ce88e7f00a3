"""Batches in shared memory, the whole way with real workers: read, told of when they cannot be, parked."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from lineside_gateway.dispatch import CeleryDispatcher, EmbeddedBroker, shared_memory
from lineside_plugins import meeting
from lineside_plugins.wire import FILE_NAME, BatchResult, Status, decode_batch, place_of


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def even_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "SMALLEST_BYTES", 1)


async def test_only_its_place_goes_to_the_broker(broker: EmbeddedBroker, start_worker, make_batch) -> None:
    """The answer is what it would be by the broker; another batch then lies in the same block."""
    start_worker()
    before = _files()
    async with CeleryDispatcher("gw", broker.url) as d:
        with Redis.from_url(broker.url) as redis:
            waiting = asyncio.create_task(d.submit(make_batch((-3000, 1.5)), "tiny", in_s(20)))
            await asyncio.sleep(0.3)
            (key,) = redis.keys(meeting.claim_key("*"))
            assert place_of(redis.get(key)) is not None
        assert (await waiting).status is Status.ANSWERED
        for load, flag in ((1.0, True), (0.0, False), (1.0, True)):
            result = await d.submit(make_batch(load), "tiny", in_s(10))
            assert [r.value["flag"] for r in result.recommendations] == [flag]
        assert len(_files() - before) == 1
        assert d.counts == {"submitted": 4, "answered": 4, "in_memory": 4}
    del d
    assert _files() <= before


def _files() -> set[int]:
    """What this process has open of it, by the kernel's number: Python holds each twice."""
    found = set()
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists them
            if FILE_NAME in str(file.readlink()):
                found.add(file.stat().st_ino)
    return found


async def test_what_a_worker_cannot_read_is_sent_by_the_broker(
    broker: EmbeddedBroker, start_worker, make_batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from another container: the process of that number is another one there. No request is lost by it."""
    start_worker()
    monkeypatch.setattr(shared_memory.os, "getpid", lambda: 1)
    async with CeleryDispatcher("gw", broker.url) as d:
        results = await asyncio.gather(*(d.submit(make_batch(1.0), "tiny", in_s(10)) for _ in range(3)))
        assert [r.status for r in results] == [Status.ANSWERED] * 3
        assert results[0].meta["attempts"] == 1
        tried = d.counts["retries"]
        assert 1 <= tried <= 3
        placed = d.counts["in_memory"]
        assert placed == 3
        assert (await d.submit(make_batch(1.0), "tiny", in_s(10))).status is Status.ANSWERED
        assert d.counts["retries"] == tried
        assert d.counts["in_memory"] == placed


async def test_a_parked_batch_is_kept_whole(broker: EmbeddedBroker, start_worker, make_batch) -> None:
    """Its memory ends with its request; what is parked is the batch itself."""
    worker = start_worker()
    with Redis.from_url(broker.url) as redis:
        async with CeleryDispatcher("gw", broker.url) as d:
            worker.end()
            waiting = asyncio.create_task(d.submit(make_batch(1.0, 2.0), "tiny", in_s(30)))
            await asyncio.sleep(0.3)
            (key,) = redis.keys(meeting.claim_key("*"))
            request_id = key.decode().removeprefix(meeting.claim_key(""))
            redis.set(meeting.attempts_key(request_id), 3)
            start_worker()
            assert (await waiting).status is Status.PARKED
        assert len(decode_batch(redis.hget(meeting.parked_key(request_id), "claim"))) == 2


async def test_the_request_of_a_gateway_that_is_gone_is_cleared_away(
    broker: EmbeddedBroker, start_worker, make_batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory ended with it: nothing is computed, nothing stays at the broker, its successor hears of no answer."""
    late = []

    async def hear(_request_id: str, result: BatchResult) -> None:
        late.append(result)

    with monkeypatch.context() as patch:
        patch.setattr(shared_memory.os, "getpid", lambda: 2**22 + 1)  # more than there can be
        async with CeleryDispatcher("gw", broker.url) as d:
            waiting = asyncio.create_task(d.submit(make_batch(1.0), "tiny", in_s(30)))
            await asyncio.sleep(0.3)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    with Redis.from_url(broker.url) as redis:
        assert redis.llen(meeting.queue("tiny")) == 1
        start_worker()
        async with CeleryDispatcher("gw", broker.url, on_late=hear) as d:
            assert (await d.submit(make_batch(1.0), "tiny", in_s(10))).status is Status.ANSWERED
        assert redis.llen(meeting.queue("tiny")) == 0
        assert redis.keys(meeting.claim_key("*")) == []
    assert late == []
