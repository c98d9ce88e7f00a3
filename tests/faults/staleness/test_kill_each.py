"""Gateway, worker, broker and model taken away one at a time: the PLC falls back, no hosted node stays Good.

RefPlant, the whole line and ``lineside run`` as processes; heartbeat and watchdog as shipped. ``make test-faults``.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asyncua import Client, ua

from lineside_gateway.demo import REFPLANT_SETTINGS
from lineside_gateway.dispatch import EmbeddedBroker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

HEARTBEAT_S = 6.0  # gateway's period as shipped; RefPlant's watchdog is two of them
MACHINE = "A1"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Line:
    """All processes of one line, each of which a test may kill and start again."""

    def __init__(self, folder: Path, endpoints: dict[str, str]) -> None:
        self.folder, self.endpoints, self.port = folder, endpoints, free_port()
        self.broker_port = free_port()
        self.broker: EmbeddedBroker | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.gateway: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/lineside"

    @property
    def environment(self) -> dict[str, str]:
        assert self.broker is not None
        ports = {f"PLANT_{name}": url.rpartition(":")[2] for name, url in self.endpoints.items()}
        own = {"LINESIDE_PORT": str(self.port), "LINESIDE_DATA": str(self.folder / "var")}
        return dict(os.environ) | ports | own | {"LINESIDE_BROKER_URL": self.broker.url}

    def start_broker(self) -> None:
        """Again under the same URL, empty: Linux ends it with the thread that starts it, so not from another one."""
        self.broker = self.broker or EmbeddedBroker(port=self.broker_port)
        self.broker.start()

    def start_worker(self, *more: str) -> None:
        serve = ["serve", "--tasks", "maintenance,reject,compensation", "--device", "cpu", "--die-with-parent", *more]
        command = [sys.executable, "-m", "lineside_workers", *serve]
        with (self.folder / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def start_gateway(self) -> None:
        command = [sys.executable, "-c", "from lineside_gateway.cli import main; main()", "run", str(REFPLANT_SETTINGS)]
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def end(self) -> None:
        for process in (self.gateway, self.worker):
            if process is not None:
                process.kill()
                process.wait()
        if self.broker is not None:
            self.broker.stop()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    command = [sys.executable, "-m", "lineside_plant", "serve", "--port", "0", "--speed", "10", "--start-h", "60",
               "--die-with-parent"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as plant:
        assert plant.stdout is not None
        made = Line(tmp_path, json.loads(plant.stdout.readline())["endpoints"])
        made.start_broker()
        made.start_worker()
        made.start_gateway()
        try:
            yield made
        finally:
            made.end()
            plant.terminate()
            plant.wait(timeout=20)


async def seen(url: str, uri: str, identifier: str) -> ua.DataValue:
    """One value over a connection of its own; a server that is gone shows Bad."""
    try:
        async with Client(url, timeout=5) as client:
            node = client.get_node(ua.NodeId(identifier, await client.get_namespace_index(uri)))
            return await node.read_data_value(raise_on_bad_status=False)
    except (OSError, TimeoutError, ValueError, ua.UaError):
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadNotConnected))


async def plc(line: Line, tag: str) -> object:
    value = (await seen(line.endpoints[MACHINE], f"urn:refplant:plc:{MACHINE}", f"{MACHINE}.{tag}")).Value
    return None if value is None else value.Value


async def flag(line: Line) -> ua.StatusCode:
    """What a hosted node of the machine is worth."""
    return (await seen(line.url, "urn:lineside:ua", f"{MACHINE}.maintenance.flag")).StatusCode


async def stands(line: Line) -> None:
    """Wait until the gateway beats, the PLC relies on it, and the node is Good."""
    until = time.monotonic() + 500.0
    while await plc(line, "AdviceFallback") is not False or not await plc(line, "GatewayHeartbeat"):
        assert time.monotonic() < until, "the gateway does not beat"
        await asyncio.sleep(0.2)
    while not (status := await flag(line)).is_good():
        assert time.monotonic() < until, f"the flag is {status.name}"
        await asyncio.sleep(0.2)


async def takes_back(line: Line, kill: Callable[[], None]) -> tuple[float, float]:
    """Kill; seconds until the PLC is on its own, and until the hosted node is Good no more."""
    began = time.monotonic()
    kill()
    fell = gone = float("inf")
    async with asyncio.timeout(60):
        while fell == float("inf") or gone == float("inf"):
            if fell == float("inf") and await plc(line, "AdviceFallback") is True:
                fell = time.monotonic() - began
            if gone == float("inf") and not (await flag(line)).is_good():
                gone = time.monotonic() - began
            await asyncio.sleep(0.1)
    return fell, gone


async def test_each_is_missed_within_two_heartbeats(line: Line) -> None:
    """Whatever is killed, the PLC falls back within two heartbeats and the node loses its Good; both come back."""
    found: dict[str, tuple[float, float]] = {}

    def kill_worker() -> None:
        assert line.worker is not None
        line.worker.kill()
        line.worker.wait()

    def kill_broker() -> None:
        assert line.broker is not None
        line.broker.stop()

    def kill_gateway() -> None:
        assert line.gateway is not None
        line.gateway.kill()
        line.gateway.wait()

    def kill_model() -> None:
        """The worker comes back at once, and its model does not load."""
        kill_worker()
        broken = line.folder / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        for task in ("maintenance", "reject"):
            (broken / task).mkdir(parents=True)
            (broken / task / "current").write_text("gone\n")
        line.start_worker("--models", str(broken))

    cases = (
        ("worker", kill_worker, line.start_worker),
        ("broker", kill_broker, line.start_broker),
        ("gateway", kill_gateway, line.start_gateway),
        ("model", kill_model, lambda: (kill_worker(), line.start_worker())),
    )
    for name, kill, again in cases:
        await stands(line)
        found[name] = await takes_back(line, kill)
        print(f"{name}: PLC on its own after {found[name][0]:.1f} s, node not Good after {found[name][1]:.1f} s")
        again()
    await stands(line)
    late = {name: times for name, times in found.items() if max(times) > 2 * HEARTBEAT_S + 1.0}
    assert not late, found
