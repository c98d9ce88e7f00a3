"""Batches that lie in memory shared by a gateway of this machine (see ``lineside_plugins.wire.shared``)."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from lineside_plugins.wire import BATCH_AT, FILE_NAME, Place, owner, place_of

MOST_OPEN = 64  # files of gateways that are kept open, those used last


class UnreadError(Exception):
    """What lies there is not the batch that was meant, or this process cannot read it.

    The memory is of another machine, container or user, or its gateway has ended, or the request has.
    """


class SharedMemory:
    """Opens places and keeps them open, until their gateway has ended. Not thread-safe."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], memoryview] = {}

    def find(self, request_id: str, claim: bytes | memoryview) -> bytes | memoryview:
        """The encoded batch of the request, copied: tasks may keep what they are given, and a block is used again.

        Raises:
            UnreadError: It is not there, or not for this process.
        """
        place = place_of(claim)
        if place is None:
            return claim
        mine = owner(request_id)
        memory = self._open.pop((place.pid, place.fd), None)
        if memory is None or memory[:BATCH_AT] != mine or len(memory) < BATCH_AT + place.size:
            memory = _opened(place)  # the gateway has another file of that number by now
            self._open = {at: m for at, m in self._open.items() if Path(f"/proc/{at[0]}").exists()}
        self._open[place.pid, place.fd] = memory
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
        own = np.empty(place.size, np.uint8)
        own[:] = np.frombuffer(memory, np.uint8, place.size, BATCH_AT)
        if memory[:BATCH_AT] != mine:  # asked last: it may have been given to another while it was read
            raise UnreadError(f"/proc/{place.pid}/fd/{place.fd} holds no batch of this request")
        return own.data.toreadonly()


def _opened(place: Place) -> memoryview:
    """The whole file, read-only."""
    path = f"/proc/{place.pid}/fd/{place.fd}"
    try:
        if FILE_NAME not in str(Path(path).readlink()):  # another machine's or container's numbers
            raise UnreadError(f"{path} holds something else")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise UnreadError(str(e)) from e
    try:
        memory = memoryview(mmap.mmap(fd, os.fstat(fd).st_size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ))
    except (OSError, ValueError) as e:
        raise UnreadError(str(e)) from e
    finally:
        os.close(fd)
    if len(memory) < BATCH_AT + place.size:
        raise UnreadError(f"{path} holds something else")
    return memory
