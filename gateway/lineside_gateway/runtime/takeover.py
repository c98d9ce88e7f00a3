"""Taking up what was begun before: by an earlier run of this gateway, or by another member of its fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from lineside_gateway.fleet import Entry, Member
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.effects import JobOrderUpdate
from lineside_gateway.guard.guard import Guard
from lineside_gateway.guard.journal import Remembered
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.publish import Fault, HostedServer
from lineside_gateway.runtime.effects import Effects
from lineside_gateway.runtime.feed import Feed
from lineside_gateway.runtime.pipeline import Pipeline
from lineside_gateway.store import Kept

CLOCK_LOOK_S = 0.05


class Resumption:
    """Resumes decisions one by one, as soon as the plant's time is known."""

    def __init__(self, feed: Feed, effects: Effects, begun: Sequence[Remembered] = ()) -> None:
        self._feed = feed
        self._effects = effects
        self._queue: asyncio.Queue[tuple[Remembered, bool]] = asyncio.Queue()
        for remembered in begun:
            self.add(remembered)

    def add(self, remembered: Remembered, *, again: bool = True) -> None:
        """Take ``remembered`` up; without ``again`` it is looked for at the plant and not sent."""
        self._queue.put_nowait((remembered, again))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            remembered, again = await self._queue.get()
            while not self._feed.clock.known:  # noqa: ASYNC110 - any of the servers may tell it
                await asyncio.sleep(CLOCK_LOOK_S)
            self._effects.resume(remembered, again=again)


@dataclass(frozen=True, slots=True)
class Rooms:
    """What a takeover touches."""

    feed: Feed
    guard: Guard
    hosted: HostedServer
    pipeline: Pipeline
    effects: Effects


def take_up(
    group: asyncio.TaskGroup, member: Member | None, line: str, rooms: Rooms, switch: PlantSwitch,
    begun: Sequence[Remembered],
) -> None:  # fmt: skip
    """Resume what an earlier run had ``begun``, in a fleet once its shard is led, and take part in the fleet.

    When the group is cancelled, effects under way stop where they stand.
    """
    group.create_task(rooms.effects.run(), name="effects")
    resumption = Resumption(rooms.feed, rooms.effects, () if member else begun)
    group.create_task(resumption.run(), name="resume")
    if member is not None:
        takeover = Takeover(member, line, rooms, resumption, begun)
        group.create_task(member.run(takeover, switch, rooms.hosted.endpoint, rooms.hosted.uri), name="fleet")


class Takeover:
    """What a member of a fleet does when it gains or loses a shard. ``own``: what its earlier run had begun."""

    def __init__(
        self, member: Member, line: str, rooms: Rooms, resumption: Resumption, own: Sequence[Remembered]
    ) -> None:
        self._member = member
        self._line = line
        self._rooms = rooms
        self._resumption = resumption
        self._own = list(own)

    async def took_over(self, shard: str, begun: Sequence[Entry]) -> None:
        """The guard knows what was done, and what is unfinished is taken up."""
        rooms, journal, shard_of = self._rooms, self._member.journal, self._member.shards.of
        rooms.guard.restore((e.remembered.decision, e.remembered.settled) for e in begun)
        known = {e.remembered.decision.key for e in begun}
        mine = [r for r in self._own if shard_of(r.decision.equipment_id) == shard]
        self._own = [r for r in self._own if r not in mine]
        # What the broker has forgotten another member may have taken up since.
        forgotten = [Entry(r, foreign=True) for r in mine if r.decision.key not in known]
        for entry in (*begun, *forgotten):
            found = entry.remembered
            if not found.settled and not journal.follows(found.decision.key):
                journal.adopt(found)
                self._resumption.add(found, again=not entry.foreign or repeatable(found.decision))
        rooms.pipeline.flushed()

    async def stood_down(self, shard: str) -> None:
        """The nodes say who leads."""
        for equipment_id in (self._line, *(m.id for found in self._rooms.feed.equipment.values() for m in found)):
            if self._member.shards.of(equipment_id) == shard:
                why = self._member.why_not(equipment_id)
                await self._rooms.hosted.fault(None, equipment_id, why, Fault.STANDBY)

    async def handed(self, kept: Sequence[Kept]) -> None:
        """Requests of another member join those of the pipeline, on disk when this returns."""
        await self._rooms.pipeline.adopt(kept)


def repeatable(decision: Decision) -> bool:
    """Whether the plant takes the same writes twice for once: job orders, and commands with an id that it echoes."""
    return all(
        isinstance(e.writes[0], JobOrderUpdate) or (e.acknowledge is not None and e.acknowledge.command_id is not None)
        for e in decision.effects
    )
