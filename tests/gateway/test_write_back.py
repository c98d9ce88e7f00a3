"""Write-back against a PLC: an OPC UA server whose scan takes requests, acknowledges them and lets flags fall."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, Server, ua

from lineside_gateway.guard import Decision, Fate, JobOrderUpdate, Step, StepReport, TagWrite, WriteBack, WriteOutcome
from lineside_gateway.guard.effects import Acknowledgement, Effect, Write
from lineside_gateway.guard.steps import taken
from lineside_plugins.types import Scalar

pytestmark = pytest.mark.asyncio(loop_scope="module")

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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plc() -> AsyncIterator[Plc]:
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/plc")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:test:plc")
    machine = await server.nodes.objects.add_object(f"ns={index};s=A1", f"{index}:A1")
    nodes = {}
    for tag, start in TAGS.items():
        nodes[tag] = await machine.add_variable(f"ns={index};s=A1.{tag}", f"{index}:{tag}", start)
        if tag not in {"ReadOnly", "RejectsTaken", "MaintenanceTaken", "CmdAck"}:
            await nodes[tag].set_writable()
    async with server:
        made = Plc(server, nodes)
        scan = asyncio.create_task(made.scan())
        yield made
        scan.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await scan


@pytest_asyncio.fixture(loop_scope="module")
async def bench(plc: Plc) -> AsyncIterator[Bench]:
    plc.scan_s = 0.01
    plc.taken.clear()
    assert plc.server.bserver is not None
    async with Client(f"opc.tcp://127.0.0.1:{plc.server.bserver.port}/plc") as client:
        index = await client.get_namespace_index("urn:test:plc")
        made = Bench(plc, OverOpcUa(client, index))

        class Tags:
            def datachange_notification(self, node: Any, value: object, _data: object) -> None:
                equipment, tag = str(node.nodeid.Identifier).split(".")
                made.write_back.on_tag(equipment, tag, value)

        subscription = await client.create_subscription(20, Tags())
        watched = ("CmdAck", "RejectsTaken", "MaintenanceTaken", "MaintenanceRequest", "RejectFlag")
        await subscription.subscribe_data_change([plc.nodes[t] for t in watched], queuesize=100)
        await asyncio.sleep(0.1)
        yield made
        await subscription.delete()


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


async def test_reject_is_written_in_order_and_acknowledged(bench: Bench) -> None:
    """Serial number, then flag; the flag that has fallen back by read-back counts, because the counter rose."""
    await bench.write_back.execute(reject("k", "S-1"))
    await bench.until("k", Step.ACTED_ON)
    assert bench.writer.log == [("RejectSerialNo", "S-1"), ("RejectFlag", True)]
    assert bench.told("k") == ["written", "read_back", "acted_on"]
    assert bench.plc.taken == ["S-1"]
    assert bench.settled == ["k"]


async def test_rejects_at_once_do_not_overwrite_each_other(bench: Bench) -> None:
    """Five rejects sent within one scan of the PLC: it takes each serial number once, in order."""
    bench.plc.scan_s, bench.writer.pause_s = 0.1, 0.0
    await asyncio.gather(*(bench.write_back.execute(reject(f"k{i}", f"S-{i}")) for i in range(5)))
    await bench.until("k4", Step.ACTED_ON)
    assert bench.plc.taken == [f"S-{i}" for i in range(5)]
    assert [s.key for s in bench.steps if s.step is Step.ACTED_ON] == [f"k{i}" for i in range(5)]
    assert bench.write_back.waiting == 0


async def test_standing_request_is_acted_on_later(bench: Bench) -> None:
    """A maintenance request reads back True at once and is acted on when the PLC gets to it."""
    await bench.write_back.execute(
        decision("m", TagWrite("A1", "MaintenanceRequest", True), acknowledge="MaintenanceTaken")
    )
    assert bench.told("m") == ["written", "read_back"]
    assert bench.settled == []
    await bench.plc.service()
    await bench.until("m", Step.ACTED_ON)
    assert bench.settled == ["m"]


async def test_command_is_acknowledged_by_its_own_id(bench: Bench) -> None:
    """The PLC echoes the id of the command it has taken; another id, or its own of before, answers nothing."""

    def command(key: str, number: int) -> Decision:
        writes = (TagWrite("A1", "CmdValue", 1.1), TagWrite("A1", "CmdId", number))
        made = decision(key, *writes)
        return replace(made, effects=(Effect(writes, Acknowledgement("A1", "CmdAck", number)),))

    bench.write_back.on_tag("A1", "CmdAck", 41)
    await bench.write_back.execute(command("even", 42))
    await bench.until("even", Step.ACTED_ON)
    assert bench.told("even") == ["written", "read_back", "acted_on"]
    bench.write_back.on_tag("A1", "CmdAck", 42)
    waiting = asyncio.create_task(bench.write_back.execute(command("odd", 43)))
    await asyncio.sleep(0.3)
    bench.write_back.on_tag("A1", "CmdAck", 44)
    assert bench.write_back.waiting == 1
    bench.write_back.tick(NOW + timedelta(hours=5))
    assert bench.told("odd")[-1] == "expired: unanswered"
    await waiting


async def test_request_the_plc_turns_down_is_given_up(bench: Bench) -> None:
    """The PLC lets the flag of an unknown serial fall without counting: unanswered, and free to be made again."""
    await bench.write_back.execute(reject("gone", "X-unknown"))
    await asyncio.sleep(0.1)
    bench.write_back.tick(bench.now)
    bench.write_back.tick(bench.now + timedelta(seconds=61))
    assert bench.told("gone") == ["written", "expired: unanswered"]
    assert bench.settled == ["gone"]
    assert bench.write_back.waiting == 0


async def test_request_without_answer_expires_in_event_time(bench: Bench) -> None:
    """A PLC that never acts: the request is given up when its bound of plant time has passed, not before."""
    await bench.write_back.execute(
        decision("m", TagWrite("A1", "MaintenanceRequest", True), acknowledge="MaintenanceTaken")
    )
    bench.write_back.tick(NOW + timedelta(hours=4))
    assert bench.write_back.waiting == 1
    bench.write_back.tick(NOW + timedelta(hours=4, seconds=1))
    assert bench.told("m")[-1] == "expired: unanswered"
    await bench.plc.service()


async def test_late_decision_writes_nothing(bench: Bench) -> None:
    """A decision that reaches the plant's door after its deadline is refused there, and counted."""
    bench.now = NOW + timedelta(seconds=31)
    await bench.write_back.execute(reject("late", "S-1"))
    assert bench.writer.log == []
    assert bench.told("late") == ["refused: late"]
    assert bench.settled == ["late"]


async def test_a_write_waits_for_a_plc_that_fell_silent(bench: Bench) -> None:
    """An allowed write is held while the PLC is silent, goes out once it beats, else is refused at its deadline."""
    bench.silence = "the PLC is silent"
    held = asyncio.create_task(bench.write_back.execute(reject("w1", "S-61")))
    await asyncio.sleep(0.3)
    assert (bench.told("w1"), bench.plc.taken) == ([], [])
    bench.silence = ""
    await held
    await bench.until("w1", Step.ACTED_ON)
    assert bench.plc.taken == ["S-61"]
    bench.silence = "the PLC is silent"
    held = asyncio.create_task(bench.write_back.execute(reject("w2", "S-62")))
    await asyncio.sleep(0.1)
    bench.now += timedelta(hours=1)
    await held
    assert bench.told("w2") == ["refused: silent"]
    assert bench.plc.taken == ["S-61"]


async def test_deadline_between_two_writes_leaves_the_flag_down(bench: Bench) -> None:
    """When time runs out after the serial number, the flag is not raised: nothing happens in the plant."""
    bench.writer.before_write = lambda: setattr(bench, "now", NOW + timedelta(seconds=31))
    await bench.write_back.execute(reject("cut", "S-1"))
    assert bench.writer.log == [("RejectSerialNo", "S-1")]
    assert bench.told("cut") == ["refused: late"]
    assert bench.plc.taken == []


async def test_refused_write_ends_the_decision(bench: Bench) -> None:
    """A node that may not be written ends the decision with the server's status; later writes are not sent."""
    writes = (TagWrite("A1", "ReadOnly", 2.0), TagWrite("A1", "RejectFlag", True))
    await bench.write_back.execute(decision("no", *writes, acknowledge="RejectsTaken"))
    assert bench.told("no") == ["refused: write"]
    assert "A1.ReadOnly: BadUserAccessDenied" in bench.steps[-1].text
    assert bench.writer.log == []
    assert bench.write_back.waiting == 0


async def test_clamped_value_is_told(bench: Bench) -> None:
    """A PLC that clamps a set-point without acknowledging is not taken for one that holds what was written."""
    await bench.write_back.execute(decision("fast", TagWrite("A1", "SpeedOverride", 1.4)))
    assert bench.told("fast") == ["written", "refused: read_back"]
    await bench.write_back.execute(decision("fine", TagWrite("A1", "SpeedOverride", 1.1)))
    assert bench.told("fine") == ["written", "read_back"]


async def test_running_job_order_does_not_stop_the_rest(bench: Bench) -> None:
    """Of three updates the one whose order runs is refused; the others go out in order and are acknowledged."""
    bench.writer.running = {"JO-2"}
    updates = [JobOrderUpdate(f"JO-{i}", 10 - i, "A1") for i in (1, 2, 3)]
    bench.write_back.on_tag("MES", "UpdatesTaken", 7)
    await bench.write_back.execute(decision("s", *updates, acknowledge="UpdatesTaken", equipment="MES"))
    assert bench.writer.orders == [updates[0], updates[2]]
    bench.write_back.on_tag("MES", "UpdatesTaken", 8)
    assert bench.told("s") == ["written", "read_back"]
    bench.write_back.on_tag("MES", "UpdatesTaken", 9)
    assert bench.told("s") == ["written", "read_back", "acted_on"]
    assert "JO-2: BadInvalidState running" in bench.steps[0].text


async def test_sequence_refused_as_a_whole(bench: Bench) -> None:
    """When every order of the sequence runs already, the decision ends refused and nothing is waited for."""
    bench.writer.running = {"JO-1", "JO-2"}
    updates = [JobOrderUpdate(o, 1, None) for o in ("JO-1", "JO-2")]
    await bench.write_back.execute(decision("s", *updates, acknowledge="UpdatesTaken", equipment="MES"))
    assert bench.told("s") == ["refused: write"]
    assert bench.write_back.waiting == 0


async def test_restarted_counter_answers_nothing(bench: Bench) -> None:
    """A counter that falls (the PLC restarted) starts over; the next rise answers."""
    bench.write_back.on_tag("B1", "Taken", 40)
    await bench.write_back.execute(decision("r", JobOrderUpdate("JO-1", 1, None), acknowledge="Taken", equipment="B1"))
    bench.write_back.on_tag("B1", "Taken", 3)
    assert bench.write_back.waiting == 1
    bench.write_back.on_tag("B1", "Taken", 4)
    assert bench.told("r")[-1] == "acted_on"


async def test_counter_known_before_counts_from_there(bench: Bench) -> None:
    """A counter that was read before the request, and not reported since, answers with its first rise."""
    write_back = WriteBack(
        bench.writer,
        clock=lambda: NOW,
        on_step=bench.note,
        latest=lambda _equipment, tag: 5 if tag == "Taken" else None,
    )
    await write_back.execute(decision("c", JobOrderUpdate("JO-1", 1, None), acknowledge="Taken", equipment="C1"))
    write_back.on_tag("C1", "Taken", 6)
    assert bench.told("c")[-1] == "acted_on"


async def test_refused_decision_cannot_be_executed(bench: Bench) -> None:
    """Handing write-back a decision the guard refused is an error of the caller."""
    with pytest.raises(ValueError, match="only allowed ones are written"):
        await bench.write_back.execute(Decision(False, "t", "A1", "k"))
