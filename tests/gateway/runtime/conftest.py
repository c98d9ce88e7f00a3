"""The README's example task installed as a stranger's distribution, and a one-machine PLC."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asyncua import Server, ua

from lineside_gateway.dispatch import EmbeddedBroker

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "overheat.py"


@pytest.fixture(scope="module")
def overheat_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the example and the metadata that registers it, on this process's and its children's path."""
    site = tmp_path_factory.mktemp("overheat") / "site"
    info = site / "overheat-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(EXAMPLE, site / "overheat.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: overheat\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lineside.tasks]\noverheat = overheat:OverheatTask\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        yield site


@pytest.fixture
def unserved() -> Iterator[str]:
    """URL of a broker with nobody behind it."""
    with EmbeddedBroker() as broker:
        yield broker.url


@pytest.fixture
def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass(slots=True)
class Plc:
    """A machine with a temperature that a test sets, a maintenance request and the counter that answers it."""

    url: str
    server: Server
    nodes: dict[str, object]
    temperature: float = 60.0
    taken: int = 0
    alive: bool = True
    beats: int = 0
    heard: int = 0

    async def run(self) -> None:
        """Ten samples a second; a raised request is taken at the next scan."""
        while True:
            stamp = datetime.now(UTC)
            value = ua.DataValue(ua.Variant(self.temperature, ua.VariantType.Double), SourceTimestamp=stamp)
            await self.nodes["SpindleTemp"].write_value(value)
            self.heard = await self.nodes["GatewayHeartbeat"].read_value()
            if self.alive:
                self.beats += 1
                await self.nodes["PlcHeartbeat"].write_value(self.beats, ua.VariantType.UInt32)
            if await self.nodes["MaintenanceRequest"].read_value():
                self.taken += 1
                await self.nodes["MaintenanceRequest"].write_value(False)
                await self.nodes["MaintenanceTaken"].write_value(self.taken, ua.VariantType.UInt32)
            await asyncio.sleep(0.1)


@pytest.fixture
async def plc() -> AsyncIterator[Plc]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:test:plc")
    machine = await server.nodes.objects.add_object(ua.NodeId("M1", index), f"{index}:M1")
    nodes = {}
    for name, value, kind in (
        ("SpindleTemp", 60.0, ua.VariantType.Double),
        ("MaintenanceRequest", False, ua.VariantType.Boolean),
        ("MaintenanceTaken", 0, ua.VariantType.UInt32),
        ("PlcHeartbeat", 0, ua.VariantType.UInt32),
        ("GatewayHeartbeat", 0, ua.VariantType.UInt32),
    ):
        nodes[name] = await machine.add_variable(ua.NodeId(f"M1.{name}", index), f"{index}:{name}", value, kind)
    await nodes["MaintenanceRequest"].set_writable()
    await nodes["GatewayHeartbeat"].set_writable()
    async with server:
        found = Plc(f"opc.tcp://127.0.0.1:{port}", server, nodes)
        running = asyncio.create_task(found.run())
        yield found
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
