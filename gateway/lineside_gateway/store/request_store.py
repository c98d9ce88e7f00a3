"""Requests in one SQLite file (WAL, synchronous=FULL): a gateway that dies takes up where it stood.

What has gathered while the disk was at work goes into one commit. What is on disk is bounded by bytes: beyond them,
and while the disk takes no more, requests are answered as ever and a restart forgets them; they are counted as
``not_kept``. Nothing older than ``max_age_s`` is taken up again.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lineside_gateway.errors import LinesideError
from lineside_gateway.group_commit import GroupCommit
from lineside_gateway.ingest import Request
from lineside_gateway.store.rows import SCHEMA, Row, request_of, row_of
from lineside_plugins.types import ContractError

logger = logging.getLogger(__name__)

MAX_BYTES = 1 << 30
MAX_AGE_S = 24 * 3600.0
_PUT = "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM requests WHERE number=?"


class StoreError(LinesideError):
    """The store cannot be opened; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A request of an earlier run; its answer is of no use after ``expires_at`` (wall clock, seconds since 1970)."""

    request: Request
    expires_at: float


class Store(Protocol):
    """What the pipeline needs of whoever keeps its requests. Called on the event loop; nothing blocks it."""

    def put(self, request: Request, expires_at: float) -> None:
        """Keep ``request`` until it is settled."""

    async def durable(self) -> None:
        """Return when all that was put is on disk, or known not to be kept."""

    def settle(self, request: Request) -> None:
        """Forget ``request``: it has come to its end."""


class NoStore:
    """For closed loops in simulation, where a restart is not part of the plant."""

    def put(self, request: Request, expires_at: float) -> None:
        """Keep nothing."""

    async def durable(self) -> None:
        """Nothing to wait for."""

    def settle(self, request: Request) -> None:
        """Nothing to forget."""


_Job = tuple[Request, float] | int


class RequestStore:
    """The store in ``path``. ``put``, ``durable`` and ``settle`` belong to one event loop.

    ``counts``: kept, settled, not_kept, commits. Requests of this run are numbered on from those found in the file.

    Raises:
        StoreError: The file cannot be opened as a store, or is damaged.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, max_age_s: float = MAX_AGE_S) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._numbers: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._failing = False
        self._gone: list[int] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", SCHEMA):
                self._db.execute(statement)
            self.kept = self._load(time.time() - max_age_s)
        except (OSError, sqlite3.Error) as e:
            raise StoreError(
                f"the request store {path} cannot be used: {e}; correct gateway.data_dir, or move the file away",
                repr(e),
            ) from e
        self._writer: GroupCommit[_Job] = GroupCommit(self._write, "request store")

    def _load(self, oldest: float) -> tuple[Kept, ...]:
        self._db.execute("DELETE FROM requests WHERE kept_at < ?", (oldest,))
        found: list[Kept] = []
        damaged: list[tuple[int]] = []
        self._next = 1
        for row in self._db.execute("SELECT * FROM requests ORDER BY number").fetchall():
            number = int(row[0])
            self._next = number + 1
            try:
                request, expires_at = request_of(row, request_id=-number)
            except (ContractError, ValueError, TypeError) as e:
                logger.error("stored_request_damaged number=%d error=%s", number, e)  # noqa: TRY400 - says all
                damaged.append((number,))
                continue
            found.append(Kept(request, expires_at))
            self._numbers[request.id] = number
            self._grow(number, len(row[-1]))
        self._db.executemany(_DELETE, damaged)
        return tuple(found)

    # ---- the event loop's side

    def put(self, request: Request, expires_at: float) -> None:
        """Keep ``request`` until it is settled; ``expires_at`` is wall clock, seconds since 1970."""
        self._numbers[request.id] = self._next
        self._next += 1
        self._writer.put((request, expires_at))

    async def durable(self) -> None:
        """Return when all that was put is on disk, or known not to be kept."""
        await self._writer.write()

    def settle(self, request: Request) -> None:
        """Forget ``request``. Lost in a crash, this costs an answer that the guard's memory of keys turns away."""
        number = self._numbers.pop(request.id, None)
        if number is not None:
            self._writer.put(number)

    def __len__(self) -> int:
        """Requests put and not settled."""
        return len(self._numbers)

    def close(self) -> None:
        """Write what was asked for, and close the file."""
        if self._writer.close():
            self._db.close()

    # ---- the thread's side

    def _write(self, jobs: Sequence[_Job]) -> None:
        rows = self._rows([j for j in jobs if isinstance(j, tuple)])
        self._gone += [j for j in jobs if isinstance(j, int)]
        if rows or self._gone:
            self._commit(rows)

    def _rows(self, requests: Sequence[tuple[Request, float]]) -> list[Row]:
        """What is to be inserted; a request settled meanwhile has no number any more."""
        rows: list[Row] = []
        for request, expires_at in requests:
            number = self._numbers.get(request.id)
            if number is None:
                continue
            row = row_of(number, request, expires_at, time.time())
            if self._bytes + len(row[-1]) > self._max_bytes:
                self.counts["not_kept"] += 1
                self._tell(f"{self._bytes} of {self._max_bytes} bytes are in use")
                continue
            self._grow(number, len(row[-1]))
            rows.append(row)
        return rows

    def _grow(self, number: int, size: int) -> None:
        self._sizes[number] = size
        self._bytes += size

    def _shrink(self, number: int) -> bool:
        size = self._sizes.pop(number, None)
        self._bytes -= size or 0
        return size is not None

    def _commit(self, rows: Sequence[Row]) -> None:
        try:
            self._db.execute("BEGIN")
            self._db.executemany(_PUT, rows)
            self._db.executemany(_DELETE, [(n,) for n in self._gone])
            self._db.execute("COMMIT")
        except sqlite3.Error as e:  # what is to be deleted is tried again with the next commit
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            self.counts["not_kept"] += len(rows)
            for row in rows:
                self._shrink(row[0])
            self._tell(str(e))
            return
        gone, self._gone = self._gone, []
        self.counts.update(kept=len(rows), settled=sum(self._shrink(n) for n in gone), commits=1)
        if rows and self._failing:
            self._failing = False
            logger.warning("store_keeps_again path=%s", self.path)

    def _tell(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            logger.error("store_keeps_nothing path=%s why=%s: free the disk or raise store.max_mb", self.path, why)
