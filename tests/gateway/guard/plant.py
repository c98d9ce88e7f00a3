"""A PLC with a scan cycle, the way to it over OPC UA, and a write-back wired to both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import Client, Server, ua

from lineside_gateway.guard import Decision, Fate, JobOrderUpdate, Step, StepReport, TagWrite, WriteBack, WriteOutcome
from lineside_gateway.guard.effects import Acknowledgement, Effect, Write
from lineside_gateway.guard.steps import taken
from lineside_plugins.types import Scalar

NOW = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)


TAGS = {
    "RejectSerialNo": ua.Variant("", ua.VariantType.String),
    "RejectFlag": ua.Variant(False, ua.VariantType.Boolean),
    "RejectsTaken": ua.Variant(0, ua.VariantType.UInt32),
    "MaintenanceRequest": ua.Variant(False, ua.VariantType.Boolean),
    "MaintenanceTaken": ua.Variant(0, ua.VariantType.UInt32),
    "SpeedOverride": ua.Variant(1.0, ua.VariantType.Double),
    "CmdValue": ua.Variant(1.0, ua.VariantType.Double),
    "CmdId": ua.Variant(0, ua.VariantType.UInt32),
    "CmdAck": ua.Variant(0, ua.VariantType.UInt32),
    "ReadOnly": ua.Variant(1.0, ua.VariantType.Double),
}


SPEED_MAX = 1.15


@dataclass
class Plc:
    """A machine's controller with a scan cycle. Rejects serial numbers it knows, keeps maintenance for ``service``."""

    server: Server
    nodes: dict[str, Any]
    known: set[str] = field(default_factory=lambda: {f"S-{i}" for i in range(100)})
    taken: list[str] = field(default_factory=list)
    scan_s: float = 0.01

    async def scan(self) -> None:
        while True:
            await asyncio.sleep(self.scan_s)
            if await self.nodes["RejectFlag"].read_value():
                serial = await self.nodes["RejectSerialNo"].read_value()
                if serial in self.known:
                    self.taken.append(serial)
                    await self._count("RejectsTaken")
                await self.nodes["RejectFlag"].write_value(False)
            command = await self.nodes["CmdId"].read_value()
            if command != await self.nodes["CmdAck"].read_value() and command % 2 == 0:  # odd ones it ignores
                await self.nodes["CmdAck"].write_value(ua.Variant(command, ua.VariantType.UInt32))
            if await self.nodes["SpeedOverride"].read_value() > SPEED_MAX:
                await self.nodes["SpeedOverride"].write_value(SPEED_MAX)

    async def service(self) -> None:
        """Carry out the maintenance that is asked for."""
        await self._count("MaintenanceTaken")
        await self.nodes["MaintenanceRequest"].write_value(False)

    async def _count(self, tag: str) -> None:
        count = await self.nodes[tag].read_value() + 1
        await self.nodes[tag].write_value(ua.Variant(count, ua.VariantType.UInt32))


class OverOpcUa:
    """The PlantWriter of these tests: a plain client, no timestamps, read-back after each write."""

    def __init__(self, client: Client, index: int) -> None:
        self._client, self._index = client, index
        self.log: list[tuple[str, Scalar]] = []
        self.orders: list[JobOrderUpdate] = []
        self.running: set[str] = set()
        self.pause_s = 0.03  # until the read-back, longer than a scan
        self.before_write: Callable[[], None] = lambda: None

    async def write(self, equipment_id: str, tag: str, value: Scalar) -> WriteOutcome:
        self.before_write()
        node = self._client.get_node(f"ns={self._index};s={equipment_id}.{tag}")
        try:
            await node.write_value(ua.DataValue(ua.Variant(value, TAGS[tag].VariantType)))
        except ua.UaStatusCodeError as e:
            return WriteOutcome(type(e).__name__)
        except (OSError, TimeoutError) as e:
            return WriteOutcome(type(e).__name__, fate=Fate.UNKNOWN)
        self.log.append((tag, value))
        await asyncio.sleep(self.pause_s)
        return taken(await node.read_value())

    async def read(self, equipment_id: str, tag: str) -> Scalar:
        try:
            return await self._client.get_node(f"ns={self._index};s={equipment_id}.{tag}").read_value()
        except (OSError, TimeoutError, ua.UaError):
            return None

    async def update_job_order(self, job_order_id: str, priority: int, equipment_id: str | None) -> WriteOutcome:
        if job_order_id in self.running:
            return WriteOutcome("BadInvalidState", detail="running")
        self.orders.append(JobOrderUpdate(job_order_id, priority, equipment_id))
        return taken(None)


@dataclass
class Bench:
    """One write-back wired to the PLC, with an event clock the test moves."""

    plc: Plc
    writer: OverOpcUa
    now: datetime = NOW
    steps: list[StepReport] = field(default_factory=list)
    stepped: asyncio.Event = field(default_factory=asyncio.Event)
    settled: list[str] = field(default_factory=list)
    silence: str = ""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A write-back that has seen nothing of the plant yet."""
        self.write_back = WriteBack(
            self.writer,
            clock=lambda: self.now,
            on_step=self.note,
            settle=lambda decision: self.settled.append(decision.key),
            silent=lambda _equipment: self.silence,
        )

    def note(self, report: StepReport) -> None:
        self.steps.append(report)
        self.stepped.set()

    def told(self, key: str) -> list[str]:
        return [s.step.value if s.reason is None else f"{s.step.value}: {s.reason}" for s in self.steps if s.key == key]

    async def until(self, key: str, step: Step) -> None:
        async with asyncio.timeout(5):
            while step not in {s.step for s in self.steps if s.key == key}:
                self.stepped.clear()
                await self.stepped.wait()


def decision(key: str, *writes: Write, acknowledge: str | None = None, equipment: str = "A1") -> Decision:
    answer = Acknowledgement(equipment, acknowledge) if acknowledge else None
    return Decision(
        True,
        "t",
        "A1",
        key,
        effects=(Effect(writes, answer),),
        write_by=NOW + timedelta(seconds=30),
        answer_by=NOW + timedelta(hours=4),
    )


def reject(key: str, serial: str) -> Decision:
    writes = (TagWrite("A1", "RejectSerialNo", serial), TagWrite("A1", "RejectFlag", True))
    return decision(key, *writes, acknowledge="RejectsTaken")
