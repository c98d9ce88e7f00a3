"""Commands to the broker written together and answered together, on one connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as SilentError

from lineside_workers import broker

Command: TypeAlias = Sequence[str | bytes | int | float]
_READ_BYTES = 1 << 19  # a batch of 393 KB in one piece where the kernel has it whole
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0
_CONNECT_WITHIN_S, _ANSWER_WITHIN_S = 2.0, 10.0  # a broker that was stopped, not ended, keeps its sockets open


class Line:
    """One connection, for one thread. redis-py's client spends more on an exchange than its connection does."""

    def __init__(self, url: str) -> None:
        """Where the broker is; connects when first used, and again after a loss."""
        self._pool = broker.pool(  # kept: a connection by way of sentinels asks it who is master
            url,
            socket_read_size=_READ_BYTES,
            socket_connect_timeout=_CONNECT_WITHIN_S,
            socket_timeout=_ANSWER_WITHIN_S,
        )
        self._connection: Any = self._pool.make_connection()

    def ask(self, *commands: Command) -> list[Any]:
        """The reply to each command, in order; the broker runs them one after the other, others' in between.

        Raises:
            RedisError, OSError: The broker is lost, and nobody knows which of them it has run.
            ResponseError: It refused one; the others have been run.
        """
        connection = self._connection
        try:
            if not connection.is_connected:
                connection.connect()  # by way of sentinels where there are any, as sending would not
            connection.send_packed_command(connection.pack_commands(commands))
            replies = [self._reply() for _ in commands]
        except BaseException:
            connection.disconnect()
            raise
        refused = [r for r in replies if isinstance(r, ResponseError)]
        if refused:
            raise refused[0]
        return replies

    def ask_again(self, *commands: Command, within_s: float) -> list[Any]:
        """``ask`` until the broker is there, for at most ``within_s``: for commands that may run twice.

        Raises:
            RedisError, OSError: The broker stayed away.
        """
        until, wait = time.monotonic() + within_s, _FIRST_WAIT_S
        while True:
            try:
                return self.ask(*commands)
            except (ConnectionLostError, SilentError, OSError):
                if time.monotonic() + wait > until:
                    raise
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as e:
            return e

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()
