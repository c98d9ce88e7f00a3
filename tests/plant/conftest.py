"""A served plant for the tests of its OPC UA servers: a real process, real asyncua clients."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from asyncua import Client, ua
from asyncua.common.node import Node

MES_URI = "urn:refplant:mes"
STEP_S = 1800.0
QUIET_S = 0.25


@dataclass
class Connection:
    """A client connected to one server, and that server's own namespace."""

    name: str
    client: Client
    index: int

    def node(self, identifier: str) -> Node:
        return self.client.get_node(ua.NodeId(identifier, self.index))

    def tag(self, tag: str) -> Node:
        return self.node(f"{self.name}.{tag}")

    async def read(self, tag: str) -> object:
        return await self.tag(tag).read_value()

    async def write(self, tag: str, value: object, data_type: ua.VariantType) -> ua.StatusCode:
        """Write the value alone, without timestamps, and return the server's answer."""
        item = ua.WriteValue(NodeId=self.tag(tag).nodeid, AttributeId=ua.AttributeIds.Value)
        item.Value = ua.DataValue(ua.Variant(value, data_type))
        (status,) = await self.client.uaclient.write(ua.WriteParameters(NodesToWrite=[item]))
        return status


class ServedPlant:
    """A plant process and its endpoints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        line = process.stdout.readline()
        self.endpoints: dict[str, str] = json.loads(line)["endpoints"]

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[Connection]:
        async with Client(self.endpoints[name], timeout=30) as client:
            uri = MES_URI if name == "MES" else f"urn:refplant:plc:{name}"
            yield Connection(name, client, await client.get_namespace_index(uri))

    async def advance(self, by_s: float) -> float:
        """Advance a lock-step plant by ``by_s`` and return plant time."""
        async with self.connect("MES") as mes:
            return await self.advance_to(mes, await mes.node("Simulation.PlantTime").read_value() + by_s)

    async def advance_to(self, mes: Connection, to_s: float) -> float:
        """Advance to plant time ``to_s`` in steps that leave the client's own watchdog alive."""
        now_s = await mes.node("Simulation.PlantTime").read_value()
        while True:
            step_s = min(to_s, now_s + STEP_S)
            now_s = await mes.node("Simulation").call_method(f"{mes.index}:Advance", step_s)
            if step_s == to_s or now_s < step_s:  # there, or the run has ended
                return now_s

    @staticmethod
    async def settled(count: Callable[[], int], least: int = 0) -> None:
        """Wait until ``count`` has reached ``least`` and stands still for longer than many publishing intervals."""
        before = -1
        for _ in range(200):
            if least <= before == count():
                return
            before = count()
            await asyncio.sleep(QUIET_S)
        raise TimeoutError(f"count is {count()} and still changes; expected at least {least}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(10)
        self.process.stdout.close()
        return code


ServePlant = Callable[..., ServedPlant]


def _serve(*arguments: str) -> ServedPlant:
    command = [sys.executable, "-m", "lineside_plant", "serve", "--die-with-parent", *arguments]
    if "--port" not in arguments:
        command += ["--port", "0"]
    return ServedPlant(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))


@pytest.fixture(scope="module")
def serve_plant() -> Iterator[ServePlant]:
    """Starts plant processes on free ports; they end with the module."""
    plants: list[ServedPlant] = []

    def serve(*arguments: str) -> ServedPlant:
        plants.append(_serve(*arguments))
        return plants[-1]

    yield serve
    for plant in plants:
        plant.stop()


@pytest.fixture(scope="session")
def lockstep_plant() -> Iterator[ServedPlant]:
    """One lock-step plant, an hour old, that tests share: they advance it and judge by differences."""
    plant = _serve("--lockstep", "--seed", "11", "--start-h", "1")
    asyncio.run(plant.advance(10))  # every tag has its first sample
    yield plant
    plant.stop()
