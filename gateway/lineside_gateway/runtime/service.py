"""How much a client may count on this gateway: ServiceLevel and partners as in OPC UA redundancy, and what is wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lineside_gateway.fleet import Member
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.session import LinkState
from lineside_gateway.publish import HostedServer
from lineside_gateway.runtime.worker_watch import WorkerWatch

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
NO_DATA, STANDBY, DEGRADED, HEALTHY, FULL = 1, 100, 199, 200, 255
"""OPC UA Part 4, 6.6.2.4.2: 1 no data, 2 to 199 degraded, 200 to 255 healthy. A standby's nodes are Bad, so it stands
below a leader that lacks something."""


@dataclass(frozen=True, slots=True)
class Strength:
    """What stands behind this gateway: servers it reads, whether each task has broker and worker, shards it leads."""

    connected: int
    servers: int
    backed: bool
    led: int = 1
    shards: int = 1

    @property
    def level(self) -> int:
        """Its ServiceLevel."""
        if self.servers and not self.connected:
            return NO_DATA
        if not self.led:
            return STANDBY
        if not self.backed or self.connected < self.servers:
            return DEGRADED
        return HEALTHY + (FULL - HEALTHY) * self.led // self.shards


class Service:
    """Shows ServiceLevel and problems twice a second.

    Args:
        links: The servers read.
        watch: Which task has a worker.
        hosted: Where they are shown.
        member: None where there is no fleet.
        idle: One sentence for each task that cannot run at all.
    """

    def __init__(
        self,
        links: Sequence[ServerLink],
        watch: WorkerWatch,
        hosted: HostedServer,
        member: Member | None,
        idle: Callable[[], Sequence[str]],
    ) -> None:
        self._links = links
        self._watch = watch
        self._hosted = hosted
        self.member = member
        self._idle = idle
        self._told: set[str] = set()

    @property
    def level(self) -> int:
        """At this moment."""
        connected = sum(link.status.state is LinkState.CONNECTED for link in self._links)
        shards = self.member.shards.names if self.member else ("",)
        led = sum(self.member is None or self.member.leases.leads(shard) for shard in shards)
        return Strength(connected, len(self._links), self._watch.backed, led, len(shards)).level

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._hosted.show_service(self.level, self.member.partners if self.member else ())
            await self._hosted.show_problems(self._problems())
            await asyncio.sleep(LOOK_EVERY_S)

    def _problems(self) -> tuple[str, ...]:
        """Each in one sentence; links and watch have logged theirs."""
        idle = self._idle()
        for sentence in idle:
            if sentence not in self._told:
                self._told.add(sentence)
                logger.error("task_idle %s", sentence)
        away = (link.status for link in self._links if link.status.state is not LinkState.CONNECTED)
        return (*(f"server '{s.server}': {s.error or s.state.value}" for s in away), *self._watch.missing, *idle)
