"""How many connections there are at a time, from whom, and how long they may stay without a session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from typing import Protocol

from lineside_gateway.hosting.limits import Limits

logger = logging.getLogger(__name__)

SWEEP_S = 0.5
GRACE_S = 1.0
"""A connection may be pushed out by a newer one when it has not got anywhere for this long."""


class Connection(Protocol):
    """What is asked of a connection."""

    peer: str
    opened: float

    @property
    def active(self) -> bool:
        """Whether it has an activated session."""

    def cut(self, why: str) -> None:
        """End it at once."""


class Admission:
    """The connections of one server. ``opened`` of a connection is when it last was without an active session."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: dict[Connection, None] = {}
        self._by_address: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._refusing = False
        self.serving: set[asyncio.Task[None]] = set()

    def admit(self, connection: Connection) -> bool:
        """Whether there is room; an idle connection without session makes room after a second."""
        limits, peer = self._limits, connection.peer
        pending = [c for c in self._all if not c.active]
        of_peer = [c for c in pending if c.peer == peer]
        full = (
            len(self._all) >= limits.connections
            or self._by_address[peer] >= limits.connections_per_address
            or len(of_peer) >= limits.pending_per_address
        )
        if (full or len(pending) >= limits.pending) and not self._make_room(of_peer if full else pending):
            if not self._refusing:
                logger.warning("connections_refused address=%s open=%d waiting=%d", peer, len(self._all), len(pending))
            self._refusing = True
            return False
        self._all[connection] = None
        self._by_address[peer] += 1
        return True

    def leave(self, connection: Connection) -> None:
        """The connection is gone."""
        if connection in self._all:
            del self._all[connection]
            self._by_address[connection.peer] -= 1
            if not self._by_address[connection.peer]:
                del self._by_address[connection.peer]

    def _make_room(self, candidates: list[Connection]) -> bool:
        oldest = min(candidates, key=lambda c: c.opened, default=None)
        if oldest is None or time.monotonic() - oldest.opened < GRACE_S:
            return False
        self.leave(oldest)
        oldest.cut("a newer connection needs its place")
        return True

    def start(self) -> None:
        """Begin to close connections that stay without a session."""
        self._task = asyncio.get_running_loop().create_task(self._sweep(), name="connections without session")

    async def stop(self) -> None:
        """Stop looking, and end what is being served."""
        for task in list(self.serving):
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._refusing = False
            now = time.monotonic()
            for connection in list(self._all):
                if connection.active:
                    connection.opened = now
                elif now - connection.opened > self._limits.activation_timeout_s:
                    connection.cut("no active session in time")
