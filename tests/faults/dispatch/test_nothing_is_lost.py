"""Each request ends once, whatever dies: kills at random moments under load, and faults of every other kind.

The oracle stands outside: what a gateway had on disk when it was killed must be written once, or have ended with a
reason. ``make test-faults`` runs fifty SIGKILLs each of broker, worker and gateway, and ten minutes without a broker;
LINESIDE_FAULT_KILLS and LINESIDE_FAULT_OUTAGE_S change that.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis

from lineside_gateway.dispatch import EmbeddedBroker
from lineside_plugins import meeting

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("LINESIDE_FAULT_KILLS", "50"))
VISIBILITY_S = 4
DEADLINE_S = 30.0  # of the tiny task
PROGRESS_WITHIN_S = 120.0
OUTAGE_S = float(os.environ.get("LINESIDE_FAULT_OUTAGE_S", "600"))
OUTAGE_PER_S, MAX_WAITING, IN_FLIGHT = 1000.0, 4096, 3 * 8  # windows; the last two are the gateway side's settings
FILLED_AFTER_S = 40.0  # what waits and what expires have reached their bounds
GROWTH_MOST_BYTES = 32 << 20  # over all of the outage: 56 bytes a window would be more
DRAIN_WITHIN_S = 150.0
LATE_BY_S = 0.5  # between the guard's look at the clock and the line in the plant's file
HEAD = ("fault", "times", "closed", "written", "expired", "refused", "parked", "lost", "twice", "late", "wedged")
ROWS: list[tuple[object, ...]] = []


@dataclass(slots=True)
class Verdict:
    """What the files say at the end."""

    closed: int
    written: int
    ends: Counter[str]
    lost: list[str]
    twice: list[str]
    late: list[str]


@dataclass(slots=True)
class Rig:
    """Broker, supervised worker and gateway side as processes, and the files that outlive them."""

    folder: Path
    environment: dict[str, str]
    per_s: float = 40.0
    poison_every: int = 0
    max_file_bytes: int = 0
    broker: EmbeddedBroker = field(default_factory=lambda: EmbeddedBroker(_free_port()))
    supervisor: subprocess.Popen[bytes] | None = None
    gateway: subprocess.Popen[bytes] | None = None
    log: Any = None

    def __enter__(self) -> Rig:
        self.log = (self.folder / "log").open("wb")
        self.broker.start()
        self.environment["LINESIDE_BROKER_URL"] = self.broker.url
        command = [sys.executable, "-m", "lineside_workers", "serve", "--devices", "cpu", "--die-with-parent"]
        self.supervisor = self._start(command)
        self.start_gateway()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.gateway, self.supervisor):
            if process is not None:
                rows = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
                process.kill()
                process.wait()
                for row in rows:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        row.kill()
        self.broker.stop()
        self.log.close()

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)

    def start_gateway(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("gateway_side.py")), str(self.folder), self.broker.url]
        command += [str(self.per_s), str(self.poison_every)]
        self.gateway = self._start([*command, *([str(self.max_file_bytes)] if self.max_file_bytes else [])])

    def kill(self, what: str) -> None:
        """SIGKILL, and what an operator's service manager does next."""
        self.log.write(f"{time.strftime('%H:%M:%S')} SIGKILL {what}\n".encode())
        self.log.flush()
        if what == "gateway":
            assert self.gateway is not None
            self.gateway.kill()
            self.gateway.wait()
            self.start_gateway()
        elif what == "broker":
            assert self.broker.pid is not None
            os.kill(self.broker.pid, signal.SIGKILL)
            self.broker.stop()
            self.broker.start()
        else:
            assert self.supervisor is not None
            for worker in psutil.Process(self.supervisor.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()

    def lines(self, name: str) -> list[list[str]]:
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def progress(self, more: int = 1, within_s: float = PROGRESS_WITHIN_S) -> None:
        """Wait until the plant has been told something new; a line that stands still is wedged."""
        wanted, until = len(self.lines("plant")) + more, time.monotonic() + within_s
        while len(self.lines("plant")) < wanted:
            assert time.monotonic() < until, f"wedged: nothing written for {within_s} s\n{self.tail()}"
            assert self.gateway is not None
            assert self.gateway.poll() is None, f"the gateway ended\n{self.tail()}"
            time.sleep(0.05)

    def drain(self) -> None:
        """No new windows; the gateway ends by itself when all it holds have ended."""
        assert self.gateway is not None
        self.gateway.send_signal(signal.SIGTERM)
        try:
            assert self.gateway.wait(DRAIN_WITHIN_S) == 0, self.tail()
        except subprocess.TimeoutExpired:
            pytest.fail(f"wedged: requests left open after {DRAIN_WITHIN_S} s\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-40:])

    def last_words(self) -> dict[str, Any]:
        """What the gateway that drained says of itself: ledger, store, dispatch."""
        lines = [line for line in (self.folder / "log").read_text().splitlines() if line.startswith('{"ledger"')]
        return json.loads(lines[-1])

    def judge(self) -> Verdict:
        closed = {name: float(at) for name, at in self.lines("closed")}
        written = Counter(name for _, name, _ in self.lines("plant"))
        ended: dict[str, str] = {}
        for name, outcome, *_why in self.lines("ended"):
            if name not in written:
                ended[name] = "refused" if outcome == "withheld" else outcome
        late = [n for _, n, at in self.lines("plant") if float(at) > closed.get(n, 9e18) + DEADLINE_S + LATE_BY_S]
        return Verdict(
            len(closed),
            len(written),
            Counter(ended.values()),
            [n for n in closed if n not in written and n not in ended],
            [n for n, count in written.items() if count > 1],
            late,
        )


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def rig(tmp_path: Path, tiny_environment: dict[str, str]) -> Rig:
    return Rig(tmp_path, {**tiny_environment, "LINESIDE_REDELIVER_AFTER_S": str(VISIBILITY_S)})


@pytest.fixture(scope="module", autouse=True)
def _table(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + " ".join(f"{h:>11}" if i else f"{h:30}" for i, h in enumerate(HEAD)))
        for row in ROWS:
            print(" ".join(f"{cell!s:>11}" if i else f"{cell!s:30}" for i, cell in enumerate(row)))


def sound(rig: Rig, fault: str, times: int) -> Verdict:
    """Drain and judge; 0 lost, 0 written twice, 0 written late, the ledger balanced."""
    rig.drain()
    v = rig.judge()
    figures = [v.ends[e] for e in ("expired", "refused", "parked")]
    ROWS.append((fault, times, v.closed, v.written, *figures, len(v.lost), len(v.twice), len(v.late), 0))
    assert rig.last_words()["ledger"]["balanced"], rig.last_words()
    assert (v.lost, v.twice, v.late) == ([], [], []), rig.tail()
    assert v.written > 0
    return v


@pytest.mark.timeout(3600)
def test_sigkills_of_broker_worker_and_gateway_lose_nothing(rig: Rig) -> None:
    """Fifty of each at random moments under load: every request on disk is written once or has ended with a reason."""
    chance = random.Random(5)
    todo = ["broker", "worker", "gateway"] * KILLS
    chance.shuffle(todo)
    with rig:
        rig.progress()
        for what in todo:
            time.sleep(chance.uniform(0, 0.8))
            rig.kill(what)
            rig.progress()
        v = sound(rig, "SIGKILL broker/worker/gateway", len(todo))
    assert v.written > 0.5 * v.closed


def test_batches_that_end_or_hang_their_worker_are_parked_and_the_rest_goes_on(rig: Rig) -> None:
    """Segfault, the kernel's kill for memory and a batch that never ends: parked with their cause, no one starves."""
    rig.poison_every = 100
    rig.per_s = 10.0
    with rig:
        for _ in range(6):
            rig.progress(50)
        v = sound(rig, "segfault, OOM kill, hang", 6)
    assert v.ends["parked"] > 0


def test_a_full_disk_costs_durability_not_requests(rig: Rig) -> None:
    """No file may grow any more: requests are answered, writes without a journal refused, all is counted."""
    rig.max_file_bytes = 300_000
    with rig:
        rig.progress()
        time.sleep(10)
        sound(rig, "store's disk full", 1)
        assert rig.last_words()["store"]["not_kept"] > 0


def test_a_broker_without_memory_delays_and_expires_but_loses_nothing(rig: Rig) -> None:
    """Redis at ``maxmemory`` refuses writes for a while, three times; afterwards requests flow again."""
    with rig:
        for _ in range(3):
            rig.progress(20)
            with Redis.from_url(rig.broker.url) as redis:
                redis.config_set("maxmemory", "1")
                time.sleep(5)
                redis.config_set("maxmemory", "0")
            rig.progress(5)
        sound(rig, "maxmemory", 3)


def test_a_clock_that_jumps_by_an_hour_writes_nothing_late(rig: Rig) -> None:
    """The gateway's wall clock jumps forward and back: what is late by it expires, nothing is lost or doubled."""
    with rig:
        for _ in range(4):
            rig.progress(20)
            assert rig.gateway is not None
            rig.gateway.send_signal(signal.SIGUSR1)
            time.sleep(2)
        sound(rig, "clock step of an hour", 4)


@pytest.mark.timeout(3600)
def test_ten_minutes_without_a_broker_are_bounded_counted_and_drained(rig: Rig) -> None:
    """A thousand windows a second and no broker: memory stays, the oldest go first, and all are accounted for."""
    rig.per_s = OUTAGE_PER_S
    memory: list[int] = []
    with rig:
        rig.progress(100)
        assert rig.broker.pid is not None
        assert rig.gateway is not None
        os.kill(rig.broker.pid, signal.SIGKILL)
        rig.broker.stop()
        until = time.monotonic() + OUTAGE_S
        gateway = psutil.Process(rig.gateway.pid)
        while time.monotonic() < until:
            time.sleep(0.5)
            memory.append(gateway.memory_info().rss)
        stood, returned = len(rig.lines("plant")), time.time()
        rig.broker.start()
        rig.progress(MAX_WAITING // 2)
        v = sound(rig, f"no broker for {OUTAGE_S:.0f} s", 1)
    filled = memory[round(len(memory) * min(0.5, FILLED_AFTER_S / OUTAGE_S)) :]
    ROWS.append((f"  memory {filled[0] >> 20} to {max(filled) >> 20} MiB", len(memory), *[""] * 9))
    assert max(filled) - filled[0] < GROWTH_MOST_BYTES
    assert v.ends["expired"] > 0.5 * OUTAGE_S * OUTAGE_PER_S
    closed = {name: float(at) for name, at in rig.lines("closed")}
    old = [n for _, n, _ in rig.lines("plant")[stood:] if closed[n] < returned - 2 * MAX_WAITING / OUTAGE_PER_S]
    assert len(old) <= IN_FLIGHT, "what waited longest is what is dropped; only what was on its way may be older"


def test_redelivery_takes_at_most_one_and_a_half_visibility_timeouts(rig: Rig) -> None:
    """A worker that dies in a batch: with another one waiting, the batch is at it within 1.5 times the timeout."""
    rig.per_s = 0.0
    took: list[float] = []
    with rig:
        second = rig._start([sys.executable, "-m", "lineside_workers", "serve", "--device", "cpu"])  # noqa: SLF001
        try:
            with Redis.from_url(rig.broker.url) as redis:
                while len(redis.keys(meeting.WORKER_PATTERN)) < 2:
                    time.sleep(0.1)
            took = [_redelivery_s(rig) for _ in range(5)]
        finally:
            second.kill()
            second.wait()
    ROWS.append((f"redelivery, longest {max(took):.1f} s", len(took), *[""] * 9))
    assert max(took) <= 1.5 * VISIBILITY_S, took


def _redelivery_s(rig: Rig) -> float:
    """A message that a dead worker had taken, as kombu notes it; seconds until a living one has it in the queue."""
    with Redis.from_url(rig.broker.url) as redis:
        message = {"body": "", "headers": {}, "properties": {"delivery_info": {"exchange": "", "routing_key": "nobody"},
                   "delivery_tag": "t", "priority": 0}}  # fmt: skip
        redis.hset("unacked", "t", json.dumps([message, "", "nobody"]))
        redis.zadd("unacked_index", {"t": time.time()})
        started = time.monotonic()
        while not redis.llen("nobody"):
            assert time.monotonic() < started + 60, rig.tail()
            time.sleep(0.02)
        redis.delete("nobody")
        return time.monotonic() - started
