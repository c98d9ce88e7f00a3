"""The gateway end to end: a real OPC UA server, a real broker, a real Celery worker, the README's example task."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from asyncua import Client

from lineside_gateway import processes
from lineside_gateway.audit import entries
from lineside_gateway.dispatch import EmbeddedBroker
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.ingest import Request
from lineside_gateway.ledger import Effect
from lineside_gateway.runtime import Gateway
from lineside_gateway.runtime.traces import Traces
from lineside_gateway.settings import read_settings
from lineside_gateway.store import RequestStore
from lineside_workers.recorded import reading

pytestmark = pytest.mark.usefixtures("overheat_site")

SETTINGS = """
version: 1
gateway: {{id: {id}, endpoint: "opc.tcp://127.0.0.1:0/lineside", data_dir: {data}, security: {{anonymous: true}}}}
broker: {{url: "{broker}"}}
servers: [{{name: PLC, url: "{url}", reconnect_min_s: 0.2, reconnect_max_s: 0.5, allowed_lateness_s: 0.2}}{more}]
heartbeat: {{plant_tag: PlcHeartbeat, gateway_tag: GatewayHeartbeat, period_s: 1}}
equipment: [{{id: M1, server: PLC, browse: Objects/M1}}{machines}]
tasks:
  - task: overheat
    mode: {mode}
    config: {{limit_degc: 70}}
    write: [{{set: {{MaintenanceRequest: true}}, acknowledge: MaintenanceTaken}}]
"""


async def until(check: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    """Wait for ``check``; a failure says what did not happen."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not check():
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not happen within {within_s} s"
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def served(overheat_site: Path) -> Iterator[str]:
    """URL of a broker behind which one worker hosts the task, for all gateways of this module."""
    with EmbeddedBroker() as broker, processes.group() as children:
        child = processes.start(
            "worker", "lineside_workers", ["serve", "--tasks", "overheat", "--device", "cpu", "--die-with-parent"],
            log_dir=overheat_site, env={"LINESIDE_BROKER_URL": broker.url},
        )  # fmt: skip
        children.append(child)
        processes.wait_ready(child, 120)
        yield broker.url
        child.stop()


@asynccontextmanager
async def line(
    plc, tmp_path: Path, broker: str, *, mode: str, more: str = "", machines: str = "", settings: str = SETTINGS
) -> AsyncIterator[Gateway]:
    text = settings.format(
        id=tmp_path.name, data=tmp_path, broker=broker, url=plc.url, mode=mode, more=more, machines=machines
    )
    gateway = Gateway(read_settings(text))
    running = asyncio.create_task(gateway.run())
    try:
        yield gateway
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def flat(gateway: Gateway, name: str):
    """One hosted flat node as a plain client reads it."""
    async with Client(gateway.hosted.endpoint) as client:
        index = await client.get_namespace_index("urn:lineside:ua")
        return await client.get_node(f"ns={index};s={name}").read_data_value(raise_on_bad_status=False)


async def test_a_hot_machine_is_flagged_written_and_acted_on(plc, tmp_path: Path, served: str) -> None:
    """From a tag over window, worker and guard to the PLC's own counter, and to a node that a client reads as Good."""
    async with line(plc, tmp_path, served, mode="closed_loop") as gateway:
        ledger = gateway.ledger.task("overheat")
        await until(lambda: ledger.outcomes.total() > 0, "a first recommendation")
        assert (await flat(gateway, "M1.overheat.flag")).Value.Value is False
        assert plc.taken == 0
        plc.temperature = 200.0  # the next sample is enough
        await until(lambda: plc.taken > 0, "maintenance")
        await until(lambda: gateway.status.tasks[0].acted_on > 0, "the acknowledgement")
        shown = await flat(gateway, "M1.overheat.flag")
        assert shown.Value.Value is True
        assert shown.StatusCode.is_good()
        assert "degC, limit 70 degC" in (await flat(gateway, "M1.overheat.reason")).Value.Value
        assert gateway.status.ledger["balanced"] is True
        assert gateway.status.tasks[0].latency_ms["p50"] is not None


async def test_advisory_shows_and_does_not_write(plc, tmp_path: Path, served: str) -> None:
    """In advisory mode the flag is on the hosted node and the PLC is left alone."""
    plc.temperature = 95.0
    async with line(plc, tmp_path, served, mode="advisory") as gateway:
        ledger = gateway.ledger.task("overheat")
        await until(lambda: ledger.outcomes.total() > 0, "a first recommendation")
        assert (await flat(gateway, "M1.overheat.flag")).Value.Value is True
        await asyncio.sleep(0.5)
        assert plc.taken == 0


async def test_an_absent_server_and_a_missing_node_leave_the_rest_running(
    plc, tmp_path: Path, served: str, free_port: int
) -> None:
    """An unreachable server and equipment that is not there are named, while the other machine is advised."""
    async with line(
        plc,
        tmp_path,
        served,
        mode="closed_loop",
        more=f', {{name: GONE, url: "opc.tcp://127.0.0.1:{free_port}", reconnect_max_s: 1.0}}',
        machines=", {id: M2, server: GONE, browse: Objects/M2}, {id: M3, server: PLC, browse: Objects/M3}",
    ) as gateway:
        ledger = gateway.ledger.task("overheat")
        await until(lambda: ledger.outcomes.total() > 0, "a recommendation for the machine that is there")
        gone = next(s for s in gateway.status.servers if s.name == "GONE")
        assert str(free_port) in gone.error
        assert gone.state != "connected"
        problems = (await flat(gateway, "gateway.problems")).Value.Value
        assert problems.startswith("server 'GONE': ")
        assert str(free_port) in problems


async def test_without_a_worker_nodes_turn_bad_and_say_why(
    plc, tmp_path: Path, unserved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker hosts the task: its nodes read Bad, and StatusText tells what to start."""
    monkeypatch.setattr("lineside_gateway.runtime.worker_watch.GRACE_S", 1.0)
    async with line(plc, tmp_path, unserved, mode="closed_loop") as gateway:
        await until(lambda: bool(gateway.feed.equipment), "the PLC to be resolved")
        for _ in range(100):
            text = await flat(gateway, "M1.overheat.status_text")
            if text.Value is not None and "lineside worker" in str(text.Value.Value):
                break
            await asyncio.sleep(0.1)
        assert "lineside worker --tasks overheat" in str(text.Value.Value)
        assert not (await flat(gateway, "M1.overheat.flag")).StatusCode.is_good()
        await asyncio.sleep(1.0)  # problems are shown twice a second
        assert "lineside worker --tasks overheat" in (await flat(gateway, "gateway.problems")).Value.Value


async def test_heartbeats_tell_both_sides(plc, tmp_path: Path, served: str) -> None:
    """The PLC sees our count rise and fall to 0 when the switch is thrown; its own silence turns its nodes Bad."""
    async with line(plc, tmp_path, served, mode="closed_loop") as gateway:
        await until(lambda: plc.heard >= 2, "two beats of the gateway")
        assert not gateway.guard.demoted
        await gateway.throw(True, "anna", "no crew")
        await until(lambda: plc.heard == 0, "the count 0 for advice that is held back", 5)
        plc.alive = False
        await until(lambda: "M1" in gateway.status.silent, "the PLC's silence to be noticed", 10)
        assert (await flat(gateway, "M1.overheat.flag")).StatusCode.name == "BadNoCommunication"
        assert "PlcHeartbeat" in (await flat(gateway, "M1.overheat.status_text")).Value.Value
    lines = [e["event"] for e in entries(tmp_path / "audit")]
    assert (lines[0], lines[-1]) == ("started", "stopped")
    assert "switch" in lines


async def test_nothing_is_written_to_a_plc_that_is_silent(plc, tmp_path: Path, served: str) -> None:
    """A PLC whose heartbeat stands still is written nothing, until it beats; the worker knows it by a pseudonym."""
    settings = SETTINGS + "privacy: {{equipment: pseudonym, operators: pseudonym}}\n"
    async with line(plc, tmp_path, served, mode="closed_loop", settings=settings) as gateway:
        ledger = gateway.ledger.task("overheat")
        await until(lambda: ledger.outcomes.total() > 0, "a first recommendation")
        plc.alive = False
        await until(lambda: "M1" in gateway.status.silent, "the PLC's silence to be noticed", 20)
        plc.temperature = 200.0
        await until(lambda: ledger.withheld["silent"] > 0, "a recommendation to be withheld")
        assert (plc.taken, ledger.effects[Effect.WRITTEN]) == (0, 0)
        plc.alive = True
        await until(lambda: plc.taken > 0, "the write once the PLC beats again")
    refused = [e for e in entries(tmp_path / "audit", event="decision") if e["reason"] == "silent"]
    assert "the PLC is silent: M1.PlcHeartbeat has stood still" in str(refused[0]["text"])


async def test_the_switch_outlives_a_restart(plc, tmp_path: Path, unserved: str) -> None:
    """A gateway started after the switch was thrown holds everything at advisory until it is given back."""
    PlantSwitch(tmp_path).throw(True, by="anna", why="no crew")
    async with line(plc, tmp_path, unserved, mode="closed_loop") as gateway:
        await until(lambda: gateway.guard.demoted, "the switch to be seen")
        assert (await flat(gateway, "gateway.plant_mode")).Value.Value == "advisory"
        PlantSwitch(tmp_path).throw(False, by="anna")
        await until(lambda: not gateway.guard.demoted, "the switch to be given back", 5)
    (first, second) = entries(tmp_path / "audit", event="switch")
    assert (first["demoted"], first["user"], second["demoted"]) == (True, "anna", False)


async def test_what_an_earlier_run_left_open_is_answered_or_expired(plc, tmp_path: Path, served: str) -> None:
    """A stored request of a gateway that died is recommended on; one whose time is over is expired; none stays."""
    now_us = time.time_ns() // 1000
    store = RequestStore(tmp_path / "requests.sqlite")
    values = np.full((6, 1), 95.0, np.float32)
    for number, lasts_s in ((1, 60), (2, -1)):
        left = Request(
            number, "overheat", "M1", now_us, now_us + 30_000_000, ("SpindleTemp",), 10.0, values,
            np.ones(values.shape, np.bool_), {}, {}, 1.0, "period",
        )  # fmt: skip
        store.put(left, now_us / 1e6 + lasts_s)
    store.close()
    async with line(plc, tmp_path, served, mode="closed_loop") as gateway:
        ledger = gateway.ledger.task("overheat")
        await until(lambda: plc.taken > 0, "maintenance asked for before the restart")
        assert ledger.resumed == 2
        assert ledger.reasons["expired: the gateway was away"] == 1
        assert gateway.status.ledger["balanced"] is True
    with contextlib.closing(RequestStore(tmp_path / "requests.sqlite")) as left_over:
        assert not [k for k in left_over.kept if k.request.end_us == now_us]


async def test_prometheus_reads_the_ledger_and_each_batch_is_a_trace(
    plc, tmp_path: Path, served: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed, ended and pending requests stand at metrics.port and add up; a trace goes from window to hosted node."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs OpenTelemetry: pip install 'lineside[otel]'")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr("lineside_gateway.runtime.gateway.traces_of", lambda *_: Traces(provider))
    metrics = f"metrics: {{{{port: {free_port}}}}}\n"
    async with line(plc, tmp_path, served, mode="advisory", settings=SETTINGS + metrics) as gateway:
        ledger = gateway.ledger.task("overheat")
        await until(lambda: ledger.outcomes.total() > 0, "a first recommendation")
        await asyncio.sleep(1.2)
        url = f"http://127.0.0.1:{free_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
    said = {k: float(v) for k, v in (r.rsplit(" ", 1) for r in text.splitlines() if not r.startswith("#"))}
    ended = sum(v for k, v in said.items() if k.startswith("lineside_requests_total{"))
    closed = said['lineside_requests_closed_total{task="overheat"}']
    assert closed == ended + said['lineside_requests_pending{task="overheat"}'] > 0
    assert said['lineside_batches_total{what="submitted"}'] > 0
    assert said['lineside_store_requests_total{what="kept"}'] > 0
    assert said["lineside_broker_up"] == 1
    spans = {s.name: s for s in kept.get_finished_spans()}
    assert {"lineside.batch", "wait", "dispatch", "inference", "publish"} <= set(spans)
    assert spans["lineside.batch"].attributes["lineside.task"] == "overheat"
    assert all(s.start_time <= s.end_time for s in spans.values())


async def test_what_is_read_and_said_is_recorded(plc, tmp_path: Path, served: str) -> None:
    """With recording.folder the tags, with unit and StatusCode, and every recommendation lie in Parquet files."""
    recording = f"recording: {{{{folder: {tmp_path / 'recorded'}, period_s: 0, write_every_s: 0.2}}}}\n"
    async with line(plc, tmp_path, served, mode="advisory", settings=SETTINGS + recording) as gateway:
        ledger = gateway.ledger.task("overheat")
        await until(lambda: ledger.outcomes.total() > 0, "a first recommendation")
    found = reading.read(tmp_path / "recorded")
    temperatures = found.series["M1", "SpindleTemp"]
    assert set(temperatures.value.tolist()) == {60.0}
    assert found.skipped == {}
    said = [r for r in found.recommendations if r["stage"] == "full"]
    assert len(said) >= ledger.outcomes.total()
    assert (said[0]["task"], said[0]["equipment_id"], said[0]["flag"]) == ("overheat", "M1", False)
