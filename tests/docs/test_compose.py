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


@pytest.mark.parametrize("name", ["gateway.Dockerfile", "worker.Dockerfile", "fuxa/Dockerfile", "node-red/Dockerfile"])
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


def test_the_mounted_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file mounted into the gateway loads with the environment that compose gives it, and meets the plant."""
    from lineside_gateway.settings import load_settings

    for key, value in service("gateway")["environment"].items():
        monkeypatch.setenv(key, value)
    source = next(v.split(":")[0] for v in service("gateway")["volumes"] if "lineside.yaml" in v)
    settings = load_settings(DOCKER / source)
    assert {t.task for t in settings.tasks} == {"maintenance", "reject", "schedule", "compensation"}
    assert settings.gateway.endpoint.startswith("opc.tcp://0.0.0.0:4850")
    first = int(service("plant")["command"][service("plant")["command"].index("--port") + 1])
    ports = [int(s.url.rsplit(":", 1)[1]) for s in settings.servers]
    assert ports == list(range(first, first + 6))
    assert all(s.url.startswith("opc.tcp://plant:") for s in settings.servers)


def test_the_health_commands_exist() -> None:
    """Each HEALTHCHECK runs a command that says so by exit code 1 where nothing lives."""
    for name in ("gateway.Dockerfile", "worker.Dockerfile"):
        words = yaml.safe_load(re.findall(r"HEALTHCHECK .* CMD (\[.*\])", (DOCKER / name).read_text())[0])
        if words[0] == "lineside":
            words = ["python", "-c", "from lineside_gateway.cli import main; main()", *words[1:],
                     "opc.tcp://127.0.0.1:9/lineside"]  # fmt: skip
        environment = {**os.environ, "LINESIDE_BROKER_URL": "redis://127.0.0.1:9/0"}
        result = subprocess.run(
            [sys.executable, *words[1:]], capture_output=True, text=True, check=False, env=environment, timeout=60
        )
        assert result.returncode in {1, 2}
        assert "Traceback" not in result.stderr


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
