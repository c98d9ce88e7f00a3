"""Commands to the broker written together and answered together, on one connection.

What is sent may be answered later: the broker works while the worker computes.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as SilentError

from lineside_workers.requests import broker
from lineside_workers.requests.replies import Replies, Reply

Command: TypeAlias = Sequence[str | bytes | memoryview | int | float]
LOSSES = (ConnectionLostError, SilentError, OSError)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0
_CONNECT_WITHIN_S, _ANSWER_WITHIN_S = 2.0, 10.0  # a broker that was stopped, not ended, keeps its sockets open


class Line:
    """One connection, for one thread. redis-py's client spends more on an exchange than its connection does."""

    def __init__(self, url: str) -> None:
        """Where the broker is; connects when first used, and again after a loss."""
        self._pool = broker.pool(  # kept: a connection by way of sentinels asks it who is master
            url, socket_connect_timeout=_CONNECT_WITHIN_S, socket_timeout=_ANSWER_WITHIN_S
        )
        self._connection: Any = self._pool.make_connection()
        self._socket: Any = None
        self._replies: Replies | None = None
        self._awaited = 0

    def send(self, *commands: Command) -> None:
        """Write ``commands``; ``receive`` gets their replies, after those to what was sent before.

        Raises:
            RedisError, OSError: The broker is lost, and nobody knows which of them it has run.
        """
        try:
            if self._replies is None or not self._connection.is_connected:
                self._connect()
            self._socket.sendall(_packed(commands))
        except BaseException:
            self.close()
            raise
        self._awaited += len(commands)

    def receive(self) -> list[Reply]:
        """The replies to all that was sent, in order; what the broker refused is a ResponseError among them.

        Raises:
            RedisError, OSError: The broker is lost, and nobody knows which of the commands it has run.
        """
        if self._replies is None:
            raise ConnectionLostError("the broker is lost; what was sent was given up")
        try:
            found = [self._replies.read() for _ in range(self._awaited)]
        except BaseException:
            self.close()
            raise
        self._awaited = 0
        return found

    def ask(self, *commands: Command) -> list[Reply]:
        """The reply to each command, in order; the broker runs them one after the other, others' in between.

        What was sent before and not received is given up.

        Raises:
            RedisError, OSError: The broker is lost, and nobody knows which of them it has run.
            ResponseError: It refused one; the others have been run.
        """
        if self._awaited:
            self.close()
        self.send(*commands)
        replies = self.receive()
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    def ask_again(self, *commands: Command, within_s: float) -> list[Reply]:
        """Replies as ``receive`` has them, once the broker is there: for commands that may run twice.

        Raises:
            RedisError, OSError: The broker stayed away.
        """
        until, wait = time.monotonic() + within_s, _FIRST_WAIT_S
        while True:
            try:
                self.send(*commands)
                return self.receive()
            except LOSSES:
                if time.monotonic() + wait > until:
                    raise
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def close(self) -> None:
        """Close the connection."""
        self._awaited, self._replies, self._socket = 0, None, None
        self._connection.disconnect()

    def _connect(self) -> None:
        if self._awaited:  # it would answer as if this had never been sent
            raise ConnectionLostError("the broker is lost; what was sent was given up")
        self._connection.disconnect()
        self._connection.connect()  # by way of sentinels where there are any; logged in, over TLS where that is wanted
        # redis-py has no public way to its socket; kombu's Redis transport uses the same name.
        self._socket = self._connection._sock  # noqa: SLF001
        if not isinstance(self._socket, ssl.SSLSocket):
            _limit_in_kernel(self._socket, _ANSWER_WITHIN_S)
        self._replies = Replies(self._socket)


def _limit_in_kernel(plain: socket.socket, seconds: float) -> None:
    """Have the kernel keep the time limit of ``plain``.

    Python itself asks the kernel twice for every read and write, and lets another thread go first each time.
    """
    limit = struct.pack("@ll", int(seconds), round(seconds % 1 * 1e6))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    plain.settimeout(None)


def _packed(commands: Sequence[Command]) -> bytes:
    out: list[Any] = []  # bytes and views of bytes
    for command in commands:
        out.append(b"*%d\r\n" % len(command))
        for value in command:
            kind = value.__class__
            part: Any = value if kind is bytes or kind is memoryview else str(value).encode()
            out += (b"$%d\r\n" % len(part), part, b"\r\n")
    return b"".join(out)
