"""RefPlant, broker, worker and gateway as processes, each of which a test may kill and start again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lineside_gateway.demo import REFPLANT_SETTINGS
from lineside_gateway.dispatch import EmbeddedBroker


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def kill(process: subprocess.Popen[bytes] | None) -> None:
    assert process is not None
    process.kill()
    process.wait()


class Line:
    """All processes of one line, each of which a test may kill and start again."""

    def __init__(self, folder: Path, endpoints: dict[str, str]) -> None:
        self.folder, self.endpoints, self.port = folder, endpoints, free_port()
        self.broker_port = free_port()
        self.broker: EmbeddedBroker | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.gateway: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/lineside"

    @property
    def environment(self) -> dict[str, str]:
        assert self.broker is not None
        ports = {f"PLANT_{name}": url.rpartition(":")[2] for name, url in self.endpoints.items()}
        own = {"LINESIDE_PORT": str(self.port), "LINESIDE_DATA": str(self.folder / "var")}
        return dict(os.environ) | ports | own | {"LINESIDE_BROKER_URL": self.broker.url}

    def start_broker(self) -> None:
        """Again under the same URL, empty: Linux ends it with the thread that starts it, so not from another one."""
        self.broker = self.broker or EmbeddedBroker(port=self.broker_port)
        self.broker.start()

    def start_worker(self, *more: str) -> None:
        serve = ["serve", "--tasks", "maintenance,reject,compensation", "--device", "cpu", "--die-with-parent", *more]
        command = [sys.executable, "-m", "lineside_workers", *serve]
        with (self.folder / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def start_gateway(self) -> None:
        command = [sys.executable, "-c", "from lineside_gateway.cli import main; main()", "run", str(REFPLANT_SETTINGS)]
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def kill_worker(self) -> None:
        kill(self.worker)

    def kill_gateway(self) -> None:
        kill(self.gateway)

    def kill_broker(self) -> None:
        assert self.broker is not None
        self.broker.stop()

    def break_models(self, *tasks: str) -> None:
        """The worker comes back at once, and the models of ``tasks`` do not load."""
        self.kill_worker()
        broken = self.folder / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        for task in tasks:
            (broken / task).mkdir(parents=True)
            (broken / task / "current").write_text("gone\n")
        self.start_worker("--models", str(broken))

    def mend_models(self) -> None:
        self.kill_worker()
        self.start_worker()

    def end(self) -> None:
        for process in (self.gateway, self.worker):
            if process is not None:
                kill(process)
        if self.broker is not None:
            self.broker.stop()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    command = [sys.executable, "-m", "lineside_plant", "serve", "--port", "0", "--speed", "10", "--start-h", "60",
               "--die-with-parent"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as plant:
        assert plant.stdout is not None
        made = Line(tmp_path, json.loads(plant.stdout.readline())["endpoints"])
        made.start_broker()
        made.start_worker()
        made.start_gateway()
        try:
            yield made
        finally:
            made.end()
            plant.terminate()
            plant.wait(timeout=20)
