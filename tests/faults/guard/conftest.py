"""A PLC that counts what clients write, a proxy that cuts at a Write, and the gateway's half from advice to plant."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.callback import CallbackType

from lineside_gateway.audit import AuditLog
from lineside_gateway.guard import Guard, Policy, StepReport, WriteBack, target
from lineside_gateway.guard.journal import SqliteJournal
from lineside_gateway.ingest import TagTable
from lineside_gateway.ledger import Ledger
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.nodes import WantedEquipment
from lineside_gateway.opcua.plan import ServerPlan
from lineside_gateway.opcua.security import Pki
from lineside_gateway.publish import HostedServer
from lineside_gateway.runtime.effects import Effects
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.runtime.plant_writer import LinkWriter
from lineside_gateway.settings import EquipmentSettings, ServerSettings
from lineside_gateway.settings.model import Limit, Mode, WriteSettings
from lineside_plant.servers.endpoint import Endpoint

WRITE_REQUEST = b"\x01\x00\xa1\x02"  # NodeId i=673 in the binary encoding (OPC UA Part 6, 5.2.2.9)
DEADLINE_S = 60.0
TAGS: dict[str, tuple[Any, ua.VariantType]] = {
    "Speed": (1.0, ua.VariantType.Double),
    "Count": (0, ua.VariantType.Int16),
    "Note": ("", ua.VariantType.String),
    "RejectSerialNo": ("", ua.VariantType.String),
    "RejectFlag": (False, ua.VariantType.Boolean),
    "RejectsTaken": (0, ua.VariantType.UInt32),
    "Locked": (1.0, ua.VariantType.Double),
}
READ_ONLY = {"RejectsTaken"}
RULES = {
    "speed": WriteSettings(set={"Speed": "{value}"}, limits={"Speed": Limit(low=0.0, high=1e9)}, rate_per_min=6000),
    "count": WriteSettings(set={"Count": "{value}"}, limits={"Count": Limit(low=0, high=30_000)}, rate_per_min=6000),
    "note": WriteSettings(set={"Note": "{value}"}, rate_per_min=6000),
    "reject": WriteSettings(
        set={"RejectSerialNo": "{value}", "RejectFlag": True}, acknowledge="RejectsTaken", rate_per_min=6000
    ),
    "locked": WriteSettings(set={"Locked": "{value}"}, limits={"Locked": Limit(low=0.0, high=1e9)}, rate_per_min=6000),
}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Plc:
    """A controller that keeps its values over a restart, counts what clients write, and takes rejects in its scan."""

    def __init__(self) -> None:
        self.port = free_port()
        self.held = {tag: value for tag, (value, _) in TAGS.items()}
        self.written: Counter[tuple[str, Any]] = Counter()
        self.taken: list[str] = []
        self._endpoint: Endpoint | None = None
        self._scan: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._endpoint = Endpoint("PLC", f"opc.tcp://127.0.0.1:{self.port}", "urn:test:plc", ("urn:test:tags",))
        await self._endpoint.build()
        ns = self._ns = self._endpoint.index["urn:test:tags"]
        root = await self._endpoint.server.nodes.objects.add_object(ua.NodeId("A1", ns), ua.QualifiedName("A1", ns))
        for tag, (_, kind) in TAGS.items():
            value = ua.Variant(self.held[tag], kind)
            node_id = ua.NodeId(f"A1.{tag}", ns)
            writable = tag not in READ_ONLY
            await self._endpoint.add_variable(root, node_id, value, data_type=ua.NodeId(kind.value), writable=writable)
        self._endpoint.server.subscribe_server_callback(CallbackType.PreWrite, self._note)
        await self._endpoint.open()
        self._scan = asyncio.create_task(self._scanning())

    async def stop(self) -> None:
        if self._endpoint is not None and self._scan is not None:
            self._scan.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._scan
            await self._endpoint.close()
            self.held = {tag: await self.value(tag) for tag in TAGS}
            self._endpoint = None

    async def value(self, tag: str) -> Any:
        assert self._endpoint is not None
        return await self._endpoint.server.get_node(ua.NodeId(f"A1.{tag}", self._ns)).read_value()

    async def _set(self, tag: str, value: Any) -> None:
        assert self._endpoint is not None
        written = ua.DataValue(ua.Variant(value, TAGS[tag][1]))
        await self._endpoint.server.write_attribute_value(ua.NodeId(f"A1.{tag}", self._ns), written)

    async def _note(self, event: Any, _dispatcher: Any) -> None:
        for item in event.request_params.NodesToWrite if event.is_external else ():
            tag = item.NodeId.Identifier.removeprefix("A1.")
            if tag == "Locked":  # a value the interlock of this PLC never lets through
                item.Value.Value = ua.Variant("not a number", ua.VariantType.String)
            elif item.Value.Value.VariantType == TAGS[tag][1]:
                self.written[tag, item.Value.Value.Value] += 1

    async def _scanning(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            if await self.value("RejectFlag"):
                self.taken.append(await self.value("RejectSerialNo"))
                await self._set("RejectsTaken", await self.value("RejectsTaken") + 1)
                await self._set("RejectFlag", False)


class Proxy:
    """Passes bytes on, and cuts the connection at the next Write request when told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.armed = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()

    def _cut(self) -> None:
        for writer in self._open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        self._open.add(back)
        deaf = asyncio.Event()
        await asyncio.gather(self._pump(reader, back, deaf, watch=True), self._pump(there, writer, deaf, watch=False))
        self._open -= {writer, back}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event, *, watch: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if watch and self.armed and WRITE_REQUEST in data:
                    armed, self.armed = self.armed, ""
                    if armed == "cut_after":
                        deaf.set()  # the request goes on, its answer does not come back
                        writer.write(data)
                        await writer.drain()
                        await asyncio.sleep(0.05)
                    self._cut()
                    return
                if not watch and deaf.is_set():
                    return
                writer.write(data)
                await writer.drain()
        writer.close()


class Gate:
    """The gateway's half from recommendation to plant: guard, audit, journal, write-back, client. Restartable."""

    def __init__(self, folder: Path, port: int, audit: AuditLog) -> None:
        self.journal = SqliteJournal(folder / "guard.sqlite", first=audit.sync)
        self.steps: list[StepReport] = []
        table = TagTable()
        tell = Listeners(self._resolved, lambda: None, lambda _s: None, self._counter)
        self.feed = Feed(table, {}, frozenset({"RejectsTaken", "RejectFlag"}), tell)
        self.guard = Guard([], current=self.feed.current)
        equipment = (WantedEquipment(EquipmentSettings(id="A1", browse="Objects/A1"), {t: t for t in TAGS}),)
        server = ServerSettings.model_validate(
            {"name": "PLC", "url": f"opc.tcp://127.0.0.1:{port}", "publishing_interval_ms": 50, "request_timeout_s": 2,
             "reconnect_min_s": 0.05, "reconnect_max_s": 0.2, "history": False}
        )  # fmt: skip
        self.link = ServerLink(ServerPlan(server, equipment), Pki(folder / "pki", "test"), random.Random(1))
        hosted = HostedServer("opc.tcp://127.0.0.1:0", "test", [])
        self.effects = Effects(self.guard, hosted, Ledger(), audit, lambda: datetime.now(UTC))
        self.write_back = self.effects.write_back = WriteBack(
            LinkWriter([self.link]),
            clock=lambda: datetime.now(UTC),
            on_step=self._step,
            settle=self.guard.settle,
            latest=self.feed.current,
            journal=self.journal,
        )
        self._running = asyncio.create_task(self.link.run(self.feed))

    def _step(self, report: StepReport) -> None:
        self.steps.append(report)
        self.effects.on_step(report)

    def _resolved(self, _server: str, equipment: Any) -> None:
        for machine in equipment:
            for task, rule in RULES.items():
                self.guard.bind(
                    Policy(
                        task, Mode.CLOSED_LOOP, "flag", DEADLINE_S, frozenset({"A1"}), (rule,), assignable=frozenset()
                    )
                )
                for tag in rule.set:
                    if tag in machine.tags:
                        node = machine.tags[tag]
                        kind = node.data_type.name
                        self.guard.allow(target("A1", tag, kind, node.eu_range, rule.limits.get(tag)))

    def _counter(self, equipment_id: str, tag: str, value: Any) -> None:
        self.write_back.on_tag(equipment_id, tag, value)

    async def ready(self) -> None:
        async with asyncio.timeout(30):
            while not self.link.connected:  # noqa: ASYNC110 - the condition is any state
                await asyncio.sleep(0.01)

    def resume(self) -> None:
        begun = self.journal.load()
        self.guard.restore((r.decision, r.settled) for r in begun)
        for remembered in begun:
            if not remembered.settled:
                self.effects.resume(remembered)

    async def idle(self) -> None:
        """Wait until nothing is being written."""
        async with asyncio.timeout(DEADLINE_S):
            while self.effects.busy or self.write_back.waiting:  # noqa: ASYNC110 - the condition is any state
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End as a process ends that is killed: nothing is finished."""
        await self.effects.cancel()
        while not self._running.done():  # Python 3.11's wait_for may swallow one cancellation
            self._running.cancel()
            await asyncio.wait({self._running}, timeout=1.0)
        self.journal.close()


@pytest.fixture
async def plc() -> AsyncIterator[Plc]:
    made = Plc()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def new_proxy() -> type[Proxy]:
    return Proxy


@pytest.fixture
def new_gate() -> type[Gate]:
    return Gate


@pytest.fixture
def new_plc() -> type[Plc]:
    return Plc
