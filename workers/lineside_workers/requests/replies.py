"""Replies of the broker as they come off a socket, each batch straight into a buffer of its own.

redis-py and hiredis copy a reply of 393 KB three times between the kernel and the caller, 0.12 ms; this copies it once.

Source: Redis serialization protocol, version 2.
"""

from __future__ import annotations

import ssl
from socket import MSG_WAITALL
from typing import Any, Protocol, TypeAlias

import numpy as np
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import InvalidResponse, ResponseError

Reply: TypeAlias = Any  # int, bytes, memoryview of a long string, ResponseError, None, or a list of these

SMALL_BYTES = 1 << 14  # read at once; a longer string goes to a buffer of its own
_END = b"\r\n"
_NOT_NOW = (b"LOADING", b"MASTERDOWN", b"READONLY")  # it starts, or is master no more: connect anew, and ask again


class Readable(Protocol):
    """A socket, plain or TLS."""

    def recv_into(self, buffer: memoryview, nbytes: int, flags: int, /) -> int:
        """Bytes read; 0 when the other side has closed."""
        ...


class Replies:
    """Reads one reply after the other from ``socket``."""

    def __init__(self, socket: Readable) -> None:
        self._socket = socket
        self._all = 0 if isinstance(socket, ssl.SSLSocket) else MSG_WAITALL  # one call for a whole batch
        self._held = bytearray(SMALL_BYTES)
        self._view = memoryview(self._held)
        self._at = self._end = 0  # of what has been read and not handed out

    def read(self) -> Reply:
        """The next reply; an error the broker answers is returned, not raised. Long strings are read-only views.

        Raises:
            RedisError, OSError: The broker is lost, or does not speak the protocol.
        """
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return self._string(int(rest))
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"*":
            count = int(rest)
            return None if count < 0 else [self.read() for _ in range(count)]
        if kind == b"-":
            if rest.startswith(_NOT_NOW):
                raise ConnectionLostError(f"the broker says {rest.decode(errors='replace')}")
            return ResponseError(rest.decode(errors="replace"))
        raise InvalidResponse(f"the broker's reply starts with {line[:20]!r}; LINESIDE_BROKER_URL names a Redis server")

    def _line(self) -> bytes:
        while (stop := self._held.find(_END, self._at, self._end)) < 0:
            self._more()
        start, self._at = self._at, stop + len(_END)
        return bytes(self._view[start:stop])

    def _string(self, size: int) -> bytes | memoryview | None:
        if size < 0:
            return None
        whole = size + len(_END)
        if whole > SMALL_BYTES:
            return self._long(size)
        while self._end - self._at < whole:
            self._more()
        start, self._at = self._at, self._at + whole
        return bytes(self._view[start : start + size])

    def _long(self, size: int) -> memoryview:
        whole = size + len(_END)
        into = np.empty(whole, np.uint8).data  # not zeroed, and writable from here only
        have = min(whole, self._end - self._at)
        into[:have] = self._view[self._at : self._at + have]
        self._at += have
        while have < whole:
            have += self._some(into[have:], self._all)
        return into[:size].toreadonly()

    def _more(self) -> None:
        """Read more into the small buffer, after moving what is held to its start."""
        if self._at:
            held = self._end - self._at
            self._view[:held] = bytes(self._view[self._at : self._end])
            self._at, self._end = 0, held
        if self._end == SMALL_BYTES:
            raise InvalidResponse(f"the broker sent a line of more than {SMALL_BYTES} bytes")
        self._end += self._some(self._view[self._end :])

    def _some(self, into: memoryview, flags: int = 0) -> int:
        count = self._socket.recv_into(into, 0, flags)
        if not count:
            raise ConnectionLostError("the broker closed the connection")
        return count
