"""What a successor finds at the broker: the switch and the decisions of the one that led, and nothing of a stranger."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from lineside_gateway.fleet import Leases, Shards, SharedRecord, names
from lineside_gateway.fleet.switch import SharedSwitch
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.effects import Effect, TagWrite
from lineside_gateway.guard.journal import FencedError
from lineside_gateway.guard.refusal import Refusal
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.settings import ShardSettings

KEY = b"secret"
SHARDS = Shards([ShardSettings(name="all")])
NOW = datetime.now(UTC)


def decision(key: str) -> Decision:
    return Decision(
        True, "maintenance", "M1", key, effects=(Effect((TagWrite("M1", "Request", True),)),), rules=(0,), decided=NOW,
        write_by=NOW + timedelta(seconds=30), answer_by=NOW + timedelta(hours=1),
    )  # fmt: skip


@pytest.fixture
async def record(redis: Redis) -> AsyncIterator[Callable[..., SharedRecord]]:
    """Makes the record as a member sees it."""
    made: list[SharedRecord] = []

    def make(member: str, key: bytes = KEY) -> SharedRecord:
        made.append(SharedRecord(redis, "line", Leases(redis, "line", member, SHARDS, 5.0), SHARDS, key))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def lead(redis: Redis, member: str) -> None:
    await redis.hset(names.lease("line", "all"), mapping={"member": member, "token": ""})


async def test_only_the_one_that_holds_the_lease_begins_and_each_key_once(
    redis: Redis, record: Callable[..., SharedRecord]
) -> None:
    """The other is refused by the broker, whatever it believes; the successor finds what was begun."""
    await lead(redis, "a")
    a, b = record("a"), record("b")
    await a.begin(decision("k1"), (None,))
    with pytest.raises(FencedError, match="'a' leads") as fenced:
        await b.begin(decision("k2"), (None,))
    assert fenced.value.refusal is Refusal.LEASE
    await lead(redis, "b")
    with pytest.raises(FencedError, match="begun before") as twice:
        await b.begin(decision("k1"), (None,))
    assert twice.value.refusal is Refusal.DUPLICATE
    (entry,) = await b.load("all")
    assert (entry.remembered.decision, entry.foreign, entry.remembered.sent) == (decision("k1"), True, False)


async def test_as_many_decisions_as_there_are_begin_at_once(redis: Redis, record: Callable[..., SharedRecord]) -> None:
    """A line with hundreds of writes in one moment has all of them noted; no bound on connections refuses one."""
    await lead(redis, "a")
    a = record("a")
    await asyncio.gather(*(a.begin(decision(f"k{number}"), (None,)) for number in range(300)))
    assert len(await a.load("all")) == 300


async def test_a_strangers_decision_is_not_taken_up(redis: Redis, record: Callable[..., SharedRecord]) -> None:
    """With a key set, a decision that was not signed with it, or moved to another key, is left alone."""
    await lead(redis, "a")
    await record("a", b"").begin(decision("forged"), (None,))
    await record("a").begin(decision("mine"), (None,))
    name = names.effects("line", "all")
    await redis.hset(name, "d:moved", await redis.hget(name, "d:mine"))
    assert [e.remembered.decision.key for e in await record("b").load("all")] == ["mine"]


async def test_the_switch_thrown_at_one_holds_all_and_a_stranger_cannot_give_it_back(
    redis: Redis, tmp_path: Path
) -> None:
    """Each member's own file follows; an unsigned release is overwritten."""
    files = {m: PlantSwitch(tmp_path / m) for m in "ab"}
    shared = {m: SharedSwitch(redis, "line", KEY) for m in "ab"}
    for _ in range(2):
        for m in "ab":
            await shared[m].look(files[m])
    files["a"].throw(True, by="anna", why="no crew")
    for m in "ab":
        await shared[m].look(files[m])
    assert files["b"].read().demoted
    await redis.set(names.switch("line"), ' {"demoted": false, "by": "eve", "at": "9", "why": ""}')
    for m in "ab":
        await shared[m].look(files[m])
    assert files["a"].read().demoted
    assert files["b"].read().demoted
    files["b"].throw(False, by="ben")
    for m in "ba":
        await shared[m].look(files[m])
    assert not files["a"].read().demoted
    with contextlib.suppress(FileNotFoundError):
        assert files["a"].read().by == "ben"
