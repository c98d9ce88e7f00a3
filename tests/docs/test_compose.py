"""The container files describe what runs outside of containers too."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
MODULES = {"lineside": "lineside_gateway"}


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = COMPOSE["services"][name]
    return found


@pytest.mark.parametrize("name", ["plant", "worker", "gateway"])
def test_every_built_service_names_an_existing_dockerfile(name: str) -> None:
    """The build context is the repository and the Dockerfile is in it."""
    assert (DOCKER.parent / service(name)["build"]["dockerfile"]).exists()


@pytest.mark.parametrize("name", ["gateway.Dockerfile", "worker.Dockerfile"])
def test_images_do_not_run_as_root_and_say_when_they_are_ill(name: str) -> None:
    """Each image switches to an unprivileged user, keeps its data on volumes and has a health check."""
    text = (DOCKER / name).read_text()
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert "VOLUME" in text
    for source in re.findall(r"^COPY (\S+) \S+$", text, re.MULTILINE):
        assert (DOCKER.parent / source).exists()


def test_the_gpu_overlay_changes_a_service_that_exists() -> None:
    """The overlay asks for one GPU for the worker and touches nothing else."""
    overlay = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]
    assert set(overlay) == {"worker"}
    devices = overlay["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


def test_the_mounted_configuration_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker/lineside.yaml loads with the environment that compose gives the gateway."""
    from lineside_gateway.settings import load_settings

    for key, value in service("gateway")["environment"].items():
        monkeypatch.setenv(key, value)
    settings = load_settings(DOCKER / "lineside.yaml")
    assert {t.task for t in settings.tasks} == {"maintenance", "reject", "schedule"}


@pytest.mark.parametrize("name", ["plant", "worker"])
def test_a_services_command_line_is_understood(name: str) -> None:
    """The entry point and command of a service, run here with --help, name a command that exists."""
    entry = service(name).get("entrypoint") or re.findall(
        r"^ENTRYPOINT (\[.*\])", (DOCKER / "worker.Dockerfile").read_text(), re.MULTILINE
    )
    words = yaml.safe_load(entry[0]) if isinstance(entry, list) and str(entry[0]).startswith("[") else entry
    command = [sys.executable, *words[1:], (service(name).get("command") or ["serve"])[0], "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ}, timeout=60)
    assert result.returncode == 0, shlex.join(command) + result.stderr
