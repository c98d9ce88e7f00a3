"""What the guard remembers beyond the end of this process: allowed decisions, on disk before their first write.

One SQLite file, synchronous=FULL. After a restart it says which keys have had their effect, which requests the plant
has not answered yet, and which decision was under way.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from lineside_gateway.errors import LinesideError
from lineside_gateway.group_commit import GroupCommit
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.effects import Acknowledgement, Effect, JobOrderUpdate, TagWrite, Write
from lineside_gateway.guard.refusal import Refusal

KEPT = 100_000  # decisions; a key older than its deadline is refused as late, so they need only outlast one deadline
_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, decision TEXT NOT NULL, answered_at TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0)
"""
_INSERT = "INSERT OR REPLACE INTO decisions (key, decision, answered_at) VALUES (?, ?, ?)"
_SENT, _SETTLED = "UPDATE decisions SET sent=1 WHERE key=?", "UPDATE decisions SET settled=1 WHERE key=?"
_PRUNE = "DELETE FROM decisions WHERE settled=1 AND julianday(json_extract(decision, '$.decided')) < julianday(?)"
_PRUNE = "DELETE FROM decisions WHERE number <= (SELECT max(number) FROM decisions) - ?"
_Statement: TypeAlias = tuple[str, tuple[str, ...]]


class JournalError(LinesideError):
    """The guard's journal cannot be used; nothing is written to the plant without it."""


class FencedError(LinesideError):
    """A decision must not be carried out here: another gateway leads, or has begun it. ``refusal`` is its code."""

    def __init__(self, sentence: str, refusal: Refusal) -> None:
        super().__init__(sentence)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Remembered:
    """One decision of an earlier run. ``answered_at`` holds per effect the count at which the plant has answered."""

    decision: Decision
    answered_at: tuple[int | None, ...] = ()
    sent: bool = False
    settled: bool = False


class Journal(Protocol):
    """Where write-back notes a decision before it acts on it."""

    async def begin(self, decision: Decision, answered_at: tuple[int | None, ...]) -> None:
        """Put the decision on disk; nothing of it has been written yet.

        Raises:
            LinesideError: It is not on disk, so it must not be carried out.
        """

    def sent(self, key: str) -> None:
        """All its writes were taken; the plant's answer may be open."""

    def settled(self, key: str) -> None:
        """Nothing more will come of it."""


class NoJournal:
    """For closed loops in simulation, where a restart is not part of the plant."""

    async def begin(self, decision: Decision, answered_at: tuple[int | None, ...]) -> None:
        """Remember nothing."""

    def sent(self, key: str) -> None:
        """Remember nothing."""

    def settled(self, key: str) -> None:
        """Remember nothing."""


def _nothing_first() -> None:
    """No other file has to be on disk before the journal."""


class SqliteJournal:
    """The journal in ``path``. Decisions that are made while the disk is at work share the next commit.

    ``first`` is called, in the thread that writes, before decisions are committed: what it raises refuses them. The
    gateway forces its audit log to disk there.

    Raises:
        JournalError: The file cannot be opened as a journal.
    """

    def __init__(self, path: Path, first: Callable[[], None] = _nothing_first) -> None:
        self._path = path
        self._first = first
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as e:
            raise JournalError(
                f"the guard's journal {path} cannot be used: {e}; nothing is written to the plant without it: correct "
                "gateway.data_dir, or move the file away",
                repr(e),
            ) from e
        self._writer: GroupCommit[_Statement] = GroupCommit(self._commit, "guard journal")

    def load(self) -> list[Remembered]:
        """Every decision kept, oldest first.

        Raises:
            JournalError: The file is damaged.
        """
        try:
            rows = self._db.execute("SELECT decision, answered_at, sent, settled FROM decisions ORDER BY number")
            return [
                Remembered(decision_of(json.loads(d)), tuple(json.loads(a)), bool(sent), bool(settled))
                for d, a, sent, settled in rows
            ]
        except (sqlite3.Error, ValueError, KeyError, TypeError) as e:
            raise JournalError(f"the guard's journal {self._path} is damaged: {e}; move it away", repr(e)) from e

    async def begin(self, decision: Decision, answered_at: tuple[int | None, ...]) -> None:
        """Put the decision on disk.

        Raises:
            JournalError: The disk takes no more.
        """
        row = (decision.key, json.dumps(plain(decision)), json.dumps(answered_at))
        try:
            await self._writer.write((_INSERT, row))
        except (sqlite3.Error, RuntimeError) as e:
            raise JournalError(f"the guard's journal {self._path} takes no decision: {e}; free the disk") from e

    def sent(self, key: str) -> None:
        """Note that all writes were taken."""
        self._mark(_SENT, key)

    def settled(self, key: str) -> None:
        """Note that nothing more will come of it."""
        self._mark(_SETTLED, key)

    def prune(self, before: datetime) -> None:
        """Remove settled decisions of before then, in event time."""
        self._writer.put((_PRUNE, (before.isoformat(),)))

    def close(self) -> None:
        """Finish what was asked for and close the file."""
        if self._writer.close():
            self._db.close()

    def _commit(self, statements: Sequence[_Statement]) -> None:
        decided = any(sql == _INSERT for sql, _ in statements)
        if decided:
            self._first()
        try:
            self._db.execute("BEGIN")
            for sql, row in statements:
                self._db.execute(sql, row)
            if decided:
                self._db.execute(_PRUNE, (KEPT,))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if decided:
                raise

    def _mark(self, statement: str, key: str) -> None:
        # A mark that is lost costs a second look at the plant after a restart, never a second write.
        self._writer.put((statement, (key,)))


def plain(decision: Decision) -> dict[str, object]:
    """An allowed decision as plain JSON values."""
    times = {"decided": decision.decided, "write_by": decision.write_by, "answer_by": decision.answer_by}
    return {
        "task": decision.task,
        "equipment_id": decision.equipment_id,
        "key": decision.key,
        "rules": decision.rules,
        **{name: at.isoformat() if at else None for name, at in times.items()},
        "effects": [
            {
                "writes": [asdict(w) for w in e.writes],
                "acknowledge": asdict(e.acknowledge) if e.acknowledge else None,
                "read_back": e.read_back,
            }
            for e in decision.effects
        ],
    }


def decision_of(row: Mapping[str, Any]) -> Decision:
    """The decision that ``plain`` has written.

    Raises:
        KeyError, TypeError, ValueError: The row is damaged.
    """
    effects = tuple(
        Effect(
            tuple(_write(w) for w in e["writes"]),
            Acknowledgement(**e["acknowledge"]) if e["acknowledge"] else None,
            e["read_back"],
        )
        for e in row["effects"]
    )
    return Decision(
        True,
        row["task"],
        row["equipment_id"],
        row["key"],
        effects=effects,
        write_by=_time(row["write_by"]),
        answer_by=_time(row["answer_by"]),
        rules=tuple(row["rules"]),
        decided=_time(row["decided"]),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _write(row: Mapping[str, Any]) -> Write:
    return JobOrderUpdate(**row) if "job_order_id" in row else TagWrite(**row)
