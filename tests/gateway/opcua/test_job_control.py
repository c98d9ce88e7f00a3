"""Job orders, events and effects against RefPlant's own servers, running as a process of their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from lineside_gateway.errors import JobControlError
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.plan import plan_servers
from lineside_gateway.opcua.session import LinkState
from lineside_gateway.settings import EventSettings, JobControlSettings
from lineside_plugins import registry

FIELDS = {
    "job_order_id", "family", "quantity", "remaining", "release", "due", "priority", "equipment", "equipment_id",
    "state", "time",
}  # fmt: skip


@pytest.fixture
def mes(bench, refplant) -> ServerLink:
    """A running link to the MES, as the shipped settings ask for it."""
    inputs = {t.task: registry.create(t.task, t.config).inputs() for t in refplant.tasks}
    link = ServerLink(plan_servers(refplant, inputs)["MES"], bench.pki)
    bench.start(link.run(bench.sink))
    return link


def orders(bench) -> dict[str, dict[str, object]]:
    return {str(r["job_order_id"]): dict(r) for r in bench.sink.streams.get("job_orders", ())}


def waiting(bench) -> list[str]:
    return [i for i, r in orders(bench).items() if r["state"] == "AllowedToStart"]


async def test_the_mes_list_becomes_records(bench, mes):
    """Each job order is one record with its family, amounts, times, priority, equipment and state."""
    await bench.until(lambda: waiting(bench) and mes.connected)
    rows = orders(bench)
    assert all(set(r) == FIELDS for r in rows.values())
    first = rows[waiting(bench)[0]]
    assert first["family"] in {"F0", "F1", "F2", "F3"}
    assert 60 <= first["quantity"] <= 179
    assert first["remaining"] == first["quantity"]
    assert datetime.fromisoformat(first["due"]) > datetime.fromisoformat(first["release"])
    assert (first["priority"], first["equipment"]) == (0, "")
    assert mes.status.pending == {}


async def test_an_update_reaches_the_list_and_the_counter(bench, mes):
    """Priority and equipment of one order change at the MES, its other fields stay, and UpdatesTaken rises."""
    await bench.until(lambda: waiting(bench) and bench.sink.values("MES", "UpdatesTaken"))
    taken = bench.sink.values("MES", "UpdatesTaken")[-1]
    chosen = waiting(bench)[-1]
    before = orders(bench)[chosen]
    done = await mes.update_job_order(chosen, 7, "A2")
    assert (done.accepted, done.reason) == (True, "")
    await bench.until(lambda: orders(bench).get(chosen, {}).get("priority") == 7)
    after = orders(bench)[chosen]
    changed = {k for k in FIELDS if before[k] != after[k]} - {"time", "state", "remaining"}
    assert changed == {"priority", "equipment", "equipment_id"}
    assert after["equipment"] == "A2"
    await bench.until(lambda: bench.sink.values("MES", "UpdatesTaken")[-1] == taken + 1)


async def test_an_order_is_given_back_to_any_equipment(bench, mes):
    """equipment_id None empties the requirements, so that every mill may take the order."""
    await bench.until(lambda: len(waiting(bench)) > 2)
    chosen = waiting(bench)[-2]
    assert (await mes.update_job_order(chosen, 3, "A1")).accepted
    await bench.until(lambda: orders(bench).get(chosen, {}).get("equipment") == "A1")
    assert (await mes.update_job_order(chosen, 0, None)).accepted
    await bench.until(lambda: orders(bench).get(chosen, {}).get("equipment") == "")


async def test_a_refusal_is_an_answer_in_words(bench, mes):
    """A running order is not updated and the MES's reason is told; an unknown order is never sent."""
    await bench.until(lambda: any(r["state"] == "Running" for r in orders(bench).values()))
    running = next(i for i, r in orders(bench).items() if r["state"] == "Running")
    done = await mes.update_job_order(running, 5, "A1")
    assert not done.accepted
    assert done.reason in {"the job order's state does not allow it", "unknown job order ID"}
    with pytest.raises(JobControlError, match="'JO-X' is not in the list of server 'MES'"):
        await mes.update_job_order("JO-X", 1, None)


async def test_plant_events_become_records(bench, mes):
    """Inspections and the start of orders arrive as rows with kind, equipment, time and the fields that they have."""
    assert mes.name == "MES"
    await bench.until(lambda: any(r["kind"] == "inspection" for r in bench.sink.rows), within_s=60)
    row = next(r for r in bench.sink.rows if r["kind"] == "inspection")
    assert row["equipment_id"] in {"A1", "A2"}
    assert row["serial_no"].startswith(row["equipment_id"])
    assert isinstance(row["value"], float)
    assert isinstance(row["porous"], bool)
    assert datetime.fromisoformat(row["time"]).year == 2026


async def test_what_is_not_there_is_listed_while_the_rest_flows(bench, mes):
    """A wrong receiver and a wrong event type are each one sentence; job orders of another link flow on."""
    plan = replace(
        mes.plan,
        job_control=JobControlSettings(server="MES", browse="Objects/Receiver"),
        events=(EventSettings(server="MES", type="NoSuchType"), EventSettings(server="MES")),
    )
    link = ServerLink(plan, bench.pki)
    bench.start(link.run(bench.sink))
    await bench.until(lambda: link.connected and waiting(bench))
    assert link.status.state is LinkState.CONNECTED
    pending = link.status.pending
    assert "'Receiver' of browse path 'Objects/Receiver' is not below 'Objects'" in pending["MES", "job_orders"]
    assert "server 'MES' has no event type 'NoSuchType' with any of the fields Kind" in pending["MES", "events"]
    assert set(pending) == {("MES", "job_orders"), ("MES", "events")}
    with pytest.raises(JobControlError, match="not at hand: job_control: 'Receiver'"):
        await link.update_job_order("JO-1", 1, None)
