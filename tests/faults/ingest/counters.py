"""``counter_server.py`` as a process that can be asked, stopped and killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("counter_server.py")
PATIENCE_S = 240.0
"""Longest wait for a process of the test's own, on a machine that others share."""


class CounterProcess:
    """``counter_server.py`` as a process."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self._asking = asyncio.Lock()

    async def start(self, **changed: Any) -> CounterProcess:
        self.options |= changed
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(SERVER), json.dumps(self.options), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        assert line == b"ready\n", "the counter server did not start"
        return self

    async def ask(self, words: str = "stats") -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        async with self._asking:
            self.process.stdin.write(f"{words}\n".encode())
            answer: dict[str, Any] = json.loads(await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S))
            return answer

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    async def kill(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
                self.process.kill()
            await self.process.wait()
