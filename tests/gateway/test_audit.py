"""The audit log: what cannot be done to it unseen, and what it survives."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lineside_gateway.audit import AuditError, AuditLog, Head, entries, export_csv, verify

START = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A log of ten decisions."""
    log = AuditLog(tmp_path, clock=Clock())
    for i in range(10):
        log.append("decision", key=f"k{i}", allowed=i % 2 == 0, writes=[{"tag": "Speed", "value": 1.0 + i}])
    log.close()
    return tmp_path


def lines(folder: Path) -> list[str]:
    (path,) = folder.glob("audit-*.jsonl")
    return path.read_text().splitlines()


def rewrite(folder: Path, changed: list[str]) -> None:
    (path,) = folder.glob("audit-*.jsonl")
    path.write_text("\n".join(changed) + "\n")


def test_a_log_left_alone_is_intact(written: Path) -> None:
    """Ten lines verify, and the head is the last line's number and hash."""
    verdict = verify(written)
    assert verdict.intact
    assert (verdict.lines, verdict.first, verdict.head.seq) == (10, 1, 10)
    assert verify(written, Head.parse(str(verdict.head))).intact


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        (lambda rows: [*rows[:3], rows[3].replace('"allowed":false', '"allowed":true'), *rows[4:]], ":4 was changed"),
        (lambda rows: [*rows[:3], *rows[4:]], ":4 does not follow line 3"),
        (lambda rows: [*rows[:3], rows[4], rows[3], *rows[5:]], ":4 does not follow line 3"),
        (lambda rows: [*rows[:5], rows[4], *rows[5:]], ":6 does not follow line 5"),
        (lambda rows: [*rows[:9], '{"seq":10}'], ":10 is no line"),
        (lambda rows: rows[2:], "lines before 3 are gone"),
    ],
)
def test_tampering_is_seen(written: Path, tamper, problem: str) -> None:
    """A line changed, removed, swapped, doubled, forged or cut from the front breaks the chain at its place."""
    rewrite(written, tamper(lines(written)))
    verdict = verify(written)
    assert not verdict.intact
    assert problem in verdict.problem


def test_a_cut_tail_is_seen_by_a_head_noted_before(written: Path) -> None:
    """Lines cut from the end leave a valid chain, and no longer hold the head that was noted elsewhere."""
    noted = verify(written).head
    rewrite(written, lines(written)[:-2])
    assert verify(written).intact
    assert "is not in the log" in verify(written, noted).problem


def test_the_chain_goes_on_after_a_restart(written: Path) -> None:
    """The next process continues at the next number; a torn last line is removed and accounted for."""
    (path,) = written.glob("audit-*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"seq":11,"at":"2026-01-05T0')
    log = AuditLog(written)
    log.append("stopped")
    log.close()
    assert [e["event"] for e in entries(written)][-2:] == ["recovered", "stopped"]
    assert verify(written).intact
    assert verify(written).lines == 12


def test_files_rotate_and_age_without_breaking_the_chain(tmp_path: Path) -> None:
    """Small files, old ones deleted: what is left verifies from its first line on, and says what is gone."""
    clock = Clock()
    log = AuditLog(tmp_path, clock=clock, rotate_bytes=2000, keep=timedelta(days=2))
    for i in range(60):
        clock.now += timedelta(hours=2)
        log.append("decision", key=f"k{i}")
    log.close()
    verdict = verify(tmp_path)
    assert verdict.intact
    assert verdict.first > 1
    assert verdict.lines < 60
    assert len(list(tmp_path.glob("audit-*.jsonl"))) > 1
    oldest = datetime.fromisoformat(str(next(entries(tmp_path))["at"]))
    assert clock.now - oldest <= timedelta(days=4)
    next(iter(sorted(tmp_path.glob("audit-*.jsonl")))).unlink()
    assert not verify(tmp_path).intact


def test_two_writers_are_refused(tmp_path: Path) -> None:
    """A second gateway on the same folder would break the chain; it gets one sentence with the next step."""
    log = AuditLog(tmp_path)
    with pytest.raises(AuditError, match=r"another gateway writes .* gateway\.data_dir"):
        AuditLog(tmp_path)
    log.close()
    AuditLog(tmp_path).close()


def test_values_json_cannot_say_are_text(tmp_path: Path) -> None:
    """NaN, infinities, times and odd text are written as text, and the line verifies."""
    log = AuditLog(tmp_path)
    log.append("decision", value=float("nan"), low=float("-inf"), at_plant=START, text='a\n"b"\u2028 \ud800', hash="x")
    log.close()
    (row,) = entries(tmp_path)
    assert (row["value"], row["low"], row["at_plant"]) == ("nan", "-inf", START.isoformat())
    assert verify(tmp_path).intact


def test_export_is_a_table_no_spreadsheet_executes(tmp_path: Path) -> None:
    """CSV has the columns people ask for and the whole line; a text that looks like a formula is marked as text."""
    log = AuditLog(tmp_path)
    log.append("operator", user="=cmd()", comment="too early", key="k1")
    log.append("decision", key="k2")
    log.close()
    out = io.StringIO()
    assert export_csv(entries(tmp_path, event="operator"), out) == 1
    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert (row["user"], row["comment"]) == ("'=cmd()", "too early")
    assert json.loads(row["line"])["key"] == "k1"
    assert [e["key"] for e in entries(tmp_path, key="k2")] == ["k2"]
