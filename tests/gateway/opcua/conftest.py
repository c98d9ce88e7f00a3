"""Small real OPC UA servers, a recording sink, and a free port."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncua import ua

from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.nodes import WantedEquipment
from lineside_gateway.opcua.plan import ServerPlan
from lineside_gateway.opcua.security import Pki
from lineside_gateway.settings import EquipmentSettings, ServerSettings, Settings, read_settings
from lineside_plant.servers.endpoint import Endpoint

EPOCH = datetime(2026, 1, 5, 6, tzinfo=UTC)
TYPES = {
    bool: ua.VariantType.Boolean,
    int: ua.VariantType.Int32,
    float: ua.VariantType.Double,
    str: ua.VariantType.String,
    bytes: ua.VariantType.ByteString,
}


def plant_time(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class SmallPlc:
    """A machine object ``Objects/<name>`` with scalar and array tags; NodeId string ``<name>.<tag>``."""

    def __init__(self, name: str, port: int, tags: dict[str, Any], others: tuple[str, ...] = ()) -> None:
        self.name, self.port, self.tags = name, port, tags
        self.uri = f"urn:test:plc:{name}"
        self.url = f"opc.tcp://127.0.0.1:{port}"
        self.others = others
        self.running = False
        self.writable: set[str] = {t for t in tags if t.startswith("Set")}

    async def start(self) -> SmallPlc:
        self.endpoint = Endpoint(self.name, self.url, f"urn:test:{self.name}", (*self.others, self.uri))
        await self.endpoint.build()
        self.ns = self.endpoint.index[self.uri]
        self.root = await self.endpoint.server.nodes.objects.add_object(
            ua.NodeId(self.name, self.ns), ua.QualifiedName(self.name, self.ns)
        )
        for tag, value in self.tags.items():
            await self.add(tag, value)
        await self.endpoint.open()
        self.running = True
        return self

    async def add(self, tag: str, value: Any) -> None:
        array = isinstance(value, list)
        kind = ua.VariantType.Float if array else TYPES[type(value)]
        node = await self.endpoint.add_variable(
            self.root,
            ua.NodeId(f"{self.name}.{tag}", self.ns),
            ua.Variant(value, kind, is_array=array),
            data_type=ua.NodeId(kind.value),
            writable=tag in self.writable,
        )
        if kind is ua.VariantType.Double:
            units = ua.EUInformation(DisplayName=ua.LocalizedText("mm/s"))
            await node.add_property(0, "EngineeringUnits", ua.Variant(units, ua.VariantType.ExtensionObject))
            await node.add_property(0, "EURange", ua.Variant(ua.Range(0.0, 50.0), ua.VariantType.ExtensionObject))

    async def write(self, tag: str, value: Any, at_s: float | None = None, status: int = 0) -> None:
        array = isinstance(value, list)
        kind = ua.VariantType.Float if array else TYPES[type(value)]
        stamp = None if at_s is None else plant_time(at_s)
        dv = ua.DataValue(
            ua.Variant(value, kind, is_array=array), ua.StatusCode(status), SourceTimestamp=stamp, ServerTimestamp=stamp
        )
        await self.endpoint.server.write_attribute_value(ua.NodeId(f"{self.name}.{tag}", self.ns), dv)

    async def value(self, tag: str) -> Any:
        return await self.endpoint.server.get_node(ua.NodeId(f"{self.name}.{tag}", self.ns)).read_value()

    async def stop(self) -> None:
        if self.running:
            self.running = False
            await self.endpoint.close()


@dataclass
class Recorder:
    """A sink that keeps everything, by tag."""

    columns: dict[tuple[str, str], int] = field(default_factory=dict)
    numbers: dict[tuple[str, str], list[tuple[int, float, int]]] = field(default_factory=dict)
    integers: dict[tuple[str, str], list[tuple[int, int]]] = field(default_factory=dict)
    others: dict[tuple[str, str], list[tuple[int, Any, bool]]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    streams: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    found: dict[str, list[Any]] = field(default_factory=dict)
    resolutions: int = 0
    watermarks: list[int] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    past: dict[tuple[str, str], list[tuple[int, float, int]]] = field(default_factory=dict)
    past_rows: list[dict[str, Any]] = field(default_factory=list)
    begins: list[tuple[str, int]] = field(default_factory=list)
    gaps: list[tuple[str, str, Any]] = field(default_factory=list)
    fills: list[int] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)

    def resolved(self, server: str, equipment: Any) -> None:
        self.resolutions += 1
        self.found[server] = list(equipment)

    def index(self, equipment_id: str, tag: str) -> int:
        return self.columns.setdefault((equipment_id, tag), len(self.columns))

    def samples(self, indices: Any, times_us: Any, values: Any, status: Any) -> None:
        assert indices.dtype == np.int64
        assert times_us.dtype == np.int64
        assert values.dtype == np.float64
        codes = np.zeros(len(indices), np.uint32) if status is None else status
        assert codes.dtype == np.uint32
        names = {i: k for k, i in self.columns.items()}
        for i, t, v, s in zip(indices, times_us, values, codes, strict=True):
            self.numbers.setdefault(names[int(i)], []).append((int(t), float(v), int(s)))
            self.order.append(names[int(i)][1])

    def exact(self, index: int, time_us: int, value: int) -> None:
        names = {i: k for k, i in self.columns.items()}
        self.integers.setdefault(names[index], []).append((time_us, value))

    def history(self, indices: Any, times_us: Any, values: Any, status: Any) -> None:
        assert status.dtype == np.uint32
        names = {i: k for k, i in self.columns.items()}
        for i, t, v, s in zip(indices, times_us, values, status, strict=True):
            self.past.setdefault(names[int(i)], []).append((int(t), float(v), int(s)))
            assert names[int(i)] not in self.numbers, "history after a live sample"

    def unbroken(self, tags: Any) -> None:
        self.joined += [n.tag for n in tags]

    def past_record(self, stream: str, record: Any) -> None:
        assert stream == "events"
        self.past_rows.append(dict(record))

    def history_ends(self, equipment_id: str, live_us: int) -> None:
        self.begins.append((equipment_id, live_us))

    def latest(self, equipment_id: str, tag: str, time_us: int, value: Any, good: bool) -> None:
        self.others.setdefault((equipment_id, tag), []).append((time_us, value, good))
        self.order.append(tag)

    def record(self, stream: str, record: Any) -> None:
        assert stream == "events"
        self.rows.append(dict(record))

    def records(self, stream: str, records: tuple[Any, ...], time_us: int) -> None:
        assert time_us > 0
        self.streams[stream] = records

    def flush(self, server: str, watermark_us: int, served_us: int) -> None:
        assert server
        assert served_us > 0
        self.watermarks.append(watermark_us)

    def lost(self, server: str) -> None:
        self.losses.append(server)

    def gap(self, server: str, cause: str, tags: Any = None) -> int:
        self.gaps.append((server, cause, tags))
        return len(self.gaps)

    def newest_us(self, tags: Any) -> list[int]:
        keys = [(n.equipment_id, n.tag) for n in tags]
        return [max([r[0] for r in (*self.numbers.get(k, ()), *self.others.get(k, ()))], default=0) for k in keys]

    def filled(self, gap: int) -> None:
        self.fills.append(gap)

    def values(self, equipment_id: str, tag: str) -> list[float]:
        return [v for _, v, _ in self.numbers.get((equipment_id, tag), [])]


class Bench:
    """Servers, links and waits of one test; everything is stopped at its end."""

    def __init__(self, folder: Path) -> None:
        self.pki = Pki(folder / "pki", "test")
        self.sink = Recorder()
        self._plcs: list[SmallPlc] = []
        self._tasks: list[asyncio.Task[Any]] = []

    def free_port(self) -> int:
        return _free_port()

    async def plc(self, name: str, tags: dict[str, Any], others: tuple[str, ...] = (), port: int = 0) -> SmallPlc:
        plc = await SmallPlc(name, port or _free_port(), tags, others).start()
        self._plcs.append(plc)
        return plc

    def server(self, url: str, **more: Any) -> ServerSettings:
        """Settings of a server, impatient enough for tests."""
        plain: dict[str, Any] = {
            "name": "S",
            "url": url,
            "publishing_interval_ms": 50,
            "request_timeout_s": 5,
            "reconnect_min_s": 0.1,
            "reconnect_max_s": 0.5,
        }
        return ServerSettings.model_validate(plain | more)

    def plan(self, url: str, tags: dict[str, str], browse: str = "Objects/A1", **more: Any) -> ServerPlan:
        entry = EquipmentSettings(id=None if "*" in browse else "A1", browse=browse)
        return ServerPlan(self.server(url, **more), (WantedEquipment(entry, tags),))

    def link(self, url: str, *tags: str, sink: Recorder | None = None, **paths: str) -> ServerLink:
        """A running link that wants ``tags`` by name and ``paths`` by address, for equipment A1."""
        link = ServerLink(self.plan(url, dict(zip(tags, tags, strict=True)) | paths), self.pki)
        self.start(link.run(sink or self.sink))
        return link

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run a coroutine beside the test; cancelled at the end, and a crash of it fails the test."""
        self._tasks.append(asyncio.ensure_future(coroutine))
        return self._tasks[-1]

    async def until(self, condition: Callable[[], object], within_s: float = 20.0) -> None:
        """Return as soon as ``condition`` holds; fail after ``within_s``."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():  # noqa: ASYNC110  # the condition is any state, not an event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"not within {within_s} s")

    async def close(self) -> None:
        while left := [task for task in self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=5)  # Python 3.11's wait_for may swallow a cancellation: ask again
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(p.stop() for p in self._plcs))
        crashed = [e for e in ended if isinstance(e, Exception)]
        assert not crashed, crashed


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.close()


@pytest.fixture
def new_recorder() -> Callable[[], Recorder]:
    return Recorder


@pytest.fixture(scope="session")
def plant() -> Iterator[dict[str, str]]:
    """RefPlant as a process of its own, 300 times as fast as life; gives endpoint URLs by server name."""
    command = [sys.executable, "-m", "lineside_plant", "serve", "--port", "0", "--speed", "300", "--die-with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            endpoints: dict[str, str] = json.loads(process.stdout.readline())["endpoints"]
            yield endpoints
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture
def refplant(plant: dict[str, str]) -> Settings:
    """The settings that the package ships for RefPlant, pointed at the running one."""
    text = (resources.files("lineside_gateway") / "demo" / "refplant.yaml").read_text(encoding="utf-8")
    ports = {f"PLANT_{name}": url.rpartition(":")[2] for name, url in plant.items()}
    return read_settings(text, environment=ports)
