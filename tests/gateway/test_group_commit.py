from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lineside_gateway.audit import AuditError
from lineside_gateway.group_commit import GroupCommit
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.effects import Effect, TagWrite
from lineside_gateway.guard.journal import SqliteJournal

NOW = datetime(2026, 1, 5, 7, tzinfo=UTC)


def decision(number: int) -> Decision:
    effects = (Effect((TagWrite(f"M{number}", "Reject", value=True),)),)
    until = NOW + timedelta(seconds=30)
    return Decision(True, "tiny", f"M{number}", f"key-{number}", effects=effects, write_by=until, answer_by=until,
                    rules=(0,), decided=NOW)  # fmt: skip


async def test_what_gathers_while_the_disk_works_is_one_group_in_order() -> None:
    """A thousand jobs put at once are written in their order by a few commits."""
    groups: list[list[int]] = []
    writer: GroupCommit[int] = GroupCommit(lambda jobs: groups.append(list(jobs)), "test")
    await asyncio.gather(*(writer.write(i) for i in range(1000)))
    assert writer.close()
    assert [i for g in groups for i in g] == list(range(1000))
    assert len(groups) <= 500  # one each would be a thousand; how many gather depends on the machine


async def test_an_error_reaches_those_of_its_group_and_nobody_else() -> None:
    """Who waits for a group that failed hears why; the next group is written."""
    held: list[int] = []

    def commit(jobs: Sequence[int]) -> None:
        if 13 in jobs:
            raise OSError("no space left on device")
        held.extend(jobs)

    writer: GroupCommit[int] = GroupCommit(commit, "test")
    await writer.write(1)
    with pytest.raises(OSError, match="no space left"):
        await writer.write(13)
    await writer.write(2)
    assert writer.close()
    assert held == [1, 2]
    with pytest.raises(RuntimeError, match="closed"):
        await writer.write(3)


async def test_a_decision_is_on_disk_when_begin_returns(tmp_path: Path) -> None:
    """Of five hundred decisions begun at once, each is in the file for another reader before its write may go out."""
    path = tmp_path / "guard.sqlite"
    synced = [0]
    journal = SqliteJournal(path, first=lambda: synced.__setitem__(0, synced[0] + 1))
    missing: list[str] = []

    async def begin(number: int) -> None:
        await journal.begin(decision(number), (None,))
        with contextlib.closing(sqlite3.connect(path)) as other:
            if not other.execute("SELECT 1 FROM decisions WHERE key=?", (f"key-{number}",)).fetchone():
                missing.append(f"key-{number}")

    await asyncio.gather(*(begin(i) for i in range(500)))
    journal.sent("key-7")
    journal.settled("key-7")
    journal.close()
    assert missing == []
    assert 1 <= synced[0] < 500
    again = SqliteJournal(path)
    loaded = again.load()
    again.close()
    assert [r.decision for r in loaded] == [decision(i) for i in range(500)]
    assert [r.decision.key for r in loaded if r.sent and r.settled] == ["key-7"]


async def test_what_must_be_on_disk_first_and_is_not_refuses_the_decision(tmp_path: Path) -> None:
    """While the audit log cannot be forced to disk no decision is journalled, and so none is written."""
    failing = [True]

    def sync() -> None:
        if failing[0]:
            raise AuditError("the audit log is not on disk")

    journal = SqliteJournal(tmp_path / "guard.sqlite", first=sync)
    with pytest.raises(AuditError, match="not on disk"):
        await journal.begin(decision(1), (None,))
    failing[0] = False
    await journal.begin(decision(2), (None,))
    journal.close()
    again = SqliteJournal(tmp_path / "guard.sqlite")
    assert [r.decision.key for r in again.load()] == ["key-2"]
    again.close()
