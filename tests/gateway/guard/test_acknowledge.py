"""Write-back: how the plant answers, and what no answer means."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from lineside_gateway.guard import Decision, JobOrderUpdate, Step, TagWrite, WriteBack
from lineside_gateway.guard.effects import Acknowledgement, Effect
from lineside_plugins.types import Scalar
from tests.gateway.guard.plant import NOW, Bench, decision, reject

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def test_nothing_is_sent_before_the_counter_is_known(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the counter cannot be read, as after a loss, the write waits: its lost answer could never be told."""
    read, away = bench.writer.read, [3]

    async def unsure(equipment_id: str, tag: str) -> Scalar:
        if tag == "RejectsTaken" and away[0]:
            away[0] -= 1
            assert bench.writer.log == []
            return None
        return await read(equipment_id, tag)

    monkeypatch.setattr(bench.writer, "read", unsure)
    bench.restart()
    await bench.write_back.execute(reject("k", "S-7"))
    await bench.until("k", Step.ACTED_ON)
    assert (away, bench.plc.taken) == ([0], ["S-7"])
