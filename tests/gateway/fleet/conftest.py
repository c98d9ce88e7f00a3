from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.asyncio import Redis

from lineside_gateway.dispatch import EmbeddedBroker
from lineside_gateway.dispatch.connection import connect


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as b:
        yield b


@pytest.fixture
async def redis(broker: EmbeddedBroker) -> AsyncIterator[Redis]:
    client = connect(broker.url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
def until() -> Callable[..., object]:
    async def wait(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end
            await asyncio.sleep(0.01)

    return wait
