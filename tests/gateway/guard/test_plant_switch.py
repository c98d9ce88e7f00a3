"""The plant-wide switch as a file, and the commands around it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lineside_gateway.audit import AuditLog
from lineside_gateway.cli import app
from lineside_gateway.guard.switch import FILE, PlantSwitch

SETTINGS = """version: 1
gateway: {{data_dir: {data}}}
servers: [{{name: PLC, url: "opc.tcp://127.0.0.1:9"}}]
equipment: [{{browse: "Objects/Line1/*"}}]
tasks: [{{task: maintenance, mode: closed_loop}}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lineside.yaml"
    path.write_text(SETTINGS.format(data=tmp_path / "data"))
    return path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_the_switch_outlives_its_process(tmp_path: Path) -> None:
    """What one process throws another reads, with who and why."""
    assert not PlantSwitch(tmp_path).read().demoted
    PlantSwitch(tmp_path).throw(True, by="anna", why="audit day")
    found = PlantSwitch(tmp_path).read()
    assert (found.demoted, found.by, found.why) == (True, "anna", "audit day")
    PlantSwitch(tmp_path).throw(False, by="anna")
    assert not PlantSwitch(tmp_path).read().demoted


@pytest.mark.parametrize("content", ["", "{", '{"demoted": false}', "[]"])
def test_a_damaged_switch_stands_for_advisory(tmp_path: Path, content: str) -> None:
    """A file nobody can read demotes: the safe side."""
    (tmp_path / FILE).write_text(content)
    assert PlantSwitch(tmp_path).read().demoted


def test_advisory_command_throws_and_shows_it(file: Path, tmp_path: Path) -> None:
    """`lineside advisory on` is seen by `show`, and `off` gives back what the settings say."""
    assert "thrown by" in run("advisory", "on", "-c", str(file), "--why", "no crew").stdout
    assert "no crew" in run("advisory", "show", "-c", str(file)).stdout
    assert PlantSwitch(tmp_path / "data").read().demoted
    assert "as the settings say" in run("advisory", "off", "-c", str(file)).stdout
    assert run("advisory", "perhaps", "-c", str(file)).exit_code == 2


def test_audit_command_verifies_shows_and_exports(file: Path, tmp_path: Path) -> None:
    """`lineside audit` says intact with the head, lists lines, writes CSV, and exits 1 after one digit was changed."""
    log = AuditLog(tmp_path / "data" / "audit")
    log.append("decision", key="k1", allowed=True, reason="")
    log.append("step", key="k1", step="written")
    log.close()
    good = run("audit", "verify", "-c", str(file))
    assert "intact: 2 lines" in good.stdout
    head = good.stdout.splitlines()[-1].removeprefix("head ")
    assert run("audit", "verify", "-c", str(file), "--head", head).exit_code == 0
    assert "written" in run("audit", "show", "-c", str(file), "--event", "step").stdout
    out = tmp_path / "out.csv"
    assert run("audit", "export", "-c", str(file), "--out", str(out)).exit_code == 0
    assert len(out.read_text().splitlines()) == 3
    (path,) = (tmp_path / "data" / "audit").glob("*.jsonl")
    path.write_text(path.read_text().replace('"allowed":true', '"allowed":false'))
    assert run("audit", "verify", "-c", str(file)).exit_code == 1
