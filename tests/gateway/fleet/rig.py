"""Plant, broker, workers and gateways of one fleet as processes, and the plant's own file as the oracle."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from lineside_gateway.audit import entries
from lineside_gateway.dispatch import EmbeddedBroker
from lineside_gateway.fleet import names
from lineside_plugins import meeting

HERE = Path(__file__).parent
LINE = "fleet-line"
SETTINGS = """
version: 1
gateway: {{id: {line}, endpoint: "opc.tcp://127.0.0.1:0/lineside", data_dir: {data}, security: {{anonymous: true}}}}
broker: {{url: "{broker}"}}
metrics: {{port: {metrics}}}
fleet: {{member: {member}, lease_s: {lease_s}}}
servers: [{{name: PLC, url: "opc.tcp://127.0.0.1:{port}", reconnect_min_s: 0.2, allowed_lateness_s: 0.2}}]
equipment: [{{browse: "Objects/M*"}}]
tasks:
  - task: quick
    mode: closed_loop
    max_wait_s: 0.02
    write: [{{set: {{Key: "{{key}}"}}, rate_per_min: 6000}}]
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def install_quick(folder: Path) -> Path:
    """A folder with the task and the metadata that registers it."""
    info = folder / "quick-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "quick.py").write_text((HERE / "quick.py").read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quick\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lineside.tasks]\nquick = quick:QuickTask\n")
    return folder


@dataclass(slots=True)
class Rig:
    """Started by ``with``; everything ends with it."""

    folder: Path
    lease_s: float = 5.0
    workers: int = 1
    machines: int = 4
    port: int = field(default_factory=free_port)
    broker: EmbeddedBroker = field(default_factory=lambda: EmbeddedBroker(free_port()))
    ports: dict[str, int] = field(default_factory=lambda: {m: free_port() for m in "ab"})
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    deadline_s: float = 20.0
    log: Any = None
    redis: Any = None

    def __enter__(self) -> Rig:
        site = install_quick(self.folder / "site")
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.log = (self.folder / "log").open("wb")
        self.broker.start()
        self.redis = Redis.from_url(self.broker.url)
        self.environment = {
            **os.environ, "PYTHONPATH": path, "LINESIDE_BROKER_URL": self.broker.url, "LINESIDE_TASKS": "quick",
            "LINESIDE_REDELIVER_AFTER_S": "3", "QUICK_DEADLINE_S": str(self.deadline_s), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.start("plant", str(HERE / "plant_side.py"), str(self.port), str(self.folder / "plant"), str(self.machines))
        for number in range(self.workers):
            self.start_worker(f"worker{number}")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.redis.close()
        self.broker.stop()
        self.log.close()

    def start(self, name: str, *command: str) -> None:
        self.processes[name] = subprocess.Popen(
            [sys.executable, *command], env=self.environment, stdout=self.log, stderr=self.log
        )

    def start_worker(self, name: str) -> None:
        self.start(name, "-m", "lineside_workers", "serve", "--device", "cpu", "--die-with-parent")

    def settings(self, member: str) -> str:
        """The settings file of one member; its data_dir is its own."""
        data = self.folder / member
        return SETTINGS.format(
            line=LINE,
            data=data,
            broker=self.broker.url,
            member=member,
            lease_s=self.lease_s,
            port=self.port,
            metrics=self.ports[member],
        )

    def start_gateway(self, member: str) -> None:
        file = self.folder / f"{member}.yaml"
        file.write_text(self.settings(member))
        self.start(member, "-c", "from lineside_gateway.cli import main; main()", "run", str(file), "-v")

    def figures(self, member: str) -> dict[str, int]:
        """Requests of a member's gateway: closed, pending, and by how they ended; empty where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[member]}/metrics", timeout=2) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        found = [
            re.match(r'lineside_requests_(?:total{.*outcome="(\w+)".*}|(pending|closed)(?:_total)?{.*}) (.*)', line)
            for line in lines
        ]
        return {m[1] or m[2]: int(float(m[3])) for m in found if m}

    def kill(self, name: str) -> float:
        """SIGKILL; when, by the wall clock."""
        at = time.time()
        self.processes[name].kill()
        self.processes[name].wait()
        return at

    def leader(self) -> str:
        found = self.redis.hget(names.lease(LINE, "all"), "member")
        return (found or b"").decode()

    def writes(self) -> list[tuple[str, str, float]]:
        """Machine, key and time of every write the plant was given."""
        path = self.folder / "plant"
        rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(machine, key, float(at)) for machine, key, at in rows]

    def twice(self) -> dict[str, int]:
        """Keys that the plant was given more than once."""
        return {key: n for key, n in Counter(key for _, key, _ in self.writes()).items() if n > 1}

    def written_by(self, member: str) -> list[str]:
        """Keys whose write ``member`` has put into its audit log."""
        return [e["key"] for e in entries(self.folder / member / "audit", event="step") if e["step"] == "written"]

    def batches(self) -> dict[str, int]:
        """Batches by worker, as their heartbeats say."""
        rows = [json.loads(r) for k in self.redis.keys(meeting.WORKER_PATTERN) if (r := self.redis.get(k))]
        return {str(r["node"]): int(r["batches"]) for r in rows}

    def until(self, holds: Callable[[], object], what: str, within_s: float = 240.0) -> None:
        end = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < end, f"{what} did not happen within {within_s} s\n{self.tail()}"
            time.sleep(0.02)

    def progress(self, more: int = 8) -> None:
        """Wait for new writes."""
        wanted = len(self.writes()) + more
        self.until(lambda: len(self.writes()) >= wanted, f"{more} more writes")

    def tail(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-30:])
        return ""
