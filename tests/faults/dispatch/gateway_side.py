"""A gateway process without its OPC UA sides: windows close at a steady rate, the plant is a file.

Everything between is the gateway's own: pipeline, store, batcher, dispatcher, guard, journal, write-back, ledger. What
has closed, what has ended and what the plant was told goes into files that outlive a SIGKILL, one line each.
SIGUSR1 makes the wall clock of this process jump by an hour, back at the next one.

``python gateway_side.py FOLDER BROKER_URL WINDOWS_PER_S POISON_EVERY [MAX_FILE_BYTES]``; with SHARE_EVEN_SMALL set,
batches lie in shared memory although they are small.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

from lineside_gateway.audit import AuditLog
from lineside_gateway.dispatch import CeleryDispatcher, shared_memory
from lineside_gateway.guard import Guard, Policy, StepReport, WriteBack, target
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.journal import SqliteJournal
from lineside_gateway.guard.steps import WriteOutcome, taken
from lineside_gateway.ingest import Request, TagTable
from lineside_gateway.ledger import Ledger, Outcome, TaskLedger
from lineside_gateway.runtime.clock import moment
from lineside_gateway.runtime.effects import Effects
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.runtime.pipeline import Parts, Pipeline
from lineside_gateway.runtime.tasks import BoundTask
from lineside_gateway.settings.model import Mode, TaskSettings, WriteSettings
from lineside_gateway.store import RequestStore
from lineside_plugins import registry
from lineside_plugins.types import Recommendation, Scalar

TASK = "tiny"
MACHINES = 50
DEADLINE_S = 30.0  # as the task says of itself
STEP_S = 3600.0
POISON_MOST = 6
POISON = {"SIGSEGV": (-6000.0, 0), "killed, as by the kernel for memory": (-2000.0, 0), "hung": (-3000.0, 3600.0)}


class Lines:
    """A file of lines, each in the kernel's hands when ``write`` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *fields: object) -> None:
        os.write(self._file, (" ".join(map(str, fields)) + "\n").encode())


class LoggedStore(RequestStore):
    """Notes which requests are on disk: those a restart must know."""

    def __init__(self, path: Path, closed: Lines) -> None:
        super().__init__(path)
        self._closed = closed
        self._put: list[tuple[str, float]] = []

    def put(self, request: Request, expires_at: float) -> None:
        super().put(request, expires_at)
        self._put.append((serial(request), real_time()))

    async def durable(self) -> None:
        put, self._put = self._put, []
        await super().durable()
        for name, at in put:
            self._closed.write(name, at)


class LoggedTask(TaskLedger):
    """Notes how each request ends."""

    def __init__(self, names: dict[int, str], ended: Lines) -> None:
        super().__init__()
        self._names, self._ended = names, ended

    def settle(self, request_id: int, outcome: Outcome, reason: str = "") -> bool:
        if not super().settle(request_id, outcome, reason):
            return False
        name = self._names.pop(request_id)
        if outcome is not Outcome.PUBLISHED:
            self._ended.write(name, outcome.value, reason.replace(" ", "_"))
        return True


class FilePlant:
    """A plant whose tags are lines: what was written stays written, whatever happens to the gateway."""

    def __init__(self, path: Path) -> None:
        self._held = (
            {m: s for m, s, *_ in (line.split() for line in path.read_text().splitlines())} if path.exists() else {}
        )
        self._lines = Lines(path)

    async def write(self, equipment_id: str, _tag: str, value: Scalar) -> WriteOutcome:
        self._held[equipment_id] = str(value)
        self._lines.write(equipment_id, value, real_time())
        return taken(value)

    async def read(self, equipment_id: str, _tag: str) -> Scalar:
        return self._held.get(equipment_id, "")

    async def update_job_order(self, *_: object) -> WriteOutcome:
        raise AssertionError("no rule here updates job orders; the protocol asks for the method")


class Windows:
    """In the place of the windower: requests of ``MACHINES`` machines at a steady rate, some of them poison."""

    def __init__(self, ledger: Ledger, names: dict[int, str], per_s: float, poison_every: int) -> None:
        self.bound = {TASK: tuple(f"M{i}" for i in range(MACHINES))}
        self._ledger, self._names, self._per_s, self._poison_every = ledger, names, per_s, poison_every
        self._begun = time.monotonic()
        self._number = 0
        self.closing = True

    def close(self, _watermarks: object) -> list[Request]:
        due = int((time.monotonic() - self._begun) * self._per_s) if self.closing else 0
        return [self._one() for _ in range(self._number, due)]

    def _one(self) -> Request:
        self._number += 1
        values = np.ones((8, 2), np.float32)
        poisoned, over = divmod(self._number, self._poison_every or sys.maxsize)
        if not over and poisoned <= POISON_MOST:
            values[:2, 0] = list(POISON.values())[poisoned % len(POISON)]
        end_us = real_time_ns() // 1000  # the plant's clock is another one
        request = Request(
            self._number, TASK, f"M{self._number % MACHINES}", end_us, end_us + round(DEADLINE_S * 1e6),
            ("Load", "Speed"), 1.0, values, np.ones(values.shape, np.bool_),
            {"SerialNo": f"{os.getpid()}-{self._number}"}, {}, 1.0, "period",
        )  # fmt: skip
        self._names[request.id] = serial(request)
        task = self._ledger.task(TASK)
        task.windows.received += 1
        task.windows.used += 1
        task.close(request.id)
        return request


class NoNodes:
    """In the place of the hosted server, which has tests of its own."""

    async def publish(self, *_: object, **_only: object) -> bool:
        return True

    set_state = fault = publish


def serial(request: Request) -> str:
    return str(request.snapshot["SerialNo"])


real_time, real_time_ns = time.time, time.time_ns
_step = [0.0]


def jump(*_: object) -> None:
    _step[0] = STEP_S - _step[0]


class LoggedEffects(Effects):
    """Notes what the guard or the plant turned down."""

    def __init__(
        self, guard: Guard, ledger: Ledger, audit: AuditLog, clock: Callable[[], datetime], ended: Lines
    ) -> None:
        super().__init__(guard, NoNodes(), ledger, audit, clock)
        self._ended = ended
        self._serials: dict[str, object] = {}

    def decide(self, rec: Recommendation, then: Callable[[], None] = lambda: None) -> Decision:
        self._serials[rec.key] = rec.value["serial_no"]
        withheld = self._ledger.task(TASK).withheld
        before = withheld.total()
        decision = super().decide(rec, then)
        if withheld.total() > before:
            self._ended.write(rec.value["serial_no"], "withheld")
        return decision

    def on_step(self, report: StepReport) -> None:
        super().on_step(report)
        if report.reason is not None:
            self._ended.write(self._serials.get(report.key, report.key), "withheld", report.reason.value)


class Side:
    """All of it, below ``folder``."""

    def __init__(self, folder: Path, per_s: float, poison_every: int) -> None:
        names: dict[int, str] = {}
        ended = Lines(folder / "ended")
        self.ledger = Ledger()
        self.ledger.tasks[TASK] = LoggedTask(names, ended)
        self.feed = Feed(TagTable(), {}, frozenset(), Listeners(*[lambda *_: None] * 4))
        self.windows = Windows(self.ledger, names, per_s, poison_every)
        machines = frozenset(self.windows.bound[TASK])
        rules = (WriteSettings(set={"Serial": "{serial_no}"}, rate_per_min=6000),)
        guard = Guard((Policy(TASK, Mode.CLOSED_LOOP, "flag", DEADLINE_S, machines, rules),))
        for machine in machines:
            guard.allow(target(machine, "Serial", "String"))
        self.audit = AuditLog(folder / "audit")
        self.journal = SqliteJournal(folder / "guard.sqlite", first=self.audit.sync)
        self.store = LoggedStore(folder / "requests.sqlite", Lines(folder / "closed"))
        names |= {k.request.id: serial(k.request) for k in self.store.kept}
        self.begun = self.journal.load()
        guard.restore((r.decision, r.settled) for r in self.begun)
        self.effects = LoggedEffects(guard, self.ledger, self.audit, self.now, ended)
        self.effects.write_back = WriteBack(
            FilePlant(folder / "plant"), clock=self.now, on_step=self.effects.on_step, settle=guard.settle,
            journal=self.journal,
        )  # fmt: skip
        plugin = registry.create(TASK)
        settings = TaskSettings(task=TASK, mode=Mode.CLOSED_LOOP, max_batch_size=8, max_wait_s=0.05, write=rules)
        self.tasks = {TASK: BoundTask(settings, plugin.inputs(), plugin.outputs())}

    async def run(self, url: str) -> None:
        """Until SIGTERM, and then until all that has closed has ended."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: setattr(self.windows, "closing", False))
        if os.environ.get("SHARE_EVEN_SMALL"):
            shared_memory.SMALLEST_BYTES = 1
        async with CeleryDispatcher("faults", url) as dispatcher:
            parts = Parts(
                self.feed, self.windows, dispatcher, NoNodes(), self.effects, self.ledger, self.store
            )  # fmt: skip
            pipeline = Pipeline(parts, self.tasks, self.store.kept)
            for remembered in self.begun:
                if not remembered.settled:
                    self.effects.resume(remembered)
            running = asyncio.create_task(pipeline.run())
            while not self.done:
                await asyncio.sleep(0.1)
                plant_us = real_time_ns() // 1000
                self.feed.flush("PLC", plant_us, plant_us)
                pipeline.flushed()
                if running.done():
                    running.result()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        ledger = self.ledger.task(TASK).snapshot()
        print(json.dumps({"ledger": ledger, "store": self.store.counts, "dispatch": dispatcher.counts}))
        for room in (self.store, self.journal, self.audit):
            room.close()

    def now(self) -> datetime:
        """The plant's event time, as the gateway knows it."""
        return moment(self.feed.clock.event_us(time.time_ns() // 1000))

    @property
    def done(self) -> bool:
        open_ones = self.ledger.task(TASK).pending or self.effects.busy or len(self.store)
        return not self.windows.closing and not open_ones


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    time.time = lambda: real_time() + _step[0]
    time.time_ns = lambda: real_time_ns() + round(1e9 * _step[0])
    signal.signal(signal.SIGUSR1, jump)
    if len(sys.argv) > 5:
        most = int(sys.argv[5])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    asyncio.run(Side(Path(sys.argv[1]), float(sys.argv[3]), int(sys.argv[4])).run(sys.argv[2]))
