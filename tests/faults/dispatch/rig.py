"""Broker, supervised worker and gateway side as processes that a test kills, and the judgement from their files.

The oracle stands outside: what a gateway had on disk when it was killed must be written once, or have ended with a
reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from lineside_gateway.dispatch import EmbeddedBroker
from tests.faults.dispatch.gateway_side import DEADLINE_S

VISIBILITY_S = 4
PROGRESS_WITHIN_S = 120.0
DRAIN_WITHIN_S = 150.0
LATE_BY_S = 0.5  # between the guard's look at the clock and the line in the plant's file
TABLE = "dispatch: how each request ended"


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
    """Broker, supervised worker and gateway side as processes, and the files that outlive them.

    With ``url`` somebody else's broker is used.
    """

    folder: Path
    environment: dict[str, str]
    per_s: float = 40.0
    poison_every: int = 0
    max_file_bytes: int = 0
    url: str = ""
    broker: EmbeddedBroker = field(default_factory=lambda: EmbeddedBroker(_free_port()))
    supervisor: subprocess.Popen[bytes] | None = None
    gateway: subprocess.Popen[bytes] | None = None
    starts: int = 0  # of the gateway
    log: Any = None

    def __enter__(self) -> Rig:
        self.log = (self.folder / "log").open("wb")
        if not self.url:
            self.broker.start()
        self.environment["LINESIDE_BROKER_URL"] = self.url or self.broker.url
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
        if not self.url:
            self.broker.stop()
        self.log.close()

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)

    def start_gateway(self) -> None:
        side, url = Path(__file__).with_name("gateway_side.py"), self.environment["LINESIDE_BROKER_URL"]
        command = [sys.executable, str(side), str(self.folder), url, str(self.per_s), str(self.poison_every)]
        self.starts += 1  # its batches lie in shared memory and go by the broker in turn, from one start to the next
        self.environment["SHARE_EVEN_SMALL"] = "1" if self.starts % 2 else ""
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


def sound(rig: Rig, fault: str, times: int, row: Callable[..., None]) -> Verdict:
    """Drain and judge; 0 lost, 0 written twice, 0 written late, the ledger balanced."""
    rig.drain()
    v = rig.judge()
    ends = {end: v.ends[end] for end in ("expired", "refused", "parked")}
    wrong = {"lost": len(v.lost), "twice": len(v.twice), "late": len(v.late), "wedged": 0}
    row(TABLE, fault=fault, times=times, closed=v.closed, written=v.written, **ends, **wrong)
    assert rig.last_words()["ledger"]["balanced"], rig.last_words()
    assert (v.lost, v.twice, v.late) == ([], [], []), rig.tail()
    assert v.written > 0
    return v
