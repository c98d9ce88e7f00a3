"""The whole way: gateway's dispatcher, embedded broker, real Celery worker processes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from redis import Redis

from lineside_gateway.dispatch import CeleryDispatcher, EmbeddedBroker, shared_memory
from lineside_gateway.dispatch.parked import drop, parked, retry
from lineside_plugins import meeting
from lineside_plugins.wire import Status, encode_batch
from lineside_workers.app import build
from lineside_workers.settings import WorkerSettings


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def scrape(url: str) -> dict[str, float]:
    """What Prometheus would read."""
    text = urllib.request.urlopen(url, timeout=5).read().decode()  # noqa: S310 - loopback
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in rows}


async def test_batches_come_back_as_recommendations(broker: EmbeddedBroker, start_worker, make_batch) -> None:
    """Values, refusals, configuration, worker and model version arrive; the worker ends with code 0."""
    worker = start_worker()
    async with CeleryDispatcher("gw", broker.url) as d:
        result = await d.submit(make_batch(1.0, (-1000,), 0.0), "tiny", in_s(10))
        assert result.status is Status.ANSWERED
        assert [r and r.value["flag"] for r in result.recommendations] == [True, None, False]
        assert "the window is cursed" in result.refused[0].why
        assert result.meta["attempts"] == 1
        strict = await d.submit(make_batch(1.0), "tiny", in_s(10), {"threshold": 50.0})
        assert strict.recommendations[0].value["flag"] is False
        wrong = await d.submit(make_batch(1.0), "tiny", in_s(10), {"limit": 1})
        assert (wrong.status, "config key 'limit'" in wrong.error) == (Status.FAILED, True)
        (info,) = await d.workers()
        assert (info.device, info.tasks, info.failed) == ("cpu", {"tiny": "tiny:1.0"}, {})
        assert result.meta["worker"] == info.node
        assert d.counts == {"submitted": 3, "answered": 2, "failed": 1}
    assert worker.end() == 0
    with Redis.from_url(broker.url) as redis:
        assert redis.keys(meeting.WORKER_PATTERN) == []


@pytest.mark.parametrize(
    "shared_from_bytes", [shared_memory.SMALLEST_BYTES, 1], ids=["by the broker", "in shared memory"]
)
async def test_a_killed_workers_batch_is_answered_once_by_another(
    broker: EmbeddedBroker, start_worker, make_batch, monkeypatch: pytest.MonkeyPatch, shared_from_bytes: int
) -> None:
    """SIGKILL in the middle of a batch: the broker delivers it again, the dispatcher gets one answer."""
    monkeypatch.setattr(shared_memory, "SMALLEST_BYTES", shared_from_bytes)
    first = start_worker(LINESIDE_REDELIVER_AFTER_S="2")
    async with CeleryDispatcher("gw", broker.url) as d:
        waiting = asyncio.create_task(d.submit(make_batch((-3000, 1.5)), "tiny", in_s(60)))
        await asyncio.sleep(0.5)
        first.end(signal.SIGKILL)
        start_worker(LINESIDE_REDELIVER_AFTER_S="2")
        result = await waiting
        assert result.status is Status.ANSWERED
        assert result.meta["attempts"] == 2
        await asyncio.sleep(2.5)
        assert d.counts["in_memory"] == (shared_from_bytes == 1)
        assert d.counts - Counter(in_memory=1) == {"submitted": 1, "answered": 1}


async def test_a_worker_that_is_told_to_end_under_load_leaves_nothing_behind(
    broker: EmbeddedBroker, start_worker, make_batch
) -> None:
    """SIGTERM: what runs is answered, what was fetched ahead is in its queue again, untried."""
    worker = start_worker()
    async with CeleryDispatcher("gw", broker.url) as d:

        async def go_on() -> None:
            while True:
                await d.submit(make_batch(1.0), "tiny", in_s(60))

        lanes = [asyncio.create_task(go_on()) for _ in range(3)]
        while d.counts["answered"] < 30:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        assert await asyncio.to_thread(worker.end) == 0
        with Redis.from_url(broker.url) as redis:
            async with asyncio.timeout(20):
                while redis.llen(meeting.queue("tiny")) < 3:  # noqa: ASYNC110 - the last answers are on their way
                    await asyncio.sleep(0.01)
            assert redis.hlen(meeting.UNACKED) == redis.zcard(meeting.UNACKED_INDEX) == 0
            assert redis.keys(meeting.attempts_key("*")) == redis.keys(meeting.taken_key("*")) == []
        for lane in lanes:
            lane.cancel()


async def test_who_watches_celerys_events_sees_each_request(broker: EmbeddedBroker, start_worker, make_batch) -> None:
    """As soon as events are asked for, as Flower does, requests go Celery's own way."""
    start_worker()
    app = build(WorkerSettings(broker_url=broker.url))
    seen: list[str] = []

    def watch() -> None:
        with app.connection() as connection:
            receiver = app.events.Receiver(connection)

            def succeeded(event: dict[str, object]) -> None:
                seen.append(str(event["uuid"]))
                receiver.should_stop = True

            receiver.handlers["task-succeeded"] = succeeded
            receiver.capture(limit=None, timeout=60)

    async with CeleryDispatcher("gw", broker.url) as d:
        assert (await d.submit(make_batch(1.0), "tiny", in_s(60))).status is Status.ANSWERED
        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        await asyncio.to_thread(app.control.enable_events, reply=True)
        async with asyncio.timeout(60):
            while not seen:
                assert (await d.submit(make_batch(1.0), "tiny", in_s(60))).status is Status.ANSWERED
        await asyncio.to_thread(watching.join, 60)
    app.close()


async def test_a_worker_outlives_its_broker(broker_at: EmbeddedBroker, start_worker, make_batch) -> None:
    """The broker goes in the middle of a batch and comes back empty: that batch and the next are answered."""
    worker = start_worker(LINESIDE_BROKER_URL=broker_at.url)
    async with CeleryDispatcher("gw", broker_at.url) as d:
        waiting = asyncio.create_task(d.submit(make_batch((-3000, 1.5)), "tiny", in_s(60)))
        await asyncio.sleep(0.5)
        broker_at.stop()
        await asyncio.sleep(2)
        broker_at.start()
        following = await d.submit(make_batch(1.0), "tiny", in_s(60))
        assert {(await waiting).status, following.status} == {Status.ANSWERED}
        assert d.pending == 0
    assert worker.process.poll() is None


async def test_a_poison_batch_is_parked_listed_tried_again_and_dropped(
    broker: EmbeddedBroker, start_supervisor, make_batch
) -> None:
    """Three workers segfault on it, the supervisor starts each again, then it is parked; other batches go through."""
    supervisor = start_supervisor(LINESIDE_REDELIVER_AFTER_S="1")
    async with CeleryDispatcher("gw", broker.url) as d:
        poison = asyncio.create_task(d.submit(make_batch((-6000,)), "tiny", in_s(120)))
        good = await d.submit(make_batch(1.0), "tiny", in_s(120))
        assert good.status is Status.ANSWERED
        result = await poison
        assert (result.status, result.meta["attempts"]) == (Status.PARKED, 4)
    assert supervisor.log.read_text().count("cause=ended by signal 11") == 3
    (row,) = await parked(broker.url)
    assert (row.task, row.equipment_ids, row.cause) == ("tiny", ("M0",), result.error)
    assert "lineside parked retry" in row.cause
    harmless = dataclasses.replace(row, claim=encode_batch(make_batch(1.0)))
    assert (await retry(broker.url, harmless, 60)).status is Status.ANSWERED
    assert await parked(broker.url) == []
    assert not await drop(broker.url, row.id)
    assert supervisor.end() == 0


async def test_a_supervised_worker_tells_prometheus(
    broker: EmbeddedBroker, start_supervisor, make_batch, unused_tcp_port: int
) -> None:
    """Batches by status, windows and seconds stand at the port, and grow with the work."""
    start_supervisor(LINESIDE_METRICS_PORT=str(unused_tcp_port))
    async with CeleryDispatcher("gw", broker.url) as d:
        for batch in (make_batch(1.0, 0.0), make_batch(1.0)):
            assert (await d.submit(batch, "tiny", in_s(30))).status is Status.ANSWERED
        assert d.spent_s["inference"] > 0
        assert d.spent_s["transfer"] > 0
    async with asyncio.timeout(10):  # a batch is counted after its answer has gone out
        said: dict[str, float] = {}
        while said.get('lineside_worker_batches_total{status="answered"}', 0) < 2:
            said = await asyncio.to_thread(scrape, f"http://127.0.0.1:{unused_tcp_port}/metrics")
    assert said['lineside_worker_batches_total{status="answered"}'] == 2
    assert said["lineside_worker_windows_total"] == 3
    assert said['lineside_worker_seconds_total{part="inference"}'] > 0
    assert (
        said['lineside_worker_seconds_total{part="inference"}'] < said['lineside_worker_seconds_total{part="answer"}']
    )
    assert said["lineside_worker_restarts_total"] == 0


async def test_what_is_urgent_never_waits_behind_what_takes_long(
    broker: EmbeddedBroker, start_supervisor, make_batch
) -> None:
    """The task with the shorter deadline has a process of its own, and answers while the other task is in a batch."""
    supervisor = start_supervisor(LINESIDE_TASKS="patient,tiny")
    async with CeleryDispatcher("gw", broker.url) as d:
        assert sorted(tuple(w.tasks) for w in await d.workers()) == [("patient",), ("tiny",)]
        slow = asyncio.create_task(d.submit(make_batch((-3000, 60.0)), "patient", in_s(60)))
        while not any(w.busy_s for w in await d.workers()):  # noqa: ASYNC110 - told by heartbeats
            await asyncio.sleep(0.05)
        assert (await d.submit(make_batch(1.0), "tiny", in_s(60))).status is Status.ANSWERED
        assert not slow.done()
        slow.cancel()
    for process in psutil.Process(supervisor.process.pid).children():
        process.kill()  # it sleeps for a minute


async def test_a_hung_worker_is_started_again(broker: EmbeddedBroker, start_supervisor, make_batch) -> None:
    """A batch that runs longer than its redelivery time ends its worker, and the next worker goes on."""
    supervisor = start_supervisor(LINESIDE_REDELIVER_AFTER_S="3")
    async with CeleryDispatcher("gw", broker.url) as d:
        hung = asyncio.create_task(d.submit(make_batch((-3000, 3600.0)), "tiny", in_s(90)))
        await asyncio.sleep(1)
        assert (await d.submit(make_batch(1.0), "tiny", in_s(90))).status is Status.ANSWERED
        assert "cause=hung in a batch" in supervisor.log.read_text()
        hung.cancel()


def test_nothing_to_serve_ends_with_code_2_and_one_sentence(start_worker, tiny_site: Path) -> None:
    """A corrupt model, a task that is not installed, a wrong URL: what, and the next step, on standard error."""
    corrupt = tiny_site / "tiny_task" / "weights" / "config.json"
    corrupt.write_bytes(corrupt.read_bytes().replace(b"2.0", b"3.0"))
    workers = {
        "config.json was changed": start_worker(wait=False),
        "task 'nothere' is not installed; installed:": start_worker(wait=False, LINESIDE_TASKS="nothere"),
        "LINESIDE_BROKER_URL starts with 'amqp'": start_worker(wait=False, LINESIDE_BROKER_URL="amqp://x"),
    }
    for sentence, worker in workers.items():
        assert worker.process.wait(30) == 2
        said = [line for line in worker.log.read_text().splitlines() if line.startswith("lineside worker: ")]
        assert len(said) == 1
        assert sentence in said[0]
        assert "Traceback" not in worker.log.read_text()


def test_a_corrupt_model_does_not_stop_the_other_tasks(start_worker, tiny_site: Path) -> None:
    """What can be served is served; the heartbeat says what is missing and why."""
    (tiny_site / "tiny_task" / "weights" / "model.safetensors").write_bytes(b"")
    worker = start_worker(wait=False, LINESIDE_TASKS="tiny,schedule")
    ready = worker.ready()
    assert list(ready["tasks"]) == ["schedule"]
    assert "model.safetensors has 0 bytes" in ready["failed"]["tiny"]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux")
def test_a_worker_ends_with_its_killed_parent(broker: EmbeddedBroker, tiny_site: Path) -> None:
    """SIGKILL to whoever started it leaves no worker behind."""
    arguments = [sys.executable, "-m", "lineside_workers", "serve", "--device", "cpu", "--die-with-parent"]
    code = f"import subprocess, time; subprocess.Popen({arguments!r}); time.sleep(60)"
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tiny_site), os.environ.get("PYTHONPATH", "")]),
        "LINESIDE_BROKER_URL": broker.url,
        "LINESIDE_TASKS": "tiny",
    }
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout is not None
        assert json.loads(parent.stdout.readline())["ready"]
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # Standard output is inherited: it closes when the worker, its last holder, has ended.
        assert b"Warm shutdown" in parent.stdout.read()
    with Redis.from_url(broker.url) as redis:
        assert redis.keys(meeting.WORKER_PATTERN) == []
