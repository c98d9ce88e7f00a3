"""Who is compared: the bare forward pass, Lineside end to end, a Celery task per request, and peers over HTTP.

Each has one model replica with one thread. ``start`` returns once it answers; ``batch`` runs 32 windows, ``single``
one window.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
from celery import Celery

from benchmarks.dispatch import task
from benchmarks.dispatch.contestant import Contestant
from benchmarks.dispatch.model import Forward, windows
from benchmarks.dispatch.peers import ROOT, START_WITHIN_S, end, numbers, spawn
from lineside_gateway import processes
from lineside_gateway.batching import MicroBatcher
from lineside_gateway.dispatch import CeleryDispatcher, EmbeddedBroker
from lineside_gateway.ingest import Request
from lineside_plugins.memory import KEPT_FREED_MEMORY, keep_what_is_loaded
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import Status

DEADLINE_S = 30.0
_CELERY_THREADS = 16


class Bare(Contestant):
    """The forward pass in this process: what no way of dispatching can beat."""

    name = "bare forward pass"

    async def start(self) -> None:
        """Build the model."""
        self._forward, self._many, self._one = Forward(), windows(), windows(1)

    async def batch(self) -> None:
        """Straight through."""
        self._forward(self._many)

    async def single(self) -> None:
        """Straight through."""
        self._forward(self._one)

    async def stop(self) -> None:
        """Nothing runs."""


class Lineside(Contestant):
    """Micro-batcher and dispatcher of the gateway, embedded broker, one worker process: as ``lineside demo`` runs."""

    name = "Lineside"

    def __init__(self, max_wait_s: float = 0.003) -> None:
        self._max_wait_s = max_wait_s

    async def start(self) -> None:
        """Broker, worker, dispatcher; checks that the scores are the model's."""
        self._folder = tempfile.TemporaryDirectory(prefix="lineside-bench-")
        site = Path(self._folder.name)
        self._broker = EmbeddedBroker().start()
        env = task.install(site) | {"LINESIDE_BROKER_URL": self._broker.url}
        args = ["serve", "--tasks", task.NAME, "--device", "cpu", "--die-with-parent"]
        self._worker = processes.start("worker", "lineside_workers", args, log_dir=site, env=env)
        await asyncio.to_thread(processes.wait_ready, self._worker, START_WITHIN_S)
        pids = (self._worker.process.pid, self._broker.pid)
        self.processes = tuple(psutil.Process(p) for p in pids if p is not None)
        self._dispatcher = await CeleryDispatcher("bench", self._broker.url).__aenter__()
        self._many = window_batch(windows())
        self._request = _request(windows(1)[0])
        self._batcher = MicroBatcher(max_batch_size=32, max_wait_s=self._max_wait_s)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        result = await self._dispatcher.submit(self._many, task.NAME, _deadline())
        scores = [float(str(r.value["score"])) for r in result.recommendations if r is not None]
        np.testing.assert_allclose(scores, Forward()(windows())[:, 0], rtol=1e-4, atol=1e-5)
        keep_what_is_loaded()  # as ``lineside run`` does

    async def batch(self) -> None:
        """One batch through the dispatcher."""
        result = await self._dispatcher.submit(self._many, task.NAME, _deadline())
        if result.status is not Status.ANSWERED or len(result.recommendations) != len(self._many):
            raise RuntimeError(f"batch {result.status.value}: {result.error}")

    async def single(self) -> None:
        """One window through the micro-batcher, as the pipeline does."""
        self._number += 1
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._batcher.add(_with_id(self._request, self._number), time.monotonic())
        self._look()
        await answer

    def _look(self) -> None:
        for batch in self._batcher.due(time.monotonic()):
            sending = asyncio.create_task(self._send(batch.windows, [r.id for r in batch.requests]))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
        due = self._batcher.next_due_s()
        if due is not None and (
            self._timer is None or self._timer.cancelled() or self._timer.when() < time.monotonic()
        ):
            self._timer = asyncio.get_running_loop().call_at(due, self._look)

    async def _send(self, batch: WindowBatch, ids: list[int]) -> None:
        result = await self._dispatcher.submit(batch, task.NAME, _deadline())
        for i, said in zip(ids, result.recommendations or (None,) * len(ids), strict=True):
            answer = self._waiting.pop(i)
            if said is None:
                answer.set_exception(RuntimeError(f"window {result.status.value}: {result.error}"))
            else:
                answer.set_result(None)

    async def stop(self) -> None:
        """Dispatcher, worker, broker."""
        await self._dispatcher.__aexit__(None, None, None)
        self._worker.stop()
        self._broker.stop()
        self._folder.cleanup()


class TaskPerRequest(Contestant):
    """Celery as its tutorial has it: one task per window, the tensor in the message, the answer by result backend."""

    name = "Celery task per request"

    async def start(self) -> None:
        """Broker, ``celery worker`` with the solo pool, a client with a thread per request in flight."""
        self._broker = EmbeddedBroker().start()
        env = {"BENCH_BROKER": self._broker.url, "PYTHONPATH": _python_path(), **KEPT_FREED_MEMORY}
        args = ["-m", "celery", "-A", "benchmarks.dispatch.servers.celery_server", "worker", "--pool", "solo",
                "--loglevel", "ERROR", "--without-mingle", "--without-gossip"]  # fmt: skip
        self._server = spawn([sys.executable, *args], env)
        self._app = Celery("bench", broker=self._broker.url, backend=self._broker.url, set_as_current=False)
        self._pool = ThreadPoolExecutor(_CELERY_THREADS)
        self._one, self._many = (_base64(windows(n)) for n in (1, 32))
        self.processes = tuple(psutil.Process(p) for p in (self._server.pid, self._broker.pid) if p is not None)
        await self.single()

    def _call(self, body: str) -> None:
        answer = self._app.send_task("bench.infer", (body,)).get(timeout=START_WITHIN_S, interval=0.001)
        numbers(base64.b64decode(answer))

    async def batch(self) -> None:
        """All 32 windows in one task."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._call, self._many)

    async def single(self) -> None:
        """One task."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._call, self._one)

    async def stop(self) -> None:
        """Client, worker, broker."""
        self._pool.shutdown()
        self._app.close()
        end(self._server)
        self._broker.stop()


def window_batch(values: np.ndarray) -> WindowBatch:
    """``values`` as the gateway hands them over."""
    end = np.datetime64("2026-01-05T07:00:00", "us") + np.arange(len(values)) * np.timedelta64(1, "s")
    names = tuple(f"M{i}" for i in range(len(values)))
    return WindowBatch(names, task.TAGS, values, np.ones(values.shape, np.bool_), end, 0.1)


def _request(values: np.ndarray) -> Request:
    good = np.ones(values.shape, np.bool_)
    end_us = 1_767_596_400_000_000
    return Request(0, task.NAME, "M0", end_us, end_us + 30_000_000, task.TAGS, 0.1, values, good, {}, {}, 1.0, "period")


def _with_id(request: Request, number: int) -> Request:
    return Request(
        number, request.task, f"M{number % 1000}", request.end_us + number, request.deadline_us + number, request.tags,
        request.period_s, request.values, request.good, {}, {}, 1.0, "period",
    )  # fmt: skip


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _deadline() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=DEADLINE_S)


def _python_path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
