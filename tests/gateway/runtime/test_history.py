"""The gateway as a whole on a plant with history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from lineside_gateway.dispatch import EmbeddedBroker
from lineside_gateway.runtime import Gateway
from lineside_gateway.settings import read_settings

MACHINES = {"A1", "A2", "B1", "C1", "C2"}


@pytest.fixture
def old_plant() -> Iterator[dict[str, str]]:
    """A plant served after 60 h, a minute a second; ports as the shipped settings name them."""
    command = [sys.executable, "-m", "lineside_plant", "serve", "--port", "0", "--speed", "60", "--start-h", "60",
               "--die-with-parent"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            endpoints = json.loads(process.stdout.readline())["endpoints"]
            yield {f"PLANT_{name}": url.rpartition(":")[2] for name, url in endpoints.items()}
        finally:
            process.terminate()
            process.wait(timeout=20)


async def test_a_gateway_started_on_an_old_plant_closes_no_flood_of_windows(
    old_plant: dict[str, str], tmp_path: Path, free_port: int
) -> None:
    """Every machine has a window from the first minute; 48 h of history make no window of any task due."""
    text = (resources.files("lineside_gateway") / "demo" / "refplant.yaml").read_text(encoding="utf-8")
    with EmbeddedBroker() as broker:
        own = {"LINESIDE_BROKER_URL": broker.url, "LINESIDE_PORT": str(free_port), "LINESIDE_DATA": str(tmp_path)}
        gateway = Gateway(read_settings(text, environment=old_plant | own))
        running = asyncio.create_task(gateway.run())
        try:
            maintenance = gateway.ledger.task("maintenance")
            async with asyncio.timeout(60):
                while maintenance.closed < 15 or set(gateway.feed.marks) != MACHINES | {"MES"}:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)  # the condition is any state, not an event
            assert maintenance.windows.dropped.total() == 0
            assert maintenance.windows.received < 100
            assert all(gateway.ledger.task(t).windows.received < 200 for t in ("reject", "schedule"))
            assert sum(link.status.counters.history for link in gateway.links) > 60_000
            assert gateway.ledger.balanced
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
