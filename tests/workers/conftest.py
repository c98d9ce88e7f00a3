"""A tiny task in a distribution of its own, found by entry point as any stranger's would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from lineside_gateway.dispatch import EmbeddedBroker
from lineside_plugins import TrainedModel, WindowBatch
from lineside_workers.models.store import ModelStore

TASK = '''
"""Tells whether the mean of a window passes a threshold. Cells of -1000 and below ask for misbehaviour."""

import ctypes
import dataclasses
import os
import signal
import time

import numpy as np
from pydantic import Field

from lineside_plugins import (
    Advice, Channel, DataType, Inputs, Kind, OutputField, Outputs, Reason, TaskConfig, TaskPlugin, Trigger, WindowSpec,
)


class TinyConfig(TaskConfig):
    threshold: float = Field(default=0.5, description="Mean load above which a part is flagged.")


class TinyTask(TaskPlugin[TinyConfig]):
    config_type = TinyConfig

    def inputs(self):
        window = WindowSpec((Channel("Load"), Channel("Speed", optional=True)), length=8, period_s=1.0)
        return Inputs(Trigger(every_s=60), deadline_s=30.0, window=window, snapshot=("SerialNo",))

    def outputs(self):
        fields = (
            OutputField("flag", DataType.BOOLEAN, "the mean passes the threshold"),
            OutputField("mean", DataType.DOUBLE, "mean of Load times the scale of the model", low=-100.0, high=100.0),
            OutputField("serial_no", DataType.STRING, "part in the machine"),
        )
        return Outputs(Kind.REJECT, fields, flag="flag")

    def load(self, model, device):
        self.scale = float(model.tensors["scale"][0])

    def recommend(self, batch):
        return [self._one(batch, i) for i in range(len(batch))]

    def _one(self, batch, i):
        first = float(batch.values[i, 0, 0])
        if first == -1000:
            raise ValueError("the window is cursed")
        if first == -2000:
            os.kill(os.getpid(), signal.SIGKILL)
        if first == -3000:
            time.sleep(float(batch.values[i, 1, 0]))
        if first == -4000:
            return Advice({"flag": True, "mean": 1e6, "serial_no": ""}, confidence=0.5)
        if first == -5000:
            return None
        if first == -6000:
            ctypes.string_at(0)
        if not batch.good[i, :, 0].any():
            return None
        mean = float(np.nanmean(batch.values[i, 2:, 0])) * self.scale
        serial = batch.snapshots[i].get("SerialNo") if batch.snapshots else ""
        value = {"flag": bool(mean > self.config.threshold), "mean": np.float32(mean), "serial_no": serial or ""}
        return Advice(value, confidence=0.9, reasons=(Reason("Load", 1.0, f"mean load {mean:.2f}"),))


class PatientTask(TinyTask):
    needs_model = False

    def load(self, model, device):
        self.scale = 2.0

    def inputs(self):
        return dataclasses.replace(super().inputs(), deadline_s=300.0)
'''

SAMPLE = "task: tiny\nconfig:\n  threshold: 0.5\n"


@pytest.fixture
def tiny_model() -> TrainedModel:
    return TrainedModel({"scale": 2.0}, {"scale": np.array([2.0], dtype=np.float32)}, {"accuracy": 1.0}, ({"a": 1},))


@pytest.fixture
def tiny_site(tmp_path: Path, tiny_model: TrainedModel) -> Path:
    """A folder to put on the path: package ``tiny_task`` with weights, and the metadata that registers it."""
    site = tmp_path / "site"
    package = site / "tiny_task"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A task for tests."""\n')
    (package / "task.py").write_text(TASK)
    (package / "README.md").write_text("# tiny\n\nFlags a window whose mean load passes a threshold.\n")
    (package / "sample.yaml").write_text(SAMPLE)
    ModelStore().save(package / "weights", "tiny", "1.0", tiny_model)
    info = site / "tiny_task-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-task\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lineside.tasks]\ntiny = tiny_task.task:TinyTask\npatient = tiny_task.task:PatientTask\n"
    )
    return site


@pytest.fixture
def tiny(tiny_site: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny task installed in this process; its name."""
    monkeypatch.syspath_prepend(str(tiny_site))
    for name in [n for n in sys.modules if n.partition(".")[0] == "tiny_task"]:
        monkeypatch.delitem(sys.modules, name)
    return "tiny"


@pytest.fixture
def make_batch():
    """Windows for the tiny task: each argument fills the Load channel of one window, or its first cells."""

    def build(*loads: float | tuple[float, ...], serials: tuple[str, ...] = ()) -> WindowBatch:
        values = np.ones((len(loads), 8, 2), dtype=np.float32)
        for i, load in enumerate(loads):
            first = load if isinstance(load, tuple) else (load,) * 8
            values[i, : len(first), 0] = first
        return WindowBatch(
            equipment_ids=tuple(f"M{i}" for i in range(len(loads))),
            tags=("Load", "Speed"),
            values=values,
            good=np.isfinite(values),
            end=np.datetime64("2026-01-05T07:00:00", "us") + np.arange(len(loads)) * np.timedelta64(1, "s"),
            period_s=1.0,
            snapshots=tuple({"SerialNo": s} for s in (serials or ("S",) * len(loads))),
        )

    return build


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as b:
        yield b


@pytest.fixture
def redis(broker: EmbeddedBroker) -> Iterator[Redis]:
    """A plain client of the broker."""
    with Redis.from_url(broker.url) as r:
        yield r


@pytest.fixture
def broker_at(unused_tcp_port_factory: Callable[[], int]) -> Iterator[EmbeddedBroker]:
    """A broker that comes back at the same port when it is started again."""
    with EmbeddedBroker(unused_tcp_port_factory()) as b:
        yield b


def python_path(site: Path) -> str:
    """``site`` before what this process was given."""
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


class Worker:
    """A real worker process: ``python -m lineside_workers serve``."""

    def __init__(self, env: dict[str, str], log: Path, *, supervised: bool = False) -> None:
        self.log = log
        device = ("--devices", "cpu") if supervised else ("--device", "cpu")
        with log.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lineside_workers", "serve", *device, "--die-with-parent"],
                env=env,
                stdout=subprocess.PIPE,
                stderr=err,
            )

    def ready(self) -> dict[str, object]:
        """What it says once it is ready."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def start_worker(broker: EmbeddedBroker, tiny_site: Path, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers that host the tiny task, ready when returned; all are ended with the test."""
    started: list[Worker] = []

    def start(*, wait: bool = True, supervised: bool = False, **env: str) -> Worker:
        settings = {"LINESIDE_BROKER_URL": broker.url, "LINESIDE_TASKS": "tiny", "OMP_NUM_THREADS": "1"}
        worker = Worker(
            {**os.environ, "PYTHONPATH": python_path(tiny_site), **settings, **env},
            tmp_path / f"worker{len(started)}.log",
            supervised=supervised,
        )
        started.append(worker)
        if wait:
            assert worker.ready()["ready"] is True
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()
        assert worker.process.stdout is not None
        worker.process.stdout.close()


@pytest.fixture
def start_supervisor(start_worker: Callable[..., Worker]) -> Callable[..., Worker]:
    """Starts a supervisor with one worker that hosts the tiny task."""
    return lambda **env: start_worker(supervised=True, **env)
