"""Memory in which the workers of this machine find batches, so that these need not pass through the broker.

A tensor of 393 KB that goes by way of the broker is copied six times, and each copy drives everybody's working set out
of the processor's caches: 7 to 10 % of the CPU of a batch. Blocks are used again and again: a page that is taken anew
is cleared and mapped first, which costs what the copies do.
"""

from __future__ import annotations

import ipaddress
import mmap
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from lineside_plugins.wire import BATCH_AT, FILE_NAME, Place, owner

SMALLEST_BYTES = 64 << 10  # what is smaller costs less than opening it would
MOST_BYTES = 64 << 20  # of all blocks together; what does not fit goes through the broker
_NOBODY = owner("")


@dataclass(slots=True)
class _Block:
    fd: int
    memory: memoryview

    @classmethod
    def of(cls, size: int) -> _Block:
        fd = os.memfd_create(FILE_NAME.removeprefix("memfd:"))
        os.ftruncate(fd, size)
        return cls(fd, memoryview(mmap.mmap(fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)))

    def close(self) -> None:
        os.close(self.fd)


class SharedMemory:
    """Holds a batch from ``place`` to ``release``. Blocks are powers of two in size; ``off`` after ``give_up``."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        """At most ``most_bytes`` are held, free blocks included."""
        self._most = most_bytes
        self._bytes = 0
        self._used: dict[str, tuple[_Block, Place]] = {}
        self._free: defaultdict[int, list[_Block]] = defaultdict(list)
        self.off = False

    @staticmethod
    def fits(url: str) -> bool:
        """Whether workers of the broker at ``url`` are likely to be on this machine, and it has such memory."""
        return hasattr(os, "memfd_create") and _is_here(url)

    def place(self, request_id: str, batch: Sequence[bytes | memoryview]) -> Place | None:
        """Where the encoded ``batch``, in pieces, lies from now on; None if it has to go through the broker."""
        if self.off:
            return None
        if request_id in self._used:  # sent again
            return self._used[request_id][1]
        size = sum(map(len, batch))
        block = self._block(size + BATCH_AT) if size >= SMALLEST_BYTES else None
        if block is None:
            return None
        memory, at = block.memory, BATCH_AT
        memory[:BATCH_AT] = _NOBODY  # who still reads what lay here before finds out
        for piece in batch:
            memory[at : at + len(piece)] = piece
            at += len(piece)
        memory[:BATCH_AT] = owner(request_id)
        place = Place(os.getpid(), block.fd, size)
        self._used[request_id] = block, place
        return place

    def holds(self, request_id: str) -> bool:
        """Whether the batch of the request is read from here."""
        return not self.off and request_id in self._used

    def release(self, request_id: str) -> None:
        """The request has ended; its block may hold another. A worker that is late with it reads on until then."""
        block, _ = self._used.pop(request_id, (None, None))
        if block is not None and self.off:
            block.close()
        elif block is not None:
            self._free[len(block.memory)].append(block)

    def give_up(self) -> None:
        """Take no more batches in: there are workers who cannot read it, or it is needed no more."""
        self.off = True
        for blocks in self._free.values():
            for block in blocks:
                block.close()
        self._free.clear()

    def _block(self, size: int) -> _Block | None:
        whole = max(mmap.PAGESIZE, 1 << (size - 1).bit_length())
        if self._free[whole]:
            return self._free[whole].pop()
        for blocks in self._free.values():  # of other sizes
            while blocks and self._bytes + whole > self._most:
                self._bytes -= len(blocks[-1].memory)
                blocks.pop().close()
        if self._bytes + whole > self._most:
            return None
        try:
            block = _Block.of(whole)
        except OSError:  # of files or of memory there are no more
            return None
        self._bytes += whole
        return block


def _is_here(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return True
    if parts.scheme not in {"redis", "rediss"}:
        return False
    try:
        return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
