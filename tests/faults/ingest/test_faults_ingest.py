"""The fault matrix: after each fault all tags flow again, one session is open, and the ledger knows what is missing.

Run with ``make test-faults``; it prints a table of recovery times.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from lineside_gateway.opcua.session import LinkState

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
STEADY_S = 2.0


async def check(rig: Any, note: Any, fault: str, recovered_s: float, tags: tuple[str, ...] | None = None) -> None:
    """What holds after every fault."""
    await asyncio.sleep(STEADY_S)
    await rig.flowing(tags)
    stats = await rig.settled()
    assert stats["sessions"] == 1
    assert rig.creates_a_minute() <= 10
    assert stats["subscriptions"] <= 1
    found = rig.check_books(tags)
    note(fault=fault, recovered_s=round(recovered_s, 1), sessions=stats["sessions"],
         creates_a_minute=rig.creates_a_minute(), **found)  # fmt: skip


async def test_connection_reset(new_rig, note):
    """A line that is cut with RST three times loses no value: the session is taken up again."""
    rig = await new_rig()
    await rig.flowing()
    for _ in range(3):
        rig.proxy.reset()
        await asyncio.sleep(0.3)
        recovered = await rig.flowing()
        await asyncio.sleep(1)
    await check(rig, note, "reset", recovered)
    assert rig.link.status.resumes == 3
    assert rig.check_books()["missing"] == 0


async def test_black_hole(new_rig, note):
    """A line that swallows everything for 20 s is noticed by the probe."""
    rig = await new_rig()
    await rig.flowing()
    rig.proxy.line = type(rig.proxy.line).BLACK_HOLE
    await rig.until(lambda: rig.link.status.state is LinkState.LOST, 15)
    await asyncio.sleep(10)
    rig.proxy.line = type(rig.proxy.line).OPEN
    await check(rig, note, "black hole", await rig.flowing())


async def test_half_open(new_rig, note):
    """A server that has lost the connection, while ours seems to stand, is noticed by the probe."""
    rig = await new_rig()
    await rig.flowing()
    rig.proxy.half_open()
    await check(rig, note, "half-open", await rig.flowing())


@pytest.mark.parametrize("seconds", [6, 14, 45])
async def test_server_stopped(new_rig, note, seconds):
    """A server that stands still for a while and goes on is read on, without a session more."""
    rig = await new_rig()
    await rig.flowing()
    rig.server.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    rig.server.signal(signal.SIGCONT)
    await check(rig, note, f"SIGSTOP {seconds} s", await rig.flowing())


async def test_slow_reader(new_rig, note):
    """A line slower than the data for 20 s brings all of it late, or the ledger says what the server dropped."""
    rig = await new_rig()
    await rig.flowing()
    rig.proxy.line = type(rig.proxy.line).SLOW
    await asyncio.sleep(20)
    rig.proxy.line = type(rig.proxy.line).OPEN
    await check(rig, note, "slow reader", await rig.flowing())


async def test_restart_with_namespaces_reordered(new_rig, note):
    """After a restart with two more namespaces before its own every tag flows, in the same column."""
    rig = await new_rig()
    await rig.flowing()
    before = rig.link.tag("M1", "T0").node_id.NamespaceIndex
    await rig.settled()
    await rig.server.kill()
    await rig.server.start(before=["urn:x", "urn:y"])
    await check(rig, note, "namespaces reordered", await rig.flowing())
    assert rig.link.tag("M1", "T0").node_id.NamespaceIndex == before + 2
    assert rig.check_books()["gaps"] >= len(rig.tags)


async def test_nodes_missing_after_a_restart(new_rig, note):
    """Tags that a booting PLC has only 30 s after its restart flow then; the others flow at once."""
    rig = await new_rig()
    await rig.flowing()
    await rig.settled()
    await rig.server.kill()
    await rig.server.start(absent=5, absent_s=30)
    await rig.flowing(rig.tags[:-5])
    assert set(rig.link.status.pending) == {("M1", t) for t in rig.tags[-5:]}
    await check(rig, note, "nodes missing 30 s", await rig.flowing())
    assert not rig.link.status.pending


async def test_nodes_deleted_and_added_again(new_rig, note):
    """Tags that a download to the PLC takes away for 30 s, without closing a session, flow again after it."""
    rig = await new_rig()
    await rig.flowing()
    await rig.server.ask("delete 5 30")
    await asyncio.sleep(30)
    await check(rig, note, "nodes deleted 30 s", await rig.flowing())


async def test_too_many_sessions(new_rig, note):
    """A restarted server that has no session left for 15 s is asked again, at most ten times a minute."""
    rig = await new_rig()
    await rig.flowing()
    await rig.settled()
    await rig.server.kill()
    await rig.server.start(busy_s=15)
    await rig.until(lambda: "no session left" in rig.link.status.error, 15)
    await check(rig, note, "BadTooManySessions", await rig.flowing())


async def test_transfer_refused(new_rig, note):
    """A server that transfers no subscriptions is none the worse: nothing asks it to."""
    rig = await new_rig(no_transfer=True)
    await rig.flowing()
    rig.proxy.reset()
    await asyncio.sleep(0.3)
    await check(rig, note, "transfer refused", await rig.flowing())


async def test_session_not_taken_up(new_rig, note):
    """A server that lets no session move to another channel is given a new one; the old one times out."""
    rig = await new_rig({"session_timeout_s": 15}, no_resume=True)
    await rig.flowing()
    rig.proxy.reset()
    await asyncio.sleep(0.3)
    recovered = await rig.flowing()
    await rig.settled(40)
    await check(rig, note, "resume refused", recovered)


async def test_one_bad_node_id_in_a_thousand(new_rig, note):
    """The bad one is listed with its cause; the 999 others flow."""
    bad = {"Bad": "nsu=urn:lineside:test:counters;s=M1.NotThere"}
    rig = await new_rig(addresses=bad, tags=999, period_s=3.0)
    recovered = await rig.flowing()
    assert "BadNodeIdUnknown" in rig.link.status.pending["M1", "Bad"]
    assert len(rig.link.status.pending) == 1
    await check(rig, note, "one bad NodeId", recovered)


async def test_filter_refused(new_rig, note):
    """A server that knows no DataChangeFilter is asked without."""
    rig = await new_rig(no_filter=True)
    await check(rig, note, "filter refused", await rig.flowing())


async def test_no_subscription(new_rig, note):
    """A server without subscriptions is polled."""
    rig = await new_rig({"poll_interval_s": 0.5}, no_subscription=True, period_s=1.0)
    await check(rig, note, "no subscription", await rig.flowing())


async def test_a_thousand_items_per_call(new_rig, note):
    """Batches too large for an undeclared limit are halved until they fit, and stay so."""
    rig = await new_rig({"batch_size": 4000}, tags=1200, period_s=3.0, most_items=1000)
    recovered = await rig.flowing()
    await check(rig, note, "1,000 items a call", recovered)


async def test_messages_of_64_kib(new_rig, note):
    """A server that neither takes nor sends messages beyond 64 KiB is asked in smaller pieces."""
    rig = await new_rig({"batch_size": 4000}, tags=1200, period_s=3.0, most_bytes=65_536)
    recovered = await rig.flowing()
    await check(rig, note, "64 KiB messages", recovered)


async def test_gateway_killed_again_and_again(new_rig, note):
    """A gateway that is killed six times in a row closes the session it left behind whenever it comes back."""
    rig = await new_rig(run=False)
    for _ in range(6):
        victim = await rig.other_process()
        sessions = (await rig.server.ask())["sessions"]
        victim.kill()
        await victim.wait()
        assert sessions == 1
    rig.start()
    await check(rig, note, "gateway killed", await rig.flowing())
    rig.running.cancel()
    await asyncio.gather(rig.running, return_exceptions=True)
    assert (await rig.server.ask())["sessions"] == 0, "a gateway that ends in order leaves no session"
