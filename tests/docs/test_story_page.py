"""The commands on docs/story.md exist with the options they are given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from lineside_gateway.cli import app
from lineside_trials import record
from lineside_workers.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "story.md"
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("line", LINES)
def test_each_command_of_the_story_has_its_options(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option on the page is one of the command's, which is one of the command line's, and has examples."""
    words = shlex.split(line)
    assert words[0] == "lineside"
    group = typer.main.get_command(app)
    assert words[1] in group.commands
    named = [w for w in words[1:3] if re.fullmatch(r"[a-z-]+", w) and not w.startswith("--")]
    if words[1] not in ("models", "data"):
        named = named[:1]
    with pytest.raises(SystemExit) as ended:
        record.main(["--help"]) if words[1] == "record" else main([*named, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert [w for w in words if w.startswith("--") and w not in said] == []
    assert "examples:" in said or words[1] == "evaluate-model"
