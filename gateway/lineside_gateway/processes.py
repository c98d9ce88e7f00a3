"""Child processes of the command line: plant and worker run as processes, never as imports.

Every child dies with its parent (PR_SET_PDEATHSIG on Linux, ended explicitly elsewhere), so Ctrl-C or a crash leaves
nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside_gateway.errors import LinesideError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STOP_GRACE_S = 5.0


class ProcessError(LinesideError):
    """A child process did not come up; the message names it, its log and the last line it said."""


@dataclass(slots=True)
class Child:
    """One running child: its process, its name and the file its log goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def running(self) -> bool:
        """Whether the process is still alive."""
        return self.process.poll() is None

    def last_line(self) -> str:
        """The last line of its log, for error messages."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it wrote nothing"

    def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL after five seconds."""
        if self.running:
            self.process.terminate()
            try:
                self.process.wait(_STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start(name: str, module: str, args: Sequence[str], *, log_dir: Path, env: Mapping[str, str] | None = None) -> Child:
    """Start ``python -m module args``. What it says on standard error goes to ``log_dir/name.log``."""
    log_dir.mkdir(parents=True, exist_ok=True)
    log = log_dir / f"{name}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own module with our own arguments
            [sys.executable, "-m", module, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            # A new session, so that Ctrl-C in the terminal reaches only the parent, which then stops its children.
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, no Python state, before any thread is started
        )
    return Child(name, process, log)


def wait_ready(child: Child, timeout_s: float) -> dict[str, Any]:
    """The child's readiness line ``{"ready": true, ...}``.

    Raises:
        ProcessError: It ended, or stayed silent for ``timeout_s``; look into the log that the message names.
    """
    stdout, deadline = child.process.stdout, time.monotonic() + timeout_s
    assert stdout is not None  # noqa: S101 - start() asks for a pipe
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(timeout=0.2):
                continue
            line = stdout.readline()
            if not line:
                child.process.wait()
                break
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict) and message.get("ready"):
                    return message
    state = "is still starting" if child.running else f"ended with code {child.process.returncode}"
    raise ProcessError(
        f"{child.name} was not ready after {timeout_s:.0f} s: it {state}; "
        f"last line: {child.last_line()}; see {child.log}"
    )


@contextlib.contextmanager
def group() -> Iterator[list[Child]]:
    """A list of children; all that are in it are stopped when the block ends, the last started first."""
    children: list[Child] = []
    try:
        yield children
    finally:
        for child in reversed(children):
            child.stop()


def replace(module: str, args: Sequence[str]) -> int:
    """Run ``python -m module args`` in the foreground with this terminal, and return its exit code."""
    with subprocess.Popen([sys.executable, "-m", module, *args]) as process:  # noqa: S603 - our own module
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal sent SIGINT to the child as well; it ends in its own way and we pass its code on.
                continue
