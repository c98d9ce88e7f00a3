"""Commands written together and answered together, on one connection to the broker.

A batch costs the gateway two such exchanges. redis-py's client spends more on each (pool, retry, command objects,
a copy of the tensor) than its connection does, which is what is used here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from redis.connection import PythonRespSerializer
from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis.asyncio import Redis

Command: TypeAlias = Sequence[str | bytes | int]

_LARGE_BYTES = 6000  # redis-py's own bound: what is larger is not copied next to its neighbours


class Line:
    """One exchange at a time; others wait their turn. Connects when first used, and again after a loss."""

    def __init__(self, redis: Redis) -> None:
        """``redis`` says where the broker is and how to speak to it; its pool is not used."""
        self._connection: Any = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
        self._pack = PythonRespSerializer(_LARGE_BYTES, _encode).pack
        self._turn = asyncio.Lock()

    async def ask(self, commands: Iterable[Command]) -> list[Any]:
        """The reply to each command, in order; the broker runs them one after the other, others' in between.

        Raises:
            RedisError, OSError: The broker is lost, and nobody knows which of them it has run.
            ResponseError: It refused one; the others have been run.
        """
        chunks: list[bytes] = []
        count = 0
        for command in commands:
            chunks += self._pack(*command)  # type: ignore[no-untyped-call]  # redis-py
            count += 1
        async with self._turn:
            try:
                if not self._connection.is_connected:
                    await self._connection.connect()  # by way of sentinels where there are any, as sending would not
                await self._connection.send_packed_command(chunks)
                replies = [await self._reply() for _ in range(count)]
            except BaseException:  # cancelled half-way: the next exchange would read this one's replies
                await self._connection.disconnect(nowait=True)
                raise
        refused = [r for r in replies if isinstance(r, ResponseError)]
        if refused:
            raise refused[0]
        return replies

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as e:
            return e

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.disconnect(nowait=True)


def _encode(value: str | bytes | int) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else b"%d" % value
