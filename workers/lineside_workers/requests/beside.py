"""A second thread that deals with the broker while the first computes.

A forward pass holds Python up for a small part of its time: beside a small transformer, batches of 400 KB were read off
a socket and taken apart as fast as without it, and it was not slower for that where a core was free.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from typing import TypeAlias

Errand: TypeAlias = Callable[[Callable[[float], bool]], object]


class Beside:
    """Runs one errand at a time, between ``start`` and ``end``; what it touches is its own for as long."""

    def __init__(self) -> None:
        self._errand: Errand | None = None
        self._error: BaseException | None = None
        self._go, self._halt, self._done = Lock(), Lock(), Lock()
        for lock in (self._go, self._halt, self._done):
            lock.acquire()
        self._thread: Thread | None = None

    def start(self, errand: Errand) -> None:
        """Begin ``errand``, which is given ``waited(seconds)``: true after that time, false once ``end`` is called."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="requests fetched ahead", daemon=True)
            self._thread.start()
        self._errand = errand
        self._go.release()

    def end(self) -> None:
        """Return once the errand is over, if there was one; raises what it raised."""
        if self._errand is None:
            return
        self._halt.release()
        self._done.acquire()
        self._halt.acquire(blocking=False)  # unless the errand has seen it
        self._errand = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            self._go.acquire()
            assert self._errand is not None  # noqa: S101 - set by start
            try:
                self._errand(self._waited)
            except BaseException as e:  # noqa: BLE001  # handed to the first thread
                self._error = e
            self._done.release()

    def _waited(self, seconds: float) -> bool:
        return not self._halt.acquire(timeout=max(0.0, seconds))
