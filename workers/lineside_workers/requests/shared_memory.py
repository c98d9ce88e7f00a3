"""Batches that lie in memory shared by a gateway of this machine (see ``lineside_plugins.wire.shared``)."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable

from lineside_plugins.wire import BATCH_AT, Place, owner, place_of

MOST_OPEN = 64  # files of gateways that are kept open, those used last


class UnreadError(Exception):
    """What lies there is not the batch that was meant, or this process cannot read it.

    The memory is of another machine, container or user, or its gateway has ended, or the request has.
    """


def always() -> bool:
    """Whether a batch that came through the broker is still what it was."""
    return True


class SharedMemory:
    """Opens places and keeps them open. Not thread-safe."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], memoryview] = {}

    def find(self, request_id: str, claim: bytes | memoryview) -> tuple[bytes | memoryview, Callable[[], bool]]:
        """The encoded batch, and what tells whether it still is that: to be asked once it has been used.

        Raises:
            UnreadError: It is not there, or not for this process.
        """
        place = place_of(claim)
        if place is None:
            return claim, always
        mine = owner(request_id)
        memory = self._open.pop((place.pid, place.fd), None)
        if memory is None or memory[:BATCH_AT] != mine or len(memory) < BATCH_AT + place.size:
            memory = _opened(place)  # the gateway has another file of that number by now
        self._open[place.pid, place.fd] = memory
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
        if memory[:BATCH_AT] != mine:
            raise UnreadError(f"/proc/{place.pid}/fd/{place.fd} holds no batch of this request")
        view = memory
        return view[BATCH_AT : BATCH_AT + place.size], lambda: view[:BATCH_AT] == mine


def _opened(place: Place) -> memoryview:
    """The whole file, read-only."""
    try:
        fd = os.open(f"/proc/{place.pid}/fd/{place.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        raise UnreadError(str(e)) from e
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size < BATCH_AT + place.size:
            raise UnreadError(f"/proc/{place.pid}/fd/{place.fd} holds something else")
        return memoryview(mmap.mmap(fd, found.st_size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ))
    except (OSError, ValueError) as e:
        raise UnreadError(str(e)) from e
    finally:
        os.close(fd)
