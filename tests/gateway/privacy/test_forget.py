"""`lineside forget`: what is meant is gone from every file, the rest stands, and the audit log still verifies."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lineside_gateway.audit import AuditError, AuditLog, Head, entries, verify
from lineside_gateway.cli import app
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.privacy import PrivacyError, Subject, forget

ANNA_SAID = "bearing sounded dry to me"


def count(folder: Path, file: str, table: str) -> int:
    with sqlite3.connect(folder / file) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - a name of ours


async def test_an_operator_is_forgotten_everywhere(recorded: Any) -> None:
    """Name and words of anna are in no file any more, otto's are; chain, noted head and the plant switch hold."""
    noted = verify(recorded.folder / "audit").head
    assert recorded.holds("anna")
    report = forget(recorded.folder, Subject(operator="anna"), by="dpo")
    assert report.removed["audit lines"] == 3
    assert report.removed["labels"] == 2
    assert report.removed["history"] == 4
    assert (recorded.holds("anna"), recorded.holds(ANNA_SAID)) == ([], [])
    assert {"labels.jsonl", "history.sqlite"} <= set(recorded.holds("no crew tonight"))
    verdict = verify(recorded.folder / "audit", noted)
    assert (verdict.intact, verdict.redacted) == (True, 3)
    assert PlantSwitch(recorded.folder).read().demoted
    log = AuditLog(recorded.folder / "audit")
    log.append("started", gateway="g")
    log.close()
    assert verify(recorded.folder / "audit", noted).intact
    last = list(entries(recorded.folder / "audit", event="forgotten"))[-1]
    assert (last["count"], last["by"], last["operator"]) == (3, "dpo", True)


async def test_a_machine_is_forgotten_but_for_what_is_under_way(recorded: Any) -> None:
    """All about A2 goes, its windows and settled decisions too; what the plant has not answered stays and is told."""
    report = forget(recorded.folder, Subject(equipment_id="A2"), by="dpo")
    assert (report.removed["decisions"], report.removed["requests"], report.removed["audit lines"]) == (1, 2, 4)
    assert "not answered yet" in report.left[0]
    assert (count(recorded.folder, "guard.sqlite", "decisions"), count(recorded.folder, "history.sqlite", "shown")) == (
        3,
        2,
    )
    rows = [json.loads(line) for line in (recorded.folder / "labels.jsonl").read_text().splitlines()]
    assert {r["equipment_id"] for r in rows} == {"A1"}
    assert verify(recorded.folder / "audit").intact


async def test_a_span_of_time_is_forgotten(recorded: Any) -> None:
    """What is before a time goes with its audit lines' content; nothing before a year ago is nothing at all."""
    verdict = verify(recorded.folder / "audit")
    subject = Subject(before=last_time(recorded) - timedelta(days=365))
    assert sum(forget(recorded.folder, subject, by="dpo").removed.values()) == 0
    report = forget(recorded.folder, Subject(before=last_time(recorded) + timedelta(days=1)), by="dpo")
    assert report.removed["audit lines"] == verdict.lines
    assert count(recorded.folder, "requests.sqlite", "requests") == 0
    assert verify(recorded.folder / "audit").intact
    again = forget(recorded.folder, Subject(before=last_time(recorded) + timedelta(days=1)), by="dpo")
    assert again.removed["audit lines"] == 0


def last_time(recorded: Any) -> Any:
    """When the last line of the audit log was written."""
    return datetime.fromisoformat(str(list(entries(recorded.folder / "audit"))[-1]["at"]))


async def test_an_emptied_line_that_nobody_accounts_for_is_found(recorded: Any) -> None:
    """Who empties a line by hand breaks the log, as does who puts words into an emptied one."""
    from lineside_gateway.audit.chain import redacted

    audit = recorded.folder / "audit"
    path = sorted(audit.glob("*.jsonl"))[0]
    original = path.read_text()
    lines = original.splitlines()
    path.write_text("\n".join([lines[0], redacted(json.loads(lines[1])), *lines[2:]]) + "\n")
    assert "line 2 was emptied and no later line accounts for it" in verify(audit).problem
    path.write_text(original)
    forget(recorded.folder, Subject(operator="anna"), by="dpo")
    emptied = path.read_text()
    path.write_text(emptied.replace('"redacted":true', '"redacted":true,"user":"otto"', 1))
    assert "a redacted line says nothing" in verify(audit).problem
    path.write_text(emptied)
    wrong = Head(2, "0" * 64)
    assert not verify(audit, wrong).intact


async def test_a_running_gateway_keeps_everything(recorded: Any) -> None:
    """While a gateway holds the audit log nothing is removed, and the sentence says to stop it."""
    log = AuditLog(recorded.folder / "audit")
    with pytest.raises(AuditError, match="another gateway writes"):
        forget(recorded.folder, Subject(operator="anna"), by="dpo")
    log.close()
    assert "labels.jsonl" in recorded.holds("anna")
    with pytest.raises(PrivacyError, match="nothing is named"):
        forget(recorded.folder, Subject(), by="dpo")


async def test_recorded_parquet_loses_its_rows(recorded: Any, tmp_path: Path) -> None:
    """Rows of the operator go out of the Parquet files; a file that would be empty goes as a whole."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    at = last_time(recorded)
    folder = tmp_path / "recorded" / "day=2026-01-05"
    folder.mkdir(parents=True)

    def write(name: str, *who: str) -> None:
        rows = [{"time": at, "equipment_id": "A1", "kind": "accept", "record": json.dumps({"user": w})} for w in who]
        pq.write_table(pa.Table.from_pylist(rows), folder / name)

    write("both.parquet", "anna", "otto")
    write("hers.parquet", "anna")
    report = forget(recorded.folder, Subject(operator="anna"), by="dpo", recorded=tmp_path / "recorded")
    assert report.removed["recorded rows"] == 2
    assert [p.name for p in folder.iterdir()] == ["both.parquet"]
    assert pq.ParquetFile(folder / "both.parquet").read().num_rows == 1


async def test_the_command_tells_what_was_removed_and_audit_verify_says_so(recorded: Any, tmp_path: Path) -> None:
    """`lineside forget` asks first, counts what went, and `lineside audit verify` shows how many lines are empty."""
    file = tmp_path / "lineside.yaml"
    file.write_text(
        "version: 1\ngateway: {data_dir: data}\nservers: [{name: PLC, url: 'opc.tcp://127.0.0.1:9'}]\n"
        "equipment: [{browse: 'Objects/Line1/*'}]\ntasks: [{task: maintenance}]\n"
    )
    run = CliRunner()
    refused = run.invoke(app, ["forget", "--operator", "anna", "-c", str(file)], input="n\n")
    assert refused.exit_code == 1
    assert recorded.holds("anna")
    done = run.invoke(app, ["forget", "--operator", "anna", "-c", str(file), "--yes"])
    assert "3 audit lines removed" in done.output
    told = run.invoke(app, ["audit", "verify", "-c", str(file)])
    assert "3 of them emptied by lineside forget" in told.output
    assert "removed by lineside forget" in run.invoke(app, ["audit", "export", "-c", str(file)]).output
    wrong = run.invoke(app, ["forget", "--before", "yesterday", "-c", str(file)])
    assert "is no time" in wrong.output
