"""The load on the broker: gateways and workers without windows and tasks, but with their own commands."""

from __future__ import annotations

import pytest
from redis import Redis

from benchmarks.broker.load import Load, carry
from benchmarks.broker.plan import IN_FLIGHT
from lineside_gateway.dispatch import EmbeddedBroker
from lineside_plugins import meeting


@pytest.mark.parametrize("windows", [1, 32])
async def test_every_batch_is_answered_and_the_broker_is_left_empty(windows: int) -> None:
    """Two gateways, three workers, half a second: nothing is unanswered, queued, noted as delivered or kept."""
    load = Load("test", gateways=2, workers=3, windows=windows, samples=16, tags=2)
    with EmbeddedBroker() as broker, Redis.from_url(broker.url) as redis:
        book = await carry(load, broker.url, 0.5)
        assert len(book.answered) > 20
        assert not book.sent
        assert book.claim_bytes > windows * 16 * 2 * 4
        streams = sorted(redis.keys())
        assert streams == [meeting.reply_stream(f"gw{number}").encode() for number in range(2)]
        assert sum(map(redis.xlen, streams)) <= 2 * IN_FLIGHT  # the last ones, read and not acknowledged any more
