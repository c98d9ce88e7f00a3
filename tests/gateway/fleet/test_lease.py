"""One member leads a shard at a time, whatever stops, dies or is cut off. The clock of each member is the test's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from lineside_gateway.dispatch import EmbeddedBroker
from lineside_gateway.dispatch.connection import connect
from lineside_gateway.fleet import Leases, Shards, names
from lineside_gateway.fleet.lease import boot_s
from lineside_gateway.settings import ShardSettings

ONE = Shards([ShardSettings(name="all")])
LEASE_S = 0.6


@dataclass
class Clock:
    ahead_s: float = 0.0

    def __call__(self) -> float:
        return boot_s() + self.ahead_s


class One:
    """A member that runs."""

    def __init__(self, redis: Redis, name: str, shards: Shards = ONE, **options: float) -> None:
        self.clock = Clock()
        self.leases = Leases(redis, "line", name, shards, LEASE_S, clock=self.clock, **options)
        self.gains: list[str] = []
        self.holders: list[str] = []
        self.task: asyncio.Task[None] | None = None

    async def gained(self, shard: str) -> None:
        self.gains.append(shard)

    async def elsewhere(self, shard: str) -> None:
        self.holders.append(self.leases.holder(shard))

    def start(self) -> None:
        self.task = asyncio.create_task(self.leases.run(self))

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def die(self) -> None:
        """As SIGKILL does: nothing is given back."""
        self.leases._give_back = _nothing  # noqa: SLF001
        await self.stop()


async def _nothing(*_: object) -> None: ...


@asynccontextmanager
async def members(redis: Redis, *names_: str, shards: Shards = ONE, **options: float) -> AsyncIterator[list[One]]:
    running = [One(redis, name, shards, **options) for name in names_]
    for one in running:
        one.start()
    yield running
    for one in running:
        await one.stop()


async def test_one_of_two_leads_and_the_other_knows_it(redis: Redis, until) -> None:
    """After a lease's time of silence one takes it and keeps it; the other names it."""
    async with members(redis, "a", "b") as both:
        await until(lambda: sum(m.leases.leads("all") for m in both) == 1)
        leader, other = sorted(both, key=lambda m: not m.leases.leads("all"))
        await until(lambda: other.leases.holder("all") == leader.leases.member)
        await asyncio.sleep(1.5 * LEASE_S)
        assert leader.leases.leads("all")
        assert leader.gains == ["all"]


async def test_a_lease_given_back_is_taken_without_waiting_for_its_time(redis: Redis, until) -> None:
    """A member that ends in order leaves at once, and the token grows."""
    async with members(redis, "a") as (a,):
        await until(lambda: a.leases.leads("all"))
        async with members(redis, "b") as (b,):
            await until(lambda: b.leases.holder("all") == "a")
            await a.stop()
            await until(lambda: b.leases.leads("all"))
            assert int(b.leases.token("all")) > int(a.leases.token("all"))


async def test_a_dead_members_lease_is_taken_when_its_time_is_over(redis: Redis, until) -> None:
    """Not before, and soon after."""
    async with members(redis, "a", "b") as both:
        await until(lambda: any(m.leases.leads("all") for m in both))
        leader, other = sorted(both, key=lambda m: not m.leases.leads("all"))
        await until(lambda: other.leases.holder("all"))
        await leader.die()
        left_s = await redis.pttl(names.lease("line", "all")) / 1e3
        assert not other.leases.leads("all")
        died = boot_s()
        await until(lambda: other.leases.leads("all"))
        assert boot_s() - died >= left_s - 0.05


async def test_a_member_that_was_stopped_knows_that_its_time_is_over(redis: Redis, until) -> None:
    """By its own clock, before it has spoken to anybody, and well before another may take over."""
    async with members(redis, "a") as (a,):
        await until(lambda: a.leases.leads("all"))
        a.clock.ahead_s = 0.85 * LEASE_S
        assert not a.leases.leads("all")
        assert await redis.pttl(names.lease("line", "all")) > 0


async def test_a_second_process_of_the_same_name_does_not_lead(redis: Redis, until) -> None:
    """The token tells them apart: a settings file copied with its member name makes no second leader."""
    async with members(redis, "a", "a") as both:
        await until(lambda: any(m.leases.leads("all") for m in both))
        await asyncio.sleep(1.5 * LEASE_S)
        assert sum(m.leases.leads("all") for m in both) == 1


async def test_a_broker_that_has_forgotten_the_lease_makes_everybody_wait(redis: Redis, until) -> None:
    """The new one may not lead before the time of the one it does not know of is over."""
    async with members(redis, "a") as (a,):
        await until(lambda: a.leases.leads("all"))
        await a.die()
        await redis.flushdb()  # a replica that took over without it
        trusted_s = a.leases._standing["all"].trusted_until_s  # noqa: SLF001
        async with members(redis, "b") as (b,):
            await until(lambda: b.leases.leads("all"))
            assert boot_s() > trusted_s


async def test_without_the_broker_nobody_leads(until, unused_tcp_port_factory) -> None:
    """A lost broker ends the lease within its time, and its return begins a new one."""
    broker = EmbeddedBroker(unused_tcp_port_factory()).start()
    client = connect(broker.url)
    try:
        async with members(client, "a") as (a,):
            await until(lambda: a.leases.leads("all"))
            broker.stop()
            await until(lambda: a.holders == [""])
            assert not a.leases.leads("all")
            assert a.leases.holder("all") == ""
            broker.start()
            await until(lambda: a.leases.leads("all"))
    finally:
        broker.stop()
        await client.aclose()


async def test_preferred_members_share_the_shards_and_get_them_back(redis: Redis, until) -> None:
    """Each leads its own; the dead one's goes to the other, and back when it has returned."""
    two = Shards([ShardSettings(name="mills", equipment="A*", prefer="a"), ShardSettings(name="rest", prefer="b")])
    assert [two.of(e) for e in ("A1", "B1", "line-1")] == ["mills", "rest", "rest"]
    async with members(redis, "a", "b", shards=two, return_after_s=0.0) as (a, b):
        await until(lambda: a.leases.leads("mills") and b.leases.leads("rest"))
        await a.die()
        await until(lambda: b.leases.leads("mills"))
        again = One(redis, "a", two, return_after_s=0.0)
        again.start()
        await until(lambda: again.leases.leads("mills") and b.holders[-1:] == ["a"])
        assert b.leases.leads("rest")
        await again.stop()


@pytest.mark.parametrize(
    ("shards", "why"),
    [
        ([{"name": "a", "equipment": "A*"}], "leaves equipment without a shard"),
        ([{"name": "a"}, {"name": "a"}], "is used twice"),
    ],
)
def test_shards_cover_everything_once(shards: list[dict[str, str]], why: str) -> None:
    """Settings with a gap or a double name are refused with the shard's name."""
    from lineside_gateway.settings import FleetSettings

    with pytest.raises(ValueError, match=why):
        FleetSettings.model_validate({"member": "a", "shards": shards})
