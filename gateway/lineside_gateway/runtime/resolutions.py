"""Servers that have come up: their equipment is bound to tasks at once; its nodes are hosted one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from lineside_gateway.errors import LinesideError
from lineside_gateway.fleet import Leading
from lineside_gateway.publish import Fault, HostedServer, HostedTask
from lineside_gateway.runtime.binder import Binder
from lineside_gateway.runtime.feed import Feed
from lineside_gateway.runtime.hosted_before import HostedBefore

logger = logging.getLogger(__name__)


class Resolutions:
    """Binds what servers show and hosts what is new. ``servers``: how many there are when all have come up."""

    def __init__(
        self, servers: int, binder: Binder, feed: Feed, hosted: HostedServer, before: HostedBefore, fleet: Leading
    ) -> None:
        self._servers = servers
        self._binder = binder
        self._feed = feed
        self._hosted = hosted
        self._before = before
        self._fleet = fleet
        self._queue: asyncio.Queue[tuple[str, list[HostedTask] | LinesideError]] = asyncio.Queue()

    def resolved(self, server: str) -> None:
        """Bind at once: windows have to be there before the samples of ``server`` are settled."""
        try:
            self._queue.put_nowait((server, self._binder.bind(self._feed.equipment)))
        except LinesideError as e:  # a sink must not raise: the gateway ends, not the connection
            self._queue.put_nowait((server, e))

    @property
    def unbound(self) -> tuple[str, ...]:
        """One sentence for each task that applies to nothing, once all servers have come up."""
        found = self._feed.equipment
        return self._binder.unbound([e for each in found.values() for e in each]) if self._complete else ()

    @property
    def _complete(self) -> bool:
        return len(self._feed.equipment) == self._servers

    async def run(self, shown: Callable[[], Awaitable[None]]) -> None:
        """Host nodes until cancelled; ``shown`` is awaited after new ones.

        Raises:
            LinesideError: A task cannot be bound.
        """
        while True:
            server, new = await self._queue.get()
            if isinstance(new, LinesideError):
                raise new
            if new:
                await self._hosted.add(new)
                await asyncio.to_thread(self._before.keep, new, complete=self._complete)
                for nodes in new:
                    if why := self._fleet.why_not(nodes.equipment_id):
                        await self._hosted.fault(nodes.task, nodes.equipment_id, why, Fault.STANDBY)
                await shown()
            logger.info("server_resolved server=%s equipment=%d", server, len(self._feed.equipment[server]))
