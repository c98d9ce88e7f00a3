"""History read at start, against the running plant and against small servers that have none or are odd."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources

import pytest
from asyncua import ua
from asyncua.server.history import HistoryManager

from lineside_gateway.ingest import Request, TagTable, Windower
from lineside_gateway.ledger import Ledger
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.plan import plan_servers
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.runtime.tasks import bind_tasks
from lineside_gateway.settings import Settings, read_settings

MINUTE_US = 60_000_000
MACHINES = ("A1", "A2", "B1", "C1", "C2")


@pytest.fixture(scope="module")
def worn() -> Iterator[dict[str, str]]:
    """A plant served after 60 h, a minute a second, in which C1 failed after 54 h; its endpoints."""
    command = [sys.executable, "-m", "lineside_plant", "serve", "--port", "0", "--speed", "60", "--start-h", "60",
               "--seed", "3", "--die-with-parent"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["endpoints"]
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture
def settings(worn) -> Settings:
    text = (resources.files("lineside_gateway") / "demo" / "refplant.yaml").read_text(encoding="utf-8")
    return read_settings(text, environment={f"PLANT_{n}": url.rpartition(":")[2] for n, url in worn.items()})


class Line:
    """Links, feed and windower of a gateway with the maintenance task, without broker and nodes."""

    def __init__(self, settings: Settings, pki) -> None:
        self.task = bind_tasks(settings).tasks["maintenance"]
        self.ledger = Ledger()
        table = TagTable(self.ledger.values)
        self.windower = Windower(table, (), self.ledger)
        tell = Listeners(self.resolved, self.flushed, lambda _s: None, lambda *_: None, self.windower.begin)
        self.feed = Feed(table, {s.name: s.allowed_lateness_s for s in settings.servers}, frozenset(), tell)
        self.links = [ServerLink(p, pki) for p in plan_servers(settings, {"maintenance": self.task.inputs}).values()]
        self.requests: list[Request] = []
        self.bound: set[str] = set()

    def resolved(self, _server, equipment) -> None:
        fresh = [e for e in equipment if e.id not in self.bound]
        self.bound |= {e.id for e in fresh}
        if fresh:
            self.windower.bind(self.task.binding(fresh, "line"))

    def flushed(self) -> None:
        self.requests += self.windower.close(self.feed.watermarks())

    def of(self, machine: str) -> list[Request]:
        return [r for r in self.requests if r.equipment_id == machine]


async def test_the_first_window_of_every_machine_is_nearly_whole(bench, settings) -> None:
    """48 h stand in the first window; periods begin with live samples, a minute apart; every value is accounted for."""
    line = Line(settings, bench.pki)
    for link in line.links:
        bench.start(link.run(line.feed))
    await bench.until(lambda: all(len(line.of(m)) >= 3 for m in MACHINES), within_s=60)
    await bench.until(lambda: line.of("C1")[-1].records["events"])
    for machine in MACHINES:
        requests = line.of(machine)
        assert requests[0].quality > 0.95
        ends = [r.end_us for r in requests]
        assert [b - a for a, b in itertools.pairwise(ends)] == [MINUTE_US] * (len(ends) - 1)
    assert line.of("C1")[-1].records["events"][0]["kind"] == "failure"
    windows = line.ledger.task("maintenance").windows
    assert windows.dropped.total() == 0
    assert windows.received == len(line.requests)
    values = line.ledger.values
    assert values.balanced
    assert values.dropped.keys() <= {"duplicate"}
    assert all(link.status.counters.history > 5 * 2800 for link in line.links if link.name in MACHINES)


async def test_history_is_read_once_and_not_after_a_reconnect(bench, settings) -> None:
    """A second connection of the same link delivers live samples only."""
    plan = plan_servers(settings, {"maintenance": bind_tasks(settings).tasks["maintenance"].inputs})["A1"]
    link = ServerLink(replace(plan, server=bench.server(plan.server.url, name="A1")), bench.pki)
    running = bench.start(link.run(bench.sink))
    await bench.until(lambda: ("A1", "VibRms") in bench.sink.numbers)
    past = len(bench.sink.past["A1", "VibRms"])
    assert past > 2800
    (begin,) = bench.sink.begins
    assert begin[0] == "A1"
    assert max(t for t, _, _ in bench.sink.past["A1", "VibRms"]) < begin[1]
    assert min(t for t, _, _ in bench.sink.numbers["A1", "VibRms"]) >= begin[1]
    running.cancel()
    await asyncio.wait([running])
    bench.sink.numbers.clear()
    bench.start(link.run(bench.sink))
    await bench.until(lambda: ("A1", "VibRms") in bench.sink.numbers)
    assert len(bench.sink.past["A1", "VibRms"]) == past
    assert len(bench.sink.begins) == 1


async def test_events_of_the_past_come_once_and_in_order(bench, settings) -> None:
    """The MES's history gives the events before the connection, oldest first, and none of them comes live as well."""
    inputs = {"maintenance": bind_tasks(settings).tasks["maintenance"].inputs}
    bench.start(ServerLink(plan_servers(settings, inputs)["MES"], bench.pki).run(bench.sink))
    await bench.until(lambda: len(bench.sink.past_rows) > 100 and bench.sink.rows)
    times = [row["time"] for row in bench.sink.past_rows]
    assert times == sorted(times)
    whole = [tuple(sorted(row.items())) for row in bench.sink.past_rows + bench.sink.rows]
    assert len(whole) == len(set(whole))


def with_depth(plan, **depths_s: float):
    return replace(plan, depths_s=depths_s)


async def test_a_server_without_history_works_as_before(bench) -> None:
    """No node allows HistoryRead: live samples flow at once and nothing is said about where they begin."""
    plc = await bench.plc("A1", {"Vib": 1.0})
    link = ServerLink(with_depth(bench.plan(plc.url, {"Vib": "Vib"}), Vib=3600.0), bench.pki)
    bench.start(link.run(bench.sink))
    await bench.until(lambda: bench.sink.values("A1", "Vib"), within_s=5)
    await plc.write("Vib", 2.0, at_s=5)
    await bench.until(lambda: bench.sink.values("A1", "Vib")[-1] == 2.0)
    assert not bench.sink.past
    assert not bench.sink.begins


async def allow_history(plc, tag: str) -> None:
    node = plc.endpoint.server.get_node(ua.NodeId(f"{plc.name}.{tag}", plc.ns))
    for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
        await node.set_attr_bit(attribute, ua.AccessLevel.HistoryRead)


class Slow(HistoryManager):
    """A historian that answers after a minute."""

    async def read_history(self, params):  # noqa: ARG002  asyncua's signature
        await asyncio.sleep(60)


class NoBounds(HistoryManager):
    """A historian that knows no bounds, keeps three samples, and includes the end of a span."""

    async def read_history(self, params):
        bounds = params.HistoryReadDetails.ReturnBounds
        if bounds:
            return [
                ua.HistoryReadResult(ua.StatusCode(ua.StatusCodes.BadBoundNotSupported)) for _ in params.NodesToRead
            ]
        end = params.HistoryReadDetails.EndTime
        begin = params.HistoryReadDetails.StartTime
        values = [ua.DataValue(ua.Variant(float(k)), SourceTimestamp=begin + (end - begin) * k / 2) for k in range(3)]
        return [ua.HistoryReadResult(HistoryData=ua.HistoryData(values)) for _ in params.NodesToRead]


@pytest.mark.parametrize("switched_off", [False, True])
async def test_a_slow_historian_costs_one_warning_and_its_time(bench, caplog, switched_off: bool) -> None:
    """After history_timeout_s live samples flow, none is lost, and one warning names the bound; false asks nothing."""
    plc = await bench.plc("A1", {"Vib": 1.0})
    await allow_history(plc, "Vib")
    plc.endpoint.server.iserver.history_manager = Slow(plc.endpoint.server.iserver)
    plan = bench.plan(plc.url, {"Vib": "Vib"}, history=not switched_off, history_timeout_s=1.0)
    bench.start(ServerLink(with_depth(plan, Vib=3600.0), bench.pki).run(bench.sink))
    begun = time.monotonic()
    await asyncio.sleep(0.5)
    await plc.write("Vib", 2.0, at_s=5)
    await bench.until(lambda: bench.sink.values("A1", "Vib")[-1:] == [2.0], within_s=8)
    assert bench.sink.values("A1", "Vib") == [1.0, 2.0]
    assert (time.monotonic() - begun > 1.0) is not switched_off
    await asyncio.sleep(0.3)
    warnings = [r.getMessage() for r in caplog.records if "history_incomplete" in r.getMessage()]
    assert len(warnings) == (0 if switched_off else 1)
    assert all("history_timeout_s=1" in w for w in warnings)


async def test_a_historian_without_bounds_is_asked_again_and_its_end_is_left_to_live(bench) -> None:
    """BadBoundNotSupported leads to a request without bounds; a sample at the end of the span is not history."""
    plc = await bench.plc("A1", {"Vib": 1.0})
    await plc.write("Vib", 7.0, at_s=3600)
    await allow_history(plc, "Vib")
    plc.endpoint.server.iserver.history_manager = NoBounds(plc.endpoint.server.iserver)
    link = ServerLink(with_depth(bench.plan(plc.url, {"Vib": "Vib"}), Vib=3600.0), bench.pki)
    bench.start(link.run(bench.sink))
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    assert [v for _, v, _ in bench.sink.past["A1", "Vib"]] == [0.0, 1.0]
    assert bench.sink.values("A1", "Vib") == [7.0]
    assert link.status.counters.history == 2
