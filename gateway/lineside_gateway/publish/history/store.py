"""Recommendations and events of the last hours in one SQLite file, written by a thread of its own.

Times are microseconds since 1970 UTC. A row that a crash takes away is a row of history, no effect on the plant: the
file is written with synchronous=NORMAL, once a second.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary, variant_to_binary

from lineside_gateway.errors import LinesideError
from lineside_gateway.publish.conditions.event import Path as FieldPath
from lineside_gateway.publish.fields import Field, FieldType
from lineside_plugins.types import Reason

PRUNE_EVERY_S = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS shown (
    number INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, time_us INTEGER NOT NULL, place TEXT NOT NULL,
    fresh INTEGER NOT NULL, status INTEGER NOT NULL, cells TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS shown_by_place ON shown (place, number);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, condition TEXT NOT NULL, fields TEXT NOT NULL);
"""


class HistoryError(LinesideError):
    """The history file cannot be used; the hosted server runs without one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one recommendation's nodes showed: ``fresh`` where it was new, else only its state had moved."""

    at_us: int
    time_us: int
    fresh: bool
    status: int
    cells: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One event with its number, the identifier of its condition, and its fields."""

    number: int
    condition: str
    fields: Mapping[FieldPath, ua.Variant]


class HistoryStore:
    """The history in ``path``, ``keep_s`` seconds of it. Called from the event loop; reads see all that was added.

    Raises:
        HistoryError: The file cannot be opened.
    """

    def __init__(self, path: Path, keep_s: float) -> None:
        self._keep_us = round(1e6 * keep_s)
        self._shown: list[tuple[object, ...]] = []
        self._events: list[tuple[object, ...]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._pruned = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as e:
            raise HistoryError(f"the history {path} cannot be used: {e}; move it away", repr(e)) from e

    def add(self, place: str, row: Shown) -> None:
        """Keep what the nodes of ``place`` (task and equipment) show now."""
        cells = json.dumps({name: _plain(value) for name, value in row.cells.items() if value is not None})
        self._shown.append((row.at_us, row.time_us, place, row.fresh, row.status, cells))

    def add_event(self, at_us: int, condition: str, fields: Mapping[FieldPath, ua.Variant]) -> None:
        """Keep one event of a condition; namespace 0 is the base namespace, every other is Lineside's own."""
        rows = [
            [[n for _, n in path], path[0][0] != 0, base64.b64encode(variant_to_binary(v)).decode()]
            for path, v in fields.items()
            if v.Value is not None
        ]
        self._events.append((at_us, condition, json.dumps(rows)))

    async def flush(self) -> None:
        """Write what was added."""
        shown, events = self._shown, self._events
        if shown or events:
            self._shown, self._events = [], []
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, shown, events)

    async def shown(self, place: str, *, fresh_only: bool) -> list[Shown]:
        """Everything kept of ``place``, in the order it was shown."""
        await self.flush()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_shown, place, fresh_only)

    async def events(self, early_us: int, late_us: int, namespace: int) -> list[PastEvent]:
        """Events with ``early_us`` <= at <= ``late_us``, oldest first."""
        await self.flush()
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._read_events, early_us, late_us, namespace
        )

    def close(self) -> None:
        """Write the rest and close the file."""
        self._thread.submit(self._write, self._shown, self._events)
        self._thread.shutdown(wait=True)
        self._db.close()

    def _write(self, shown: Sequence[tuple[object, ...]], events: Sequence[tuple[object, ...]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO shown (at_us, time_us, place, fresh, status, cells) VALUES (?, ?, ?, ?, ?, ?)", shown
        )
        self._db.executemany("INSERT INTO events (at_us, condition, fields) VALUES (?, ?, ?)", events)
        if time.monotonic() - self._pruned > PRUNE_EVERY_S:
            self._pruned = time.monotonic()
            oldest = (time.time_ns() // 1000 - self._keep_us,)
            self._db.execute("DELETE FROM shown WHERE at_us < ?", oldest)
            self._db.execute("DELETE FROM events WHERE at_us < ?", oldest)
        self._db.execute("COMMIT")

    def _read_shown(self, place: str, fresh_only: bool) -> list[Shown]:
        oldest = time.time_ns() // 1000 - self._keep_us
        rows = self._db.execute(
            "SELECT at_us, time_us, fresh, status, cells FROM shown "
            "WHERE place = ? AND fresh >= ? AND at_us >= ? ORDER BY number",
            (place, int(fresh_only), oldest),
        )
        return [
            Shown(at, at_time, bool(fresh), status, json.loads(cells)) for at, at_time, fresh, status, cells in rows
        ]

    def _read_events(self, early_us: int, late_us: int, namespace: int) -> list[PastEvent]:
        oldest = time.time_ns() // 1000 - self._keep_us
        rows = self._db.execute(
            "SELECT number, condition, fields FROM events WHERE at_us BETWEEN ? AND ? ORDER BY number",
            (max(early_us, oldest), late_us),
        )
        return [PastEvent(number, condition, _fields(fields, namespace)) for number, condition, fields in rows]


def cell_value(shown: Field, kept: object) -> object:
    """A kept value as the cell held it."""
    if shown.field_type is FieldType.REASONS and isinstance(kept, list):
        return tuple(Reason(str(tag), float(weight), str(text)) for tag, weight, text in kept)
    if shown.field_type is FieldType.DATE_TIME and isinstance(kept, str):
        return datetime.fromisoformat(kept)
    return kept


def _fields(text: str, namespace: int) -> dict[FieldPath, ua.Variant]:
    return {
        tuple((namespace if own else 0, name) for name in names): variant_from_binary(Buffer(base64.b64decode(data)))
        for names, own, data in json.loads(text)
    }


def texts(fields: str) -> list[str]:
    """Every text in the fields of a kept event."""
    values = (v.Value for v in _fields(fields, 1).values())
    return [
        str(v.Text) if isinstance(v, ua.LocalizedText) else v for v in values if isinstance(v, str | ua.LocalizedText)
    ]


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [[r.tag, r.weight, r.text] for r in value if isinstance(r, Reason)]
    return value.isoformat() if isinstance(value, datetime) else value
