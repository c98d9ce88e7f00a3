"""What the gateway keeps on disk: open requests, the guard's journal, audit log, switch, history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lineside_gateway.audit import AuditLog
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


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Open while the gateway runs."""

    journal: SqliteJournal
    store: RequestStore
    audit: AuditLog
    switch: PlantSwitch
    history: HistoryStore


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
        journal = SqliteJournal(folder / JOURNAL, first=audit.sync)  # all audit lines before a write are on disk
        opened.callback(journal.close)
        size, age = settings.store.max_mb * 2**20, settings.store.max_age_h * 3600
        store = RequestStore(folder / REQUESTS, max_bytes=size, max_age_s=age)
        opened.callback(store.close)
        history = HistoryStore(folder / HISTORY, 3600.0 * settings.gateway.history_h)
        opened.callback(history.close)
        yield OnDisk(journal, store, audit, PlantSwitch(folder), history)
