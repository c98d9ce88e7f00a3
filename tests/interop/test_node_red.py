"""Node-RED with the flow that ships in docker/node-red, its values read over HTTP as its page reads them."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import HERE, Start
from tests.interop.line import ALARMED, END, QUIET, line, show

FOLDER = HERE.parents[1] / "docker" / "node-red"
WAIT_S = 60.0

pytestmark = pytest.mark.interop("node-red@4.1.10", "node-red-contrib-opcua@0.2.354")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of the server started here
        found: dict[str, Any] = json.load(answer)
        return found


async def until(url: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the flow shows as soon as it fits."""
    shown: dict[str, Any] = {}
    for _ in range(int(WAIT_S / 0.2)):
        try:
            shown = await asyncio.to_thread(fetch, url)
        except OSError:  # it is starting
            pass
        else:
            if shown and fits(shown):  # empty until the flow has begun
                return shown
        await asyncio.sleep(0.2)
    pytest.fail(f"{url} showed {shown}")


async def test_the_flow_follows_what_is_recommended(tmp_path: Path, node: Start) -> None:
    """Maintenance flag, reject flag, schedule text and health reach the flow, and with them the StatusCodes."""
    port = free_port()
    async with line() as server:
        await show(server, QUIET, 0)
        environment = {
            "LINESIDE_ENDPOINT": server.endpoint, "NODE_RED_DIR": str(tmp_path), "NODE_RED_PORT": str(port),
        }  # fmt: skip
        async with node(FOLDER / "start.js", environment=environment, silent=True):
            url = f"http://127.0.0.1:{port}/lineside.json"
            before = await until(url, lambda shown: shown["schedule"]["value"] is not None)
            await show(server, ALARMED, 1)
            after = await until(url, lambda shown: shown["schedule"]["value"] != before["schedule"]["value"])
            await server.expire(END + timedelta(hours=1))
            stale = await until(url, lambda shown: shown["maintenance"]["status"] != "Good")
    wanted = ("maintenance", "health", "remaining_life_h", "reject", "serial_no", "schedule")
    assert [before[name]["value"] for name in wanted] == [
        False, 0, 170.5, False, "A1-0001", "the agreed sequence stands",
    ]  # fmt: skip
    assert [after[name]["value"] for name in wanted] == [
        True, 4, 6.2, True, "A1-0002", "2 job orders change: JO-2 before JO-1",
    ]  # fmt: skip
    assert {after[name]["status"] for name in wanted} == {"Good"}
    assert stale["maintenance"] == {"value": True, "status": "UncertainLastUsableValue"}
    assert after["heartbeat"]["value"] >= 0
