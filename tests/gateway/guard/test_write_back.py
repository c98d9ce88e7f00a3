"""Write-back: what is sent, held, refused or given up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from lineside_gateway.guard import Decision, JobOrderUpdate, Step, TagWrite
from tests.gateway.guard.plant import NOW, Bench, decision, reject

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def test_refused_decision_cannot_be_executed(bench: Bench) -> None:
    """Handing write-back a decision the guard refused is an error of the caller."""
    with pytest.raises(ValueError, match="only allowed ones are written"):
        await bench.write_back.execute(Decision(False, "t", "A1", "k"))
