"""Server processes of the benchmark: started, ended with all they have started, and asked over HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp
import numpy as np
import psutil

from benchmarks.dispatch.contestant import Contestant
from benchmarks.dispatch.measure import tree
from benchmarks.dispatch.model import Forward, windows
from lineside_plugins.memory import KEPT_FREED_MEMORY

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_WITHIN_S = 90


@dataclass(frozen=True, slots=True)
class Server:
    """A model server of another make: the ``file`` that runs it, where it listens and what it reads.

    ``joins``: how many requests it runs at once, and how many ms it waits for them, where its file asks for that.
    """

    title: str
    file: str
    path: str
    body: Callable[[np.ndarray], bytes]
    joins: tuple[int, ...] = ()


class HttpPeer(Contestant):
    """A model server of another make in an environment of its own, asked over HTTP from this process."""

    def __init__(self, python: Path, server: Server) -> None:
        self.name = server.title
        self._python, self._program, self._path, self._body = python, server, server.path, server.body

    async def start(self) -> None:
        """Start the server and ask until it answers.

        Raises:
            RuntimeError: It ended or stayed silent; the message holds its last line.
        """
        port = _free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        env = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **KEPT_FREED_MEMORY}
        file = str(HERE / "servers" / self._program.file)
        self._server = spawn([str(self._python), file, str(port), *map(str, self._program.joins)], env, self._log)
        self.processes = (psutil.Process(self._server.pid),)
        self._url = f"http://127.0.0.1:{port}{self._path}"
        self._connect()
        self._many, self._one = self._body(windows()), self._body(windows(1))
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                await self.single()
                break
            except (OSError, RuntimeError) as e:
                if time.monotonic() > until or self._server.poll() is not None:
                    raise RuntimeError(f"{e}; {self._last_line()}") from e
                await asyncio.sleep(0.2)
        scores = await self._ask(self._many)
        np.testing.assert_allclose(scores, Forward()(windows()), rtol=1e-4, atol=1e-5)

    async def batch(self) -> None:
        """One POST of 32 windows."""
        await self._ask(self._many)

    async def single(self) -> None:
        """One POST of one window."""
        await self._ask(self._one)

    async def _ask(self, body: bytes) -> np.ndarray:
        headers = {"content-type": "application/json" if body[:1] == b"{" else "application/octet-stream"}
        try:
            async with self._session.post(self._url, data=body, headers=headers) as response:
                said = await response.read()
        except aiohttp.ClientError as e:
            raise RuntimeError(f"{self.name} does not answer: {e}") from e
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {said[:200]!r}")
        return numbers(said)

    async def rest(self) -> None:
        """Stop the server's processes where they are: two of the servers use up to a sixth of a core when not asked."""
        await self._session.close()
        _signal(self.processes, signal.SIGSTOP)

    async def wake(self) -> None:
        """Let them go on; by new connections, as a server may close one that was silent for seconds."""
        _signal(self.processes, signal.SIGCONT)
        self._connect()

    async def stop(self) -> None:
        """Client and server with all its processes."""
        await self._session.close()
        _signal(self.processes, signal.SIGCONT)
        await asyncio.to_thread(end, self._server)
        self._log.close()

    def _connect(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"


def as_bytes(values: np.ndarray) -> bytes:
    """The tensor as it is."""
    return values.tobytes()


def as_json(values: np.ndarray) -> bytes:
    """The tensor in base64 in JSON, the one form LitServe hands to ``decode_request`` without a schema."""
    return b'{"b":"' + base64.b64encode(values.tobytes()) + b'"}'


def numbers(said: bytes) -> np.ndarray:
    """Raw float32, 24 per window."""
    return np.frombuffer(said, np.float32).reshape(-1, 24)


def spawn(
    args: list[str], env: Mapping[str, str], log: IO[bytes] | int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a server at the root of the working tree, in a session of its own."""
    return subprocess.Popen(  # noqa: S603 - our own servers
        args,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        start_new_session=True,
    )


def end(server: subprocess.Popen[bytes]) -> None:
    """End a server and every process it started."""
    try:
        rows = [*psutil.Process(server.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        rows = []
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(rows, 8)
    for row in alive:
        row.kill()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    with contextlib.suppress(ProcessLookupError):  # who has outlived its parent is still of the server's session
        os.killpg(server.pid, signal.SIGKILL)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended: who asks it finds out
        for row in tree(processes):
            with contextlib.suppress(psutil.NoSuchProcess):
                row.send_signal(number)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
