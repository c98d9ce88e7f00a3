"""Machines that wear in a way no plant of this repository does: for tests of learning, not of its figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.tasks.maintenance.config import MaintenanceConfig
from lineside_plugins.tasks.maintenance.task import MaintenanceTask

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
HOURS, CELL_S = 480, 900


def synthetic_recording(seed: int, hours: int = HOURS) -> Recording:
    """Two machines; vibration and kurtosis climb over the last third of each life, which then fails or is renewed."""
    rng = np.random.default_rng(seed)
    n = hours * 3600 // CELL_S
    tags: dict[str, dict[str, np.ndarray]] = {}
    events: list[dict[str, object]] = []
    for name in ("M1", "M2"):
        wear, state = np.zeros(n), np.ones(n)
        at = 0
        while at < n:
            life = int(rng.integers(200, 500))
            bearing = bool(rng.random() < 0.5)
            planned = bool(rng.random() < 0.3)
            end = min(n, at + (life * 2 // 3 if planned else life))
            wear[at:end] = np.clip((np.arange(end - at) / life - 0.6) / 0.4, 0, 1) * (1 if bearing else -1)
            down = 8 if planned else 24
            state[end : end + down] = f.MAINTAINED if planned else f.FAILED
            if end < n and not planned:
                events.append(event(end, name, "failure"))
            if end + down < n:
                kind, found = ("maintenance", "") if planned else ("repair", "bearing" if bearing else "lubrication")
                events.append(event(end + down, name, kind, found, down * CELL_S / 3600))
            at = end + down
        level = np.exp(0.3 * rng.standard_normal())
        tags[name] = {
            "VibRms": level * np.exp(1.2 * np.maximum(wear, 0) + 0.05 * rng.standard_normal(n)),
            "VibKurtosis": 3 + 3 * np.maximum(wear, 0) + 0.1 * rng.standard_normal(n),
            "SpindleTemp": 50 + 12 * np.maximum(-wear, 0) + 0.5 * rng.standard_normal(n),
            "SpindlePower": 8 + 0.2 * rng.standard_normal(n),
            "State": state,
            "ActiveFamily": rng.integers(0, 4, n).astype(float),
        }
    time = np.datetime64(EPOCH.replace(tzinfo=None), "us") + np.arange(1, n + 1) * np.timedelta64(CELL_S, "s")
    return Recording(
        unit=f"synthetic-{seed}",
        period_s=float(CELL_S),
        time=time.astype("datetime64[us]"),
        tags={m: {t: v.astype(np.float32) for t, v in own.items()} for m, own in tags.items()},
        streams={"events": tuple(sorted(events, key=lambda e: str(e["time"])))},
    )


def event(cell: int, name: str, kind: str, mode: str = "", value: float = 0.0) -> dict[str, object]:
    time = (EPOCH + timedelta(seconds=cell * CELL_S)).isoformat()
    return {"time": time, "equipment_id": name, "kind": kind, "mode": mode, "value": value, "text": ""}


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    return [synthetic_recording(seed) for seed in range(12)]


@pytest.fixture(scope="session")
def trained(recordings: list[Recording]) -> TrainedModel:
    return MaintenanceTask(MaintenanceConfig()).fit(recordings[:7], recordings[7:10], seed=0, device="cpu")


@pytest.fixture
def window() -> Callable[..., np.ndarray]:
    """One running machine's window, (1, LENGTH, C), quiet and unworn."""

    def make(seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        values = np.zeros((1, f.LENGTH, len(f.CHANNELS)), np.float32)
        values[0, :, f.VIBRATION] = np.exp(0.05 * rng.standard_normal(f.LENGTH))
        values[0, :, f.KURTOSIS] = 3 + 0.1 * rng.standard_normal(f.LENGTH)
        values[0, :, f.TEMPERATURE] = 50 + rng.standard_normal(f.LENGTH)
        values[0, :, f.POWER] = 8
        values[0, :, f.STATE] = f.RUNNING
        values[0, :, f.TOOL] = np.nan
        return values

    return make
