"""Acts on the plant-wide switch: whoever throws it, guard, nodes and audit log follow."""

from __future__ import annotations

import asyncio
import logging

from lineside_gateway.guard.guard import Guard
from lineside_gateway.guard.switch import Throw
from lineside_gateway.publish import HostedServer
from lineside_gateway.runtime.on_disk import OnDisk

logger = logging.getLogger(__name__)


class SwitchWatch:
    """The switch of one running gateway; ``always`` holds at advisory whatever the switch says."""

    def __init__(self, disk: OnDisk, guard: Guard, hosted: HostedServer, *, always: bool) -> None:
        self._disk = disk
        self._guard = guard
        self._hosted = hosted
        self._always = always
        self._last = Throw()
        self._shown: bool | None = None
        self._one_at_a_time = asyncio.Lock()

    async def look(self) -> None:
        """Follow the switch as it stands on disk: another process may have thrown it."""
        async with self._one_at_a_time:
            await self._follow(self._disk.switch.read())

    async def throw(self, demoted: bool, *, by: str, why: str = "") -> None:
        """Throw it; it is on disk and in force when this returns."""
        async with self._one_at_a_time:
            if demoted:
                self._guard.demote(True)  # before the disk has answered
            await self._follow(await asyncio.to_thread(self._disk.switch.throw, demoted, by=by, why=why))

    async def _follow(self, to: Throw) -> None:
        demoted = to.demoted or self._always
        self._guard.demote(demoted)
        if to != self._last:
            self._last = to
            if to.by:
                self._disk.audit.append("switch", demoted=to.demoted, user=to.by, thrown_at=to.at, text=to.why)
                logger.warning("plant_switch demoted=%s by=%s why=%s", demoted, to.by, to.why)
        if demoted != self._shown:
            self._shown = demoted
            await self._hosted.demote(demoted)
