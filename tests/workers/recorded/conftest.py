"""Recordings made by the gateway's own recorder: machines that wear and fail, with units and events."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from lineside_gateway.recording import Archive, Recorder
from lineside_plugins import recorded

BEGIN_US = round(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1e6)
UNITS = {"VibRms": "mm/s", "VibKurtosis": "", "SpindleTemp": "degC", "SpindlePower": "kW"}
LIFE_H = 60.0
Make = Callable[..., Path]


def cells(hours: float, seed: int, life_h: float = LIFE_H) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Ends of cells of 10 minutes (us), and tags that rise towards each failure, every ``life_h`` hours."""
    rng = np.random.default_rng(seed)
    age = np.arange(1, round(hours * 6) + 1) / 6.0
    wear = (age % life_h / life_h) ** 3
    noise = rng.standard_normal((4, len(age)))
    tags = {
        "VibRms": 1.0 + 2.0 * wear + 0.1 * noise[0],
        "VibKurtosis": 3.0 + 3.0 * wear + 0.2 * noise[1],
        "SpindleTemp": 40.0 + 6.0 * wear + 0.5 * noise[2],
        "SpindlePower": 8.0 + 0.3 * noise[3],
    }
    return BEGIN_US + np.arange(1, len(age) + 1) * 600_000_000, tags


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a recording of ``machines`` over ``hours``; ``change(machine, tag, values)`` may spoil a tag."""

    def build(
        name: str = "recorded",
        machines: tuple[str, ...] = ("M1", "M2", "M3", "M4"),
        hours: float = 130.0,
        units: dict[str, str] | None = None,
        change: Callable[[str, str, np.ndarray], np.ndarray] = lambda _m, _t, v: v,
        same_seed: bool = False,
        only: tuple[str, ...] = tuple(UNITS),
    ) -> Path:
        recorder = Recorder(Archive(tmp_path / name))
        index = 0
        for number, machine in enumerate(machines):
            time, tags = cells(hours, 0 if same_seed else number)
            for tag, values in ((t, tags[t]) for t in only):
                recorder.name(index, machine, tag, (units or UNITS)[tag])
                recorder.samples(np.full(len(time), index), time, change(machine, tag, values), None)
                index += 1
            for n in range(1, int(hours // LIFE_H) + 1):
                for kind, at_h in (("failure", n * LIFE_H), ("repair", n * LIFE_H + 1)):
                    row = {"stream": "events", "kind": kind}
                    recorder.row(recorded.EVENTS, BEGIN_US + round(3.6e9 * at_h), machine, kind, row)
        recorder.write(recorder.take(), last=True)
        return tmp_path / name

    return build


@pytest.fixture
def split_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a split."""

    def write(**sides: list[str]) -> Path:
        path = tmp_path / "split.json"
        path.write_text(json.dumps(sides))
        return path

    return write
