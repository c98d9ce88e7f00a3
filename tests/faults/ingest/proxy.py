"""A TCP proxy that breaks lines."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from enum import Enum


class Line(Enum):
    """What the proxy does with bytes."""

    OPEN = "open"
    BLACK_HOLE = "black hole"
    """Takes everything, delivers nothing, accepts new connections."""
    DOWN = "down"
    """New connections are cut at once; ``reset`` cuts those that stand."""
    SLOW = "slow"
    """The server's bytes pass at ``SLOW_BYTES_PER_S``."""


SLOW_BYTES_PER_S = 4_000


class Proxy:
    """A TCP proxy to ``port`` on loopback."""

    def __init__(self, port: int) -> None:
        self.line = Line.OPEN
        self._target = port
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.line is Line.DOWN:
            writer.transport.abort()
            return
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far)
        self._pairs.add(pair)
        ways = [self._carry(reader, far, slow=False), self._carry(far_reader, writer, slow=True)]
        tasks = [asyncio.create_task(w) for w in ways]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if pair in self._pairs:
            self._pairs.discard(pair)
            for end in pair:
                end.close()
        for task in tasks:
            task.cancel()
            self._tasks.discard(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536 if self.line is not Line.SLOW else 1024):
                if self.line is Line.SLOW and slow:
                    await asyncio.sleep(len(data) / SLOW_BYTES_PER_S)
                if self.line is not Line.BLACK_HOLE:
                    sink.write(data)
                    await sink.drain()

    def reset(self) -> None:
        """Cut every connection with RST on both sides."""
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                sock = end.get_extra_info("socket")
                if sock is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                end.transport.abort()

    def half_open(self) -> None:
        """The server loses every connection; the client's ends stay open and silent."""
        pairs, self._pairs = self._pairs, set()
        for near, far in pairs:
            far.transport.abort()
            self._silent = getattr(self, "_silent", [])
            self._silent.append(near)

    async def close(self) -> None:
        self._server.close()
        self.reset()
        for near in getattr(self, "_silent", []):
            near.transport.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
