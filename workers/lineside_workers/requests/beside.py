"""A second thread that deals with the broker while the first computes.

A forward pass holds Python up for a small part of its time: beside a small transformer, batches of 400 KB were read off
a socket and taken apart as fast as without it, and it was not slower for that where a core was free. The first thread
waits for the second only where that one is at work: to have it come back from a sleep took 0.1 ms of each batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from threading import Lock, Thread
from typing import TypeAlias

Errand: TypeAlias = Callable[[Callable[[float], bool]], object]


class Beside:
    """Runs one errand at a time, between ``start`` and ``end``.

    What it touches between two calls of ``waited`` is its own; after ``end`` it touches nothing.
    """

    def __init__(self) -> None:
        self._now: tuple[Errand] | None = None  # another tuple each time
        self._error: BaseException | None = None
        self._work = Lock()  # held by the second thread where it is at work
        self._working = False
        self._call = Lock()  # released to wake the second thread
        self._call.acquire()
        self._thread: Thread | None = None

    def start(self, errand: Errand) -> None:
        """Begin ``errand``, which is given ``waited(seconds)``: true after that time, false once ``end`` was called."""
        self._now = (errand,)
        if self._thread is None:
            self._thread = Thread(target=self._run, name="requests fetched ahead", daemon=True)
            self._thread.start()
        elif self._call.locked():
            self._call.release()

    def end(self) -> None:
        """Return once the errand is not at work any more; raises what it raised."""
        with self._work:
            self._now = None
            error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        done = None
        while True:
            now = self._now
            if now is None or now is done:
                self._call.acquire()
                continue
            try:
                now[0](partial(self._waited, now))
            except BaseException as e:  # noqa: BLE001  # handed to the first thread
                self._error = e
            self._rest()
            done = now

    def _waited(self, now: tuple[Errand], seconds: float) -> bool:
        self._rest()
        until = time.monotonic() + seconds
        while self._now is now and (left := until - time.monotonic()) > 0:
            self._call.acquire(timeout=left)  # perhaps at once: a call for this errand that it did not need
        self._work.acquire()
        self._working = True
        return self._now is now

    def _rest(self) -> None:
        if self._working:
            self._working = False
            self._work.release()
