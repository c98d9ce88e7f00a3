"""The command line says in one sentence what is wrong, and exits with 2 where it cannot go on."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from lineside_gateway.cli import main, terminal

MINIMAL = """version: 1
gateway: {{endpoint: "opc.tcp://127.0.0.1:{port}/lineside", data_dir: {data}}}
servers: [{{name: PLC, url: "opc.tcp://127.0.0.1:{dead}"}}]
equipment: [{{browse: "Objects/Line1/*"}}]
tasks: [{{task: {task}}}]
"""


def lineside(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from lineside_gateway.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def one_sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """The error is the only line on stderr that is not a log, carries the words, and the exit code is 2."""
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0]


@pytest.fixture
def settings(tmp_path: Path):
    def write(task: str = "maintenance", port: int = 0, dead: int = 9) -> str:
        file = tmp_path / "lineside.yaml"
        file.write_text(MINIMAL.format(task=task, port=port, dead=dead, data=tmp_path))
        return str(file)

    return write


def test_version_names_what_it_stands_on() -> None:
    """`lineside version` prints one line per library."""
    result = lineside("version")
    assert result.returncode == 0
    assert re.search(r"^asyncua 2\.1\.", result.stdout, re.MULTILINE)


def test_tasks_are_listed_without_loading_a_model() -> None:
    """`lineside tasks` names the three built-in tasks."""
    result = lineside("tasks")
    assert result.returncode == 0
    for name in ("compensation", "maintenance", "reject", "schedule"):
        assert name in result.stdout


def test_a_second_gateway_on_the_same_port_says_so(settings) -> None:
    """The port that is taken, and the setting to change, are in the error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        one_sentence(lineside("run", settings(port=port)), str(port), "gateway.endpoint")


def test_a_task_that_is_not_installed_is_named_with_those_that_are(settings) -> None:
    """With no task left to run, `lineside run` names the unknown one and suggests the near one."""
    one_sentence(lineside("run", settings(task="maintenanse")), "maintenanse", "did you mean 'maintenance'")


def test_an_unknown_key_is_named_with_a_suggestion(tmp_path: Path) -> None:
    """`lineside check` points to file, line and key, and suggests the right one."""
    file = tmp_path / "bad.yaml"
    file.write_text("version: 1\nservers: [{name: A, url: 'opc.tcp://h:1'}]\nequipmnt: []\ntasks: []\n")
    result = lineside("check", str(file))
    assert result.returncode == 2
    assert "equipmnt" in result.stdout
    assert "equipment" in result.stdout
    assert "Traceback" not in result.stderr


def test_check_connect_names_the_server_it_cannot_reach(settings) -> None:
    """`lineside check --connect` lists the unreachable server with its URL and exits with 2."""
    result = lineside("check", settings(dead=9), "--connect")
    assert result.returncode == 2
    assert "127.0.0.1:9" in result.stdout


def test_a_missing_file_is_one_sentence() -> None:
    """A settings file that is not there is named."""
    one_sentence(lineside("run", "nowhere.yaml"), "nowhere.yaml")


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a gateway box `lineside evaluate` says what to install, brackets and all."""
    monkeypatch.setattr("lineside_gateway.cli.extras.find_spec", lambda _name: None)
    monkeypatch.setattr("sys.argv", ["lineside", "evaluate"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "pip install 'lineside[trials]'" in capsys.readouterr().err


@pytest.mark.parametrize(("columns", "lines"), [("", 1), ("40", 5)])
def test_a_table_is_never_cut_short(
    columns: str, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe gets a line a row; a narrow terminal folds what it has no room for."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    table = Table("NodeId", box=None, pad_edge=False, show_header=False)
    table.add_row("nsu=urn:acme:line;s=" + "x" * 180)
    terminal.show(table)
    said = capsys.readouterr().out.splitlines()
    assert (len(said), "".join(said)) == (lines, "nsu=urn:acme:line;s=" + "x" * 180)


def test_status_of_a_gateway_that_is_not_there() -> None:
    """`lineside status` says which endpoint did not answer and what to start."""
    one_sentence(lineside("status", "opc.tcp://127.0.0.1:9/lineside"), "127.0.0.1:9", "lineside run")


def test_a_corrupt_model_file_ends_the_worker_with_one_sentence(tmp_path: Path) -> None:
    """A model whose bytes differ from its manifest is named; nothing of it is loaded."""
    import shutil

    from lineside_plugins.tasks import maintenance

    source = Path(str(maintenance.__file__)).parent / "weights"
    target = tmp_path / "models" / "maintenance" / "1"
    shutil.copytree(source, target)
    (tmp_path / "models" / "maintenance" / "current").write_text("1")
    data = bytearray((target / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (target / "model.safetensors").write_bytes(data)
    command = [sys.executable, "-m", "lineside_workers", "serve", "--tasks", "maintenance", "--models",
               str(tmp_path / "models"), "--broker", "redis://127.0.0.1:9/0"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == 2
    said = [line for line in result.stderr.splitlines() if "model.safetensors" in line]
    assert said
    assert "Traceback" not in result.stderr


def test_a_paragraph_of_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 80 columns no line of a paragraph ends early because the source's did."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in lineside("init", "--help").stdout.splitlines()]
    first = next(i for i, line in enumerate(lines) if line.startswith("Machines are"))
    paragraph = lines[first : lines.index("", first)]
    assert len(paragraph) > 2
    assert all(len(line) > 60 for line in paragraph[:-1])
