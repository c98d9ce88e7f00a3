"""Commands to the broker written together and answered together, on one connection.

A batch costs the gateway two such exchanges. redis-py's client spends more on each (pool, retry, command objects,
streams, two copies of the tensor) than its connection does: here it connects and logs in, and then hands its
transport over. Tensors go to the kernel from where they lie.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import hiredis
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import InvalidResponse, ResponseError

from lineside_gateway.dispatch.connection import IO_TIMEOUT_S

if TYPE_CHECKING:
    from redis.asyncio import Redis

Buffer: TypeAlias = bytes | memoryview
Reply: TypeAlias = list[Any] | Exception  # of each command; or why there is none
Command: TypeAlias = Sequence[str | int | Buffer | tuple[Buffer, ...]]  # a tuple is one value in several pieces

_LARGE_BYTES = 6000  # as redis-py has it: what is larger is not copied next to its neighbours
_NOT_NOW = ("LOADING", "MASTERDOWN", "READONLY")  # it starts, or is master no more: connect anew, and ask again
_DEAF = asyncio.Protocol()


@dataclass(slots=True)
class _Exchange:
    since: float
    wanted: int
    hear: Callable[[Reply], None]
    replies: list[Any] = field(default_factory=list)


class Line(asyncio.Protocol):
    """Exchanges in the order they are begun. Connects when first used, and again after a loss, until it is closed.

    A broker that keeps an exchange waiting for ``IO_TIMEOUT_S`` is lost too: it was stopped, or its host is gone.
    """

    def __init__(self, redis: Redis) -> None:
        """``redis`` says where the broker is and how to speak to it; its pool is not used."""
        self._connection: Any = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
        self._connecting = asyncio.Lock()
        self._transport: asyncio.Transport | None = None
        self._fd = -1  # of a socket that takes what is written as it is
        self._reader = hiredis.Reader()
        self._open: deque[_Exchange] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False

    async def tell(self, commands: Iterable[Command], hear: Callable[[Reply], None]) -> None:
        """Write ``commands`` and wait for nothing; ``hear`` is given what ``ask`` would have returned or raised.

        Raises:
            RedisError, OSError: There is no connection: nothing was written, and nothing will be heard.
        """
        pieces, count = _packed(commands)
        if self._transport is None:
            async with self._connecting:
                if self._transport is None:  # another exchange may have connected meanwhile
                    await self._connect()
        loop = asyncio.get_running_loop()
        self._open.append(_Exchange(loop.time(), count, hear))
        if self._watch is None:
            self._watch = loop.call_later(IO_TIMEOUT_S, self._look)
        self._write(pieces)

    async def ask(self, commands: Iterable[Command]) -> list[Any]:
        """The reply to each command, in order; the broker runs them one after the other, others' in between.

        Raises:
            RedisError, OSError: The broker is lost, and nobody knows which of them it has run.
            ResponseError: It refused one; the others have been run.
        """
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def hear(reply: Reply) -> None:
            if not answer.done():  # cancelled: nobody waits for it any more
                answer.set_exception(reply) if isinstance(reply, Exception) else answer.set_result(reply)

        await self.tell(commands, hear)
        return await answer

    async def close(self) -> None:
        """Close the connection for good: what is asked afterwards is lost, and opens no other."""
        self._closed = True
        self._lose(_closed())
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Replies, as asyncio hands them over."""
        self._reader.feed(data)
        try:
            while self._open:
                reply = self._reader.gets()
                if reply is False:
                    return
                exchange = self._open[0]
                exchange.replies.append(_reply(reply))
                if len(exchange.replies) == exchange.wanted:
                    self._open.popleft()
                    refused = next((r for r in exchange.replies if isinstance(r, ResponseError)), None)
                    exchange.hear(refused or exchange.replies)
        except (hiredis.HiredisError, ConnectionLostError) as e:
            self._lose(e if isinstance(e, ConnectionLostError) else InvalidResponse(f"not a Redis server: {e}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits hears of it."""
        self._lose(ConnectionLostError(f"the broker closed the connection: {exc or 'no reason given'}"))

    async def _connect(self) -> None:
        if self._closed:
            raise _closed()
        try:
            async with asyncio.timeout(IO_TIMEOUT_S):
                await self._connection.disconnect(nowait=True)
                # By way of sentinels where there are any; logged in, over TLS if wanted.
                await self._connection.connect()
        finally:
            if self._closed:  # meanwhile
                await self._connection.disconnect(nowait=True)
        if self._closed:
            raise _closed()
        # redis-py has no public way to its transport; from here on it is this object that listens.
        transport = self._connection._writer.transport  # noqa: SLF001
        self._reader = hiredis.Reader()
        if transport.is_closing():
            raise ConnectionLostError("the broker closed the connection at once")
        transport.set_protocol(self)
        plain = transport.get_extra_info("ssl_object") is None and hasattr(os, "writev")
        self._fd = transport.get_extra_info("socket").fileno() if plain else -1
        self._transport = transport

    def _write(self, pieces: list[Buffer]) -> None:
        """Straight to the kernel what it takes, and by way of asyncio what it does not."""
        assert self._transport is not None  # noqa: S101 - connected by ask
        if self._fd < 0 or self._transport.get_write_buffer_size():
            self._transport.write(b"".join(pieces))
            return
        try:
            taken = os.writev(self._fd, pieces)
        except OSError:  # full, or lost: asyncio waits, or finds out
            taken = 0
        for piece in pieces:
            if taken < len(piece):
                self._transport.write(memoryview(piece)[taken:])
            taken = max(0, taken - len(piece))

    def _look(self) -> None:
        """Give the broker up that has not answered in time, else look again when it could have."""
        loop, self._watch = asyncio.get_running_loop(), None
        if not self._open:
            return
        until = self._open[0].since + IO_TIMEOUT_S
        if loop.time() < until:
            self._watch = loop.call_at(until, self._look)
        else:
            self._lose(ConnectionLostError(f"the broker has not answered for {IO_TIMEOUT_S:g} s"))

    def _lose(self, error: Exception) -> None:
        if self._transport is not None:
            self._transport.set_protocol(_DEAF)  # what this one still has to say is not about the next one
            self._transport.abort()
        self._transport, self._fd = None, -1
        lost, self._open = self._open, deque()
        for exchange in lost:
            exchange.hear(error)


def _closed() -> ConnectionLostError:
    return ConnectionLostError("the connection to the broker was closed")


def _reply(reply: Any) -> Any:
    if not isinstance(reply, hiredis.ReplyError):
        return reply
    text = str(reply)
    if text.startswith(_NOT_NOW):
        raise ConnectionLostError(f"the broker says {text}")
    return ResponseError(text)


def _packed(commands: Iterable[Command]) -> tuple[list[Buffer], int]:
    """Pieces of the commands as they go over the wire, and how many commands there are."""
    pieces: list[Buffer] = []
    small: list[Buffer] = []
    count = 0
    for command in commands:
        count += 1
        small.append(b"*%d\r\n" % len(command))
        for value in command:
            if not isinstance(value, tuple):
                part = value.encode() if isinstance(value, str) else b"%d" % value if isinstance(value, int) else value
                small += (b"$%d\r\n" % len(part), part, b"\r\n")
                continue
            small.append(b"$%d\r\n" % sum(map(len, value)))
            for piece in value:
                if len(piece) > _LARGE_BYTES:
                    pieces += (b"".join(small), piece)
                    small.clear()
                else:
                    small.append(piece)
            small.append(b"\r\n")
    pieces.append(b"".join(small))
    return pieces, count
