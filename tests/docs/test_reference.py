"""Docs match code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_reference_pages_are_written_from_the_code() -> None:
    """settings.md, cli.md and contract.md equal what docs/generate.py writes today."""
    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_every_make_target_in_the_readme_exists() -> None:
    """A `make target` the README names is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named
    assert named <= targets


def test_every_command_in_the_readme_exists() -> None:
    """A `lineside command` the README names is a command of the CLI."""
    from typer.main import get_command

    from lineside_gateway.cli import app

    commands = set(getattr(get_command(app), "commands", {}))
    named = set(re.findall(r"(?:^|`)lineside ([a-z]+)", README, re.MULTILINE))
    assert named
    assert named <= commands


def test_the_task_in_the_readme_is_the_tested_example() -> None:
    """The thirty-line task in the README is docs/examples/overheat.py to the letter."""
    example = (ROOT / "docs" / "examples" / "overheat.py").read_text().strip()
    assert example in README


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(version: 1.*?)```", README, re.DOTALL))
def test_yaml_in_the_readme_is_valid(block: str, tmp_path: Path) -> None:
    """Each YAML file shown in the README loads."""
    from lineside_gateway.settings import load_settings

    path = tmp_path / "lineside.yaml"
    path.write_text(block)
    assert load_settings(path).tasks


def test_relative_links_in_docs_lead_somewhere() -> None:
    """Every relative link of README, CONTRIBUTING and docs names a file that exists."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
