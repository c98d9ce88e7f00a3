"""A hosted server with thirty machines, and a plain client that reads it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from asyncua import Client

from lineside_gateway.publish import (
    HostedServer,
    HostedTask,
)
from lineside_gateway.settings.model import Mode
from tests.gateway.publish.machines import END, OUTPUTS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosted() -> AsyncIterator[HostedServer]:
    """One server for the module: each test takes a machine of its own."""
    machines = [HostedTask("maintenance", f"M{i}", OUTPUTS, Mode.CLOSED_LOOP, ("", "", "Milling")) for i in range(30)]
    server = HostedServer(
        "opc.tcp://127.0.0.1:0/lineside",
        "line-1",
        [
            *machines,
            HostedTask("maintenance", "B1", OUTPUTS, Mode.ADVISORY),
            HostedTask("other", "B1", OUTPUTS, Mode.ADVISORY),
            HostedTask("maintenance", "C1", OUTPUTS, Mode.SHADOW),
        ],
        heartbeat_s=0.05,
    )
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(hosted: HostedServer) -> AsyncIterator[Client]:
    async with Client(hosted.endpoint, timeout=30) as connected:
        yield connected


@pytest.fixture(scope="module")
def unused() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def machine(unused: Iterator[int]) -> str:
    """A piece of equipment no other test has touched."""
    return f"M{next(unused)}"


@pytest_asyncio.fixture(loop_scope="module")
async def event_time_starts_over(hosted: HostedServer) -> None:
    await hosted.expire(END)
    await hosted.demote(False)
