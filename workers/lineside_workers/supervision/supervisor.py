"""Worker processes on each device, started again when it ends, hangs in a batch or falls silent.

A worker tells on its standard output, every two seconds, that it lives and for how long its batch has been running.
That way does not lead over the broker: a broker that is away makes nobody look hung.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lineside_workers.supervision.heartbeat import PERIOD_S

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
START_WITHIN_S = 180.0  # torch, models and their warm-up; a language model from a slow disk takes a minute
REACH_WITHIN_S = 30.0  # from its models being loaded; a broker that dies as a worker comes up can leave it waiting
SILENT_AFTER_S = 5 * PERIOD_S
STOP_WITHIN_S = 30.0  # a worker ends its batch first
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 30.0  # before a worker is started again; doubles while it does not get ready
EXIT_CANNOT_GO_ON = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker is ended; seconds of the monotonic clock."""

    hung_after_s: float
    start_within_s: float = START_WITHIN_S
    reach_within_s: float = REACH_WITHIN_S
    silent_after_s: float = SILENT_AFTER_S


class Supervised:
    """One worker on one device, over all its lives."""

    def __init__(self, device: str, command: Sequence[str], environment: Mapping[str, str], limits: Limits) -> None:
        self.device = device
        self.restarts = 0
        self.ready = self._loaded = False
        self._command = [*command, "--device", device]
        self._environment = dict(environment)
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = self._started = 0.0
        self._busy_s = 0.0
        self._wait_s = FIRST_WAIT_S
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    def look(self, now: float) -> int | None:
        """Start it, end it or leave it alone; returns 2 if it can never run here, with its sentence on stderr."""
        if self._process is None:
            if now >= self._start_at:
                self._start(now)
            return None
        code = self._process.poll()
        if code is None:
            cause = self._trouble(now)
            if cause:
                self._process.kill()
                self._process.wait()
                self._ended(now, cause)
            return None
        if code == EXIT_CANNOT_GO_ON and not self.ready and self.restarts == 0:
            return EXIT_CANNOT_GO_ON
        self._ended(now, f"ended by signal {-code}" if code < 0 else f"ended with code {code}")
        return None

    def stop(self) -> None:
        """Ask it to finish its batch and end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, until: float) -> None:
        """Wait for its end; SIGKILL at ``until`` (monotonic)."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _trouble(self, now: float) -> str:
        silent_s, limits = now - self._heard, self._limits
        if not self.ready:
            if self._loaded and now - self._heard > limits.reach_within_s:
                return f"did not reach the broker within {limits.reach_within_s:.0f} s"
            late = now - self._started > limits.start_within_s
            return f"had not loaded its models within {limits.start_within_s:.0f} s" if late else ""
        if silent_s > limits.silent_after_s:
            return f"was silent for {silent_s:.1f} s"
        busy_s = self._busy_s + silent_s if self._busy_s else 0.0
        return f"hung in a batch for {busy_s:.1f} s" if busy_s > limits.hung_after_s else ""

    def _start(self, now: float) -> None:
        self.ready = self._loaded = False
        self._started = self._heard = now
        self._busy_s = 0.0
        environment = {**self._environment, "LINESIDE_RESTARTS": str(self.restarts)}
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            self._command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        threading.Thread(target=self._listen, args=(self._process,), name=f"worker {self.device}", daemon=True).start()

    def _ended(self, now: float, cause: str) -> None:
        # Once ready it can start: what ended it was a batch, and that is parked when it has ended three of them.
        self._wait_s = FIRST_WAIT_S if self.ready else min(2 * self._wait_s, LONGEST_WAIT_S)
        self.restarts += 1
        self._process, self.ready = None, False
        self._start_at = now + self._wait_s
        logger.error("worker_restarted device=%s restarts=%d cause=%s", self.device, self.restarts, cause)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - PIPE above
        with process.stdout as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                    busy_s = float(row.get("busy_s", 0.0))
                except (ValueError, TypeError, AttributeError):
                    continue
                if process is self._process:
                    self._heard, self._busy_s = time.monotonic(), busy_s
                    self._loaded, self.ready = True, "loaded" not in row


def command() -> list[str]:
    """How a supervised worker is started; its device is appended."""
    return [sys.executable, "-m", "lineside_workers", "serve", "--die-with-parent", "--beat"]


def supervise(workers: Sequence[Supervised], stop: threading.Event, ready: Callable[[], None] = lambda: None) -> int:
    """Look after ``workers`` until ``stop`` is set or none of them can ever run; the exit code for this process."""
    code, told, able = 0, False, list(workers)
    while not stop.wait(LOOK_EVERY_S):
        able = [w for w in able if w.look(time.monotonic()) != EXIT_CANNOT_GO_ON]
        if not able:
            code = EXIT_CANNOT_GO_ON
            break
        if not told and all(w.ready for w in able):
            told = True
            ready()
    for worker in workers:
        worker.stop()
    until = time.monotonic() + STOP_WITHIN_S
    for worker in workers:
        worker.wait(until)
    return code
