"""``lineside forget``: what a gateway has recorded of an operator, a machine or a span of time is removed.

The gateway is stopped meanwhile: the audit log's lock says so. The order is such that a crash in between is mended by
asking again: the audit log, which knows the operator's comments, comes last.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from lineside_gateway.audit import AuditLog, entries, redact
from lineside_gateway.audit.log import files
from lineside_gateway.privacy import recordings
from lineside_gateway.privacy.pseudonyms import KEY_FILE, PrivacyError, Pseudonyms

_OPENED = "PRAGMA secure_delete=ON"  # freed pages are overwritten, not just unlinked


@dataclass(frozen=True, slots=True)
class Subject:
    """What to forget. What is given has to fit all together; ``since`` <= time < ``before``, wall clock, aware.

    ``names`` are the operator's name and pseudonym; ``forget`` finds the latter.
    """

    operator: str = ""
    equipment_id: str = ""
    since: datetime | None = None
    before: datetime | None = None
    names: frozenset[str] = frozenset()

    def fits(self, at: datetime, machines: Collection[str], words: Callable[[], Collection[str]]) -> bool:
        """Whether something of ``at`` about ``machines`` is meant; ``words()`` are the texts it holds."""
        timely = (self.since is None or at >= self.since) and (self.before is None or at < self.before)
        there = not self.equipment_id or self.equipment_id in machines
        return timely and there and (not self.operator or not self.names.isdisjoint(words()))


@dataclass(slots=True)
class Forgotten:
    """How much was removed from where, and what was left with the reason."""

    removed: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def forget(data_dir: Path, subject: Subject, *, by: str, recorded: Path | None = None) -> Forgotten:
    """Remove what the gateway of ``data_dir`` recorded of ``subject``, and Parquet files below ``recorded``.

    ``by`` is who asked; the audit log says so.

    Raises:
        AuditError: The gateway runs, or its audit log is damaged.
        PrivacyError: Nothing is named, or a file cannot be changed.
    """
    if not (subject.operator or subject.equipment_id or subject.since or subject.before):
        raise PrivacyError("nothing is named; give --operator, --equipment, --since or --before")
    audit, report = data_dir / "audit", Forgotten()
    names = {subject.operator}
    pseudonyms = Pseudonyms.of_folder(data_dir) if (data_dir / KEY_FILE).exists() else None
    if pseudonyms is not None:
        names.add(pseudonyms.operator(subject.operator))
    meant = replace(subject, names=frozenset(names - {""}))
    if files(audit):
        AuditLog(audit).close()  # nobody else writes here: the gateway is stopped
    wrote = replace(meant, names=meant.names | _comments(audit, meant))
    try:
        report.removed["labels"] = _labels(data_dir / "labels.jsonl", meant)
        report.removed["history"] = _history(data_dir / "history.sqlite", wrote)
        report.removed["decisions"] = _decisions(data_dir / "guard.sqlite", meant, report)
        report.removed["requests"] = _requests(data_dir / "requests.sqlite", meant)
        _switch(data_dir / "advisory.json", meant)
        if recorded is not None:
            report.removed["recorded rows"] = recordings.remove(recorded, meant.fits, by_words=bool(meant.operator))
    except (OSError, sqlite3.Error, ValueError) as e:
        raise PrivacyError(f"not everything is forgotten yet: {e}; mend it and ask again") from e
    asked = {"operator": bool(subject.operator), "equipment": bool(subject.equipment_id)}
    span = {"since": subject.since, "before": subject.before}
    report.removed["audit lines"] = redact(audit, lambda row: _of_audit(row, meant), what={"by": by, **asked, **span})
    return report


def _comments(audit: Path, subject: Subject) -> frozenset[str]:
    """What the operator wrote: the nodes of a recommendation show it without his name."""
    if not subject.operator or not files(audit):
        return frozenset()
    said = (str(row.get(k, "")) for row in entries(audit) if _of_audit(row, subject) for k in ("comment", "text"))
    return frozenset(text for text in said if text)


def _of_audit(row: Mapping[str, object], subject: Subject) -> bool:
    writes = row.get("writes")
    machines = {str(row.get("equipment_id"))}
    if isinstance(writes, list):
        machines |= {str(w.get("equipment_id")) for w in writes}
    return subject.fits(datetime.fromisoformat(str(row["at"])), machines, lambda: {str(row.get("user"))})


def _labels(path: Path, subject: Subject) -> int:
    if not path.exists():
        return 0
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not _of_label(line, subject)]
    if len(kept) < len(lines):
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        fresh.replace(path)
    return len(lines) - len(kept)


def _of_label(line: str, subject: Subject) -> bool:
    row = json.loads(line)
    return subject.fits(datetime.fromisoformat(row["at"]), {row["equipment_id"]}, lambda: {row["user"]})


def _history(path: Path, subject: Subject) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as db:
        db.execute(_OPENED)
        shown = [
            number
            for number, at_us, place, cells in db.execute("SELECT number, at_us, place, cells FROM shown")
            if subject.fits(_time(at_us / 1e6), place.split("|"), partial(_cells, cells))
        ]
        events = [
            number
            for number, at_us, condition, fields in db.execute("SELECT number, at_us, condition, fields FROM events")
            if subject.fits(_time(at_us / 1e6), re.split("[./]", condition), partial(_event, fields))
        ]
        db.executemany("DELETE FROM shown WHERE number=?", [(n,) for n in shown])
        db.executemany("DELETE FROM events WHERE number=?", [(n,) for n in events])
        _finish(db)
    return len(shown) + len(events)


def _event(fields: str) -> Collection[str]:
    """What an event says, its values being encoded as OPC UA Variants in base64."""
    from lineside_gateway.publish.history.store import texts  # noqa: PLC0415 - asyncua takes a second to import

    return texts(fields)


def _cells(cells: str) -> Collection[str]:
    """What the nodes of a recommendation showed."""
    return texts_in(json.loads(cells))


def texts_in(value: object) -> set[str]:
    """Every text in plain JSON, however deep."""
    if isinstance(value, str):
        return {value}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {text for part in parts for text in texts_in(part)}


def _decisions(path: Path, subject: Subject, report: Forgotten) -> int:
    if not path.exists() or subject.operator:
        return 0  # the guard's journal names no operator
    with closing(sqlite3.connect(path)) as db:
        db.execute(_OPENED)
        rows = db.execute("SELECT number, decision, settled FROM decisions").fetchall()
        hits = [(n, settled) for n, decision, settled in rows if _of_decision(json.loads(decision), subject)]
        db.executemany("DELETE FROM decisions WHERE number=?", [(n,) for n, settled in hits if settled])
        _finish(db)
    still = sum(not settled for _, settled in hits)
    if still:
        report.left.append(f"{still} decisions the plant has not answered yet; ask again when they are settled")
    return len(hits) - still


def _of_decision(row: Mapping[str, str], subject: Subject) -> bool:
    return subject.fits(datetime.fromisoformat(row["decided"]), {row["equipment_id"]}, set)


def _requests(path: Path, subject: Subject) -> int:
    if not path.exists() or subject.operator:
        return 0  # a request is a window of tags
    with closing(sqlite3.connect(path)) as db:
        db.execute(_OPENED)
        hits = [n for n, at, machine in db.execute("SELECT number, kept_at, equipment_id FROM requests")
                if subject.fits(_time(at), {machine}, set)]  # fmt: skip
        db.executemany("DELETE FROM requests WHERE number=?", [(n,) for n in hits])
        _finish(db)
    return len(hits)


def _switch(path: Path, subject: Subject) -> None:
    """The plant-wide switch stays as it stands; who threw it, and why, is forgotten."""
    if subject.operator and path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("by") in subject.names:
            path.write_text(json.dumps({**found, "by": "", "why": ""}), encoding="utf-8")


def _finish(db: sqlite3.Connection) -> None:
    """Nothing of what was deleted stays in the file or its log."""
    db.commit()
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
