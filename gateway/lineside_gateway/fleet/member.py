"""One gateway as a member of its fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from lineside_gateway.dispatch.connection import IO_TIMEOUT_S, LOSSES, connect
from lineside_gateway.fleet.handover import Handover
from lineside_gateway.fleet.lease import Leases
from lineside_gateway.fleet.presence import Presence
from lineside_gateway.fleet.record import Entry, FleetJournal, SharedRecord
from lineside_gateway.fleet.shards import Shards
from lineside_gateway.fleet.switch import SharedSwitch, Switch
from lineside_gateway.guard.journal import Journal, NoJournal
from lineside_gateway.settings.fleet import FleetSettings
from lineside_gateway.store import Kept

LOOK_EVERY_S = 0.5
SEEN_EVERY_S = 2.0


class Successor(Protocol):
    """Who acts on gains and losses; ``Takeover`` in a gateway. All on the event loop."""

    async def took_over(self, shard: str, begun: Sequence[Entry]) -> None:
        """The shard's lease is held, ``begun`` is what was done before; it is led when this returns."""

    async def stood_down(self, shard: str) -> None:
        """It is led by another, or by nobody, by now."""

    async def handed(self, kept: Sequence[Kept]) -> None:
        """Requests that another member could not answer itself; they are in the store when this returns."""


class Member:
    """``Leading`` by lease. ``line`` is the gateway's id, which all members share."""

    def __init__(self, settings: FleetSettings, line: str, url: str, hmac_key: bytes = b"") -> None:
        self.name = settings.member
        self.shards = Shards(settings.shards)
        self._redis = connect(url)
        self.leases = Leases(
            self._redis, line, self.name, self.shards, settings.lease_s, return_after_s=settings.return_after_s
        )
        self.record = SharedRecord(self._redis, line, self.leases, self.shards, hmac_key)
        self.journal = FleetJournal(NoJournal(), self.record, self.shards)
        self._handover = Handover(self._redis, line, hmac_key)
        self._switch = SharedSwitch(self._redis, line, hmac_key)
        self._presence = Presence(self._redis, line, hmac_key)
        self.partners: tuple[str, ...] = ()
        self._successor: Successor | None = None

    # ---- Leading

    def leads(self, equipment_id: str) -> bool:
        """Whether it may write now, by its own clock."""
        return self.leases.leads(self.shards.of(equipment_id))

    def why_not(self, equipment_id: str) -> str:
        """Why it may not, in words; "" where it may."""
        shard = self.shards.of(equipment_id)
        if self.leases.leads(shard):
            return ""
        holder = self.leases.holder(shard)
        if holder and holder != self.name:
            return f"standby: '{holder}' leads shard '{shard}'"
        return f"standby: nobody leads shard '{shard}' yet, or the broker does not answer"

    def led_by_other(self, equipment_id: str) -> bool:
        """Whether another member is known to lead."""
        return self.leases.holder(self.shards.of(equipment_id)) not in {"", self.name}

    def hand_over(self, kept: Kept, done: Callable[[], object]) -> None:
        """Give a request of an earlier run to the member that leads; ``done`` is called when the broker has it."""
        self._handover.give(self.shards.of(kept.request.equipment_id), kept, done)

    def journal_over(self, inner: Journal) -> FleetJournal:
        """The write-back's journal: at the broker first, then ``inner``."""
        self.journal = FleetJournal(inner, self.record, self.shards)
        return self.journal

    # ---- running

    async def run(self, successor: Successor, switch: Switch, endpoint: str, uri: str) -> None:
        """Take part until cancelled; what is led is given back at the end.

        The others learn that this member hosts ``endpoint`` under the ApplicationUri ``uri``; theirs are
        ``partners``.
        """
        self._successor = successor
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.leases.run(self), name="leases")
                group.create_task(self.record.run(), name="marks")
                group.create_task(self._handover.run(), name="handover")
                group.create_task(self._look(successor, switch), name="fleet")
                group.create_task(self._be_seen(endpoint, uri), name="presence")
        finally:
            try:
                await self.record.close()
            finally:
                await self._redis.aclose()

    async def gained(self, shard: str) -> None:
        """What was begun in the shard is loaded before it is led.

        Raises:
            RedisError, OSError: The broker is lost; the shard is not led.
        """
        assert self._successor is not None  # noqa: S101 - run() sets it before the leases run
        await self._successor.took_over(shard, await self.record.load(shard))

    async def elsewhere(self, shard: str) -> None:
        """Stand by."""
        assert self._successor is not None  # noqa: S101 - run() sets it before the leases run
        await self._successor.stood_down(shard)

    async def _look(self, successor: Successor, switch: Switch) -> None:
        """Twice a second: the plant-wide switch is the same for all members, and what is handed over is taken."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                async with asyncio.timeout(IO_TIMEOUT_S):
                    await self._switch.look(switch)
                    for shard in self.shards.names:
                        await self._take(shard, successor)
            except LOSSES:
                continue

    async def _be_seen(self, endpoint: str, uri: str) -> None:
        while True:
            try:
                async with asyncio.timeout(IO_TIMEOUT_S):
                    await self._presence.tell(self.name, endpoint, uri)
                    seen = await self._presence.seen()
                    self.partners = tuple(s.uri for s in seen if s.present and s.member != self.name)
            except LOSSES:
                self.partners = ()
            await asyncio.sleep(SEEN_EVERY_S)

    async def _take(self, shard: str, successor: Successor) -> None:
        while self.leases.leads(shard):
            kept, count = await self._handover.look(shard)
            if not count:
                return
            await successor.handed(kept)
            await self._handover.done(shard, count)
