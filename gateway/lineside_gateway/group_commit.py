"""A thread that writes to disk: what has gathered while it was there goes into one commit.

A disk that takes 4 ms to say that it holds something says so 250 times a second at most, however little it is asked to
hold each time; a thousand windows a second cost some dozens of commits this way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

GROUP_MOST = 1024  # jobs per commit; 12 MB of windows of 128 samples of 24 tags
CLOSE_WITHIN_S = 10.0
Job = TypeVar("Job")


@dataclass(frozen=True, slots=True)
class _Wait:
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Job]):
    jobs: tuple[Job, ...]
    wait: _Wait | None = None
    last: bool = False


class GroupCommit(Generic[Job]):
    """Calls ``commit`` with what has gathered, in order, in a thread of its own; the rest belongs to one event loop.

    What ``commit`` raises goes to everybody who waits for that group, and to the log where nobody does.
    """

    def __init__(self, commit: Callable[[Sequence[Job]], None], name: str) -> None:
        self._commit = commit
        self._entries: queue.SimpleQueue[_Entry[Job]] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Have ``job`` written soon."""
        self._entries.put(_Entry((job,)))

    async def write(self, *jobs: Job) -> None:
        """Return when the group that holds ``jobs`` is written, and with it all that was put before.

        Raises:
            RuntimeError: It is closed.
            Exception: What ``commit`` raised; nothing of the group is written.
        """
        if self._closed:
            raise RuntimeError("it is closed")
        loop = asyncio.get_running_loop()
        wait = _Wait(loop, loop.create_future())
        self._entries.put(_Entry(jobs, wait))
        await wait.done

    def close(self) -> bool:
        """Write what was asked for; False where the disk does not let go of the thread."""
        if not self._closed:
            self._closed = True
            self._entries.put(_Entry((), last=True))
        self._thread.join(CLOSE_WITHIN_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        going_on = True
        while going_on:
            entries = [self._entries.get()]
            with contextlib.suppress(queue.Empty):
                while len(entries) < GROUP_MOST:
                    entries.append(self._entries.get_nowait())
            going_on = not entries[-1].last
            self._write([j for e in entries for j in e.jobs], [e.wait for e in entries if e.wait])

    def _write(self, jobs: Sequence[Job], waits: Sequence[_Wait]) -> None:
        error: Exception | None = None
        try:
            if jobs:
                self._commit(jobs)
        except Exception as e:  # supervision point: a thread that ended would leave everybody waiting
            error = e
            if not waits:
                logger.exception("not_written jobs=%d", len(jobs))
        for wait in waits:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                wait.loop.call_soon_threadsafe(_finish, wait.done, error)


def _finish(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
