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
_FINE, _ERROR, _NUMBER, _STRING, _LIST = b"+-:$*"
_CLOSED = "the broker closed the connection"
_NOT_NOW = (b"LOADING", b"MASTERDOWN", b"READONLY")  # it starts, or is master no more: connect anew, and ask again


class Readable(Protocol):
    """A socket, plain or TLS."""

    def recv(self, size: int, /) -> bytes:
        """Up to so many bytes; none when the other side has closed."""
        ...

    def recv_into(self, buffer: memoryview, nbytes: int, flags: int, /) -> int:
        """Bytes read; 0 when the other side has closed."""
        ...


class Replies:
    """Reads one reply after the other from ``socket``."""

    def __init__(self, socket: Readable) -> None:
        self._socket = socket
        self._all = 0 if isinstance(socket, ssl.SSLSocket) else MSG_WAITALL  # one call for a whole batch
        self._held, self._at = b"", 0  # what has been read, and from where on it has not been handed out

    def read(self) -> Reply:
        """The next reply; an error the broker answers is returned, not raised. Long strings are read-only views.

        Raises:
            RedisError, OSError: The broker is lost, or does not speak the protocol.
        """
        while (stop := self._held.find(_END, self._at)) < 0:
            self._more()
        kind, start = self._held[self._at], self._at + 1
        self._at = stop + 2
        if kind == _NUMBER:
            return int(self._held[start:stop])
        if kind == _STRING:
            return self._string(int(self._held[start:stop]))
        if kind == _LIST:
            count = int(self._held[start:stop])
            return None if count < 0 else [self.read() for _ in range(count)]
        return self._word(kind, self._held[start:stop])

    def _word(self, kind: int, rest: bytes) -> Reply:
        if kind == _FINE:
            return rest
        if kind != _ERROR:
            line = bytes([kind]) + rest[:20]
            raise InvalidResponse(f"the broker's reply starts with {line!r}; LINESIDE_BROKER_URL names a Redis server")
        if rest.startswith(_NOT_NOW):
            raise ConnectionLostError(f"the broker says {rest.decode(errors='replace')}")
        return ResponseError(rest.decode(errors="replace"))

    def _string(self, size: int) -> bytes | memoryview | None:
        if size < 0:
            return None
        whole = size + len(_END)
        if whole > SMALL_BYTES:
            return self._long(size)
        while len(self._held) - self._at < whole:
            self._more()
        start, self._at = self._at, self._at + whole
        return self._held[start : start + size]

    def _long(self, size: int) -> memoryview:
        whole = size + len(_END)
        into = np.empty(whole, np.uint8).data  # not zeroed, and writable from here only
        have = min(whole, len(self._held) - self._at)
        into[:have] = self._held[self._at : self._at + have]
        self._at += have
        while have < whole:
            count = self._socket.recv_into(into[have:], 0, self._all)
            if not count:
                raise ConnectionLostError(_CLOSED)
            have += count
        return into[:size].toreadonly()

    def _more(self) -> None:
        """Read more, behind what is held and not handed out."""
        rest = self._held[self._at :]
        if len(rest) > SMALL_BYTES:
            raise InvalidResponse(f"the broker sent a line of more than {SMALL_BYTES} bytes")
        more = self._socket.recv(SMALL_BYTES)
        if not more:
            raise ConnectionLostError(_CLOSED)
        self._held, self._at = rest + more, 0
