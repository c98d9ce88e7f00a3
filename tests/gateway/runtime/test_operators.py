"""What an operator's answer does: the audit line, the label, and the write in mode confirm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lineside_gateway.audit import AuditLog, entries
from lineside_gateway.guard import Guard, Policy, Target, WriteBack, WriteOutcome
from lineside_gateway.guard.steps import taken
from lineside_gateway.ledger import Ledger
from lineside_gateway.publish import Answer, HostedServer, HostedTask, State, Verdict
from lineside_gateway.runtime.effects import Effects
from lineside_gateway.runtime.labels import FILE
from lineside_gateway.runtime.operators import Operators
from lineside_gateway.settings.model import Mode, WriteSettings
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Recommendation, Scalar

NOW = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
OUTPUTS = Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),), "flag")
RULE = WriteSettings(set={"MaintenanceRequest": True})


class Plant:
    """A plant that takes every write."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, Scalar]] = []

    async def write(self, equipment_id: str, tag: str, value: Scalar) -> WriteOutcome:
        self.written.append((equipment_id, tag, value))
        return taken(value)

    async def read(self, equipment_id: str, tag: str) -> Scalar:
        del equipment_id, tag
        return None

    async def update_job_order(self, job_order_id: str, priority: int, equipment_id: str | None) -> WriteOutcome:
        raise AssertionError((job_order_id, priority, equipment_id))


class Line:
    """Guard, hosted nodes, effects and operators of one machine in mode ``mode``."""

    def __init__(self, folder: Path, mode: Mode) -> None:
        self.plant, self.folder = Plant(), folder
        self.audit = AuditLog(folder / "audit")
        self.guard = Guard([Policy("t", mode, "flag", 60.0, frozenset({"A1"}), (RULE,))])
        self.guard.allow(Target("A1", "MaintenanceRequest", "Boolean"))
        self.hosted = HostedServer("opc.tcp://127.0.0.1:0/lineside", "l", [HostedTask("t", "A1", OUTPUTS, mode)])
        self.effects = Effects(self.guard, self.hosted, Ledger(), self.audit, lambda: NOW)
        self.effects.write_back = WriteBack(
            self.plant, clock=lambda: NOW, on_step=self.effects.on_step, settle=self.guard.settle
        )

        async def throw(demoted: bool, _user: str, _why: str) -> None:
            self.guard.demote(demoted)

        self.operators = Operators(folder, throw)
        self.operators.effects = self.effects

    async def recommend(self, key: str) -> Recommendation:
        rec = Recommendation(
            task="t", kind=Kind.MAINTENANCE, equipment_id="A1", value={"flag": True}, confidence=0.9, interval=None,
            reasons=(), window_end=NOW, valid_until=NOW + timedelta(minutes=1), model="m", model_version="1", key=key,
        )  # fmt: skip
        await self.hosted.publish(rec)
        self.effects.decide(rec)
        return rec

    async def answer(self, verdict: Verdict, rec: Recommendation, comment: str = "") -> str:
        said = self.operators.take(Answer(verdict, rec, "anna", comment, NOW))
        async with asyncio.timeout(5):
            while self.effects.busy:  # noqa: ASYNC110 - the condition is any state
                await asyncio.sleep(0)
        return said

    async def shown(self, field: str) -> object:
        value = (await self.hosted.read_back("t", "A1", field)).Value
        return None if value is None else value.Value

    def labels(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / FILE).read_text().splitlines()]


@pytest.fixture
def line(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    made = Line(tmp_path, getattr(request, "param", Mode.CONFIRM))
    yield made
    made.audit.close()


async def test_accept_writes_what_waited(line: Line) -> None:
    """In mode confirm nothing is written until an operator accepts; then it is, once, with line and label."""
    await line.hosted.start()
    rec = await line.recommend("k1")
    assert line.plant.written == []
    assert await line.answer(Verdict.ACCEPT, rec, "go ahead") == ""
    assert line.plant.written == [("A1", "MaintenanceRequest", True)]
    assert await line.shown("state") == list(State).index(State.WRITTEN)
    assert "does not wait" in await line.answer(Verdict.ACCEPT, rec)
    assert len(line.plant.written) == 1
    (noted, _) = entries(line.folder / "audit", event="operator")
    assert (noted["verdict"], noted["user"], noted["comment"], noted["key"]) == ("accept", "anna", "go ahead", "k1")
    first = line.labels()[0]
    assert (first["verdict"], first["equipment_id"], first["window_end"]) == ("accept", "A1", NOW.isoformat())
    assert json.loads(str(first["value"])) == {"flag": True}
    await line.hosted.stop()


async def test_reject_writes_nothing_and_says_why(line: Line) -> None:
    """A rejected recommendation cannot be accepted afterwards, and its node carries the operator's reason."""
    await line.hosted.start()
    rec = await line.recommend("k1")
    assert await line.answer(Verdict.REJECT, rec, "bearing is new") == ""
    assert await line.shown("state") == list(State).index(State.REJECTED)
    assert await line.shown("state_reason") == "bearing is new"
    assert "does not wait" in await line.answer(Verdict.ACCEPT, rec)
    assert line.plant.written == []
    assert [label["verdict"] for label in line.labels()] == ["reject", "accept"]
    await line.hosted.stop()


@pytest.mark.parametrize("line", [Mode.ADVISORY], indirect=True)
async def test_accept_in_advisory_is_noted_only(line: Line) -> None:
    """In mode advisory an answer is a label and a state, and the plant is left alone."""
    await line.hosted.start()
    rec = await line.recommend("k1")
    assert await line.answer(Verdict.ACCEPT, rec) == ""
    assert await line.shown("state") == list(State).index(State.ACCEPTED)
    assert line.plant.written == []
    await line.hosted.stop()


async def test_nothing_is_accepted_while_the_switch_is_on(line: Line) -> None:
    """What waited when the plant-wide switch was thrown is not written by a later yes."""
    await line.hosted.start()
    rec = await line.recommend("k1")
    await line.operators.hold(True, "anna", "no crew")
    assert await line.answer(Verdict.ACCEPT, rec) != ""
    assert line.plant.written == []
    await line.hosted.stop()


async def test_a_refusal_is_on_the_node_and_in_the_log(line: Line) -> None:
    """A recommendation that the guard refuses turns its state to refused, with the reason, and has its audit line."""
    await line.hosted.start()
    line.guard.allow(Target("A1", "MaintenanceRequest", "Int16", 0, 1))
    await line.recommend("k1")
    await line.answer(Verdict.COMMENT, await line.recommend("k2"))
    assert await line.shown("state") == list(State).index(State.REFUSED)
    assert "data type is Int16" in str(await line.shown("state_reason"))
    refused = [e["reason"] for e in entries(line.folder / "audit", event="decision")]
    assert refused == ["data_type", "data_type"]
    await line.hosted.stop()


async def test_effects_under_way_end_with_the_gateway(line: Line) -> None:
    """A write that the plant has not taken when the gateway stops ends with it, and opens no connection afterwards."""
    begun = asyncio.Event()

    async def hang(*_: object) -> WriteOutcome:
        begun.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]  # it never returns

    line.plant.write = hang  # type: ignore[method-assign]
    await line.hosted.start()
    running = asyncio.create_task(line.effects.run())
    line.operators.take(Answer(Verdict.ACCEPT, await line.recommend("k1"), "anna", "", NOW))
    await begun.wait()
    running.cancel()
    await asyncio.wait({running})
    assert line.effects.busy == 0
    await line.hosted.stop()
