"""What the gateway keeps on disk: open requests, the guard's journal, audit log, switch, history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lineside_gateway.audit import AuditLog
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.journal import SqliteJournal
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.publish import HistoryStore
from lineside_gateway.settings import Settings
from lineside_gateway.store import RequestStore

JOURNAL = "guard.sqlite"
HISTORY = "history.sqlite"
REQUESTS = "requests.sqlite"
AUDIT = "audit"


def audit_folder(settings: Settings) -> Path:
    """Where the gateway of ``settings`` keeps its audit log."""
    return settings.gateway.data_dir / AUDIT


class AuditedJournal:
    """The write-back's journal: a decision and every audit line before it are on disk before its first write."""

    def __init__(self, journal: SqliteJournal, audit: AuditLog) -> None:
        self._journal = journal
        self._audit = audit

    async def begin(self, decision: Decision, answered_at: tuple[int | None, ...]) -> None:
        """Put both on disk.

        Raises:
            LinesideError: One of them is not on disk; the decision must not be carried out.
        """
        await self._journal.begin(decision, answered_at)
        await asyncio.to_thread(self._audit.sync)

    def sent(self, key: str) -> None:
        """All its writes were taken."""
        self._journal.sent(key)

    def settled(self, key: str) -> None:
        """Nothing more will come of it."""
        self._journal.settled(key)


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Open while the gateway runs."""

    journal: SqliteJournal
    store: RequestStore
    audit: AuditLog
    switch: PlantSwitch
    history: HistoryStore

    @property
    def audited_journal(self) -> AuditedJournal:
        """The journal as write-back sees it."""
        return AuditedJournal(self.journal, self.audit)


@contextmanager
def on_disk(settings: Settings) -> Iterator[OnDisk]:
    """Open everything below ``data_dir``; closed, and forced to disk, at the end.

    Raises:
        LinesideError: The folder cannot be used, or another gateway uses it.
    """
    folder = settings.gateway.data_dir
    audit = AuditLog(
        audit_folder(settings),
        keep=timedelta(days=settings.audit.keep_days),
        rotate_bytes=settings.audit.rotate_mb * 2**20,
    )
    with ExitStack() as opened:
        opened.callback(audit.close)
        journal = SqliteJournal(folder / JOURNAL)
        opened.callback(journal.close)
        size, age = settings.store.max_mb * 2**20, settings.store.max_age_h * 3600
        store = RequestStore(folder / REQUESTS, max_bytes=size, max_age_s=age)
        opened.callback(store.close)
        history = HistoryStore(folder / HISTORY, 3600.0 * settings.gateway.history_h)
        opened.callback(history.close)
        yield OnDisk(journal, store, audit, PlantSwitch(folder), history)
