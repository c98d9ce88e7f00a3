"""Mills whose tools wear each at its own rate: for tests of learning, not of any plant's figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.learning.measured import CAMPAIGN
from lineside_plugins.tasks.compensation.config import CompensationConfig
from lineside_plugins.tasks.compensation.task import CompensationTask

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
TOLERANCE_UM = 20.0
TOOL_PARTS = 100


def synthetic_recording(seed: int, hours: int = 30) -> Recording:
    """One mill, a part a minute; power tells the tool's own rate of wear, the PLC compensates the mean one."""
    rng = np.random.default_rng(seed)
    n = hours * 60
    count = np.arange(1, n + 1)
    tool = (count - 1) % TOOL_PARTS
    rate = np.repeat(0.3 + 0.15 * rng.standard_normal(n // TOOL_PARTS + 1), TOOL_PARTS)[:n]
    offset = 0.3 * tool
    deviation = (rate - 0.3) * tool + 3 * rng.standard_normal(n)
    off = np.abs(deviation) > TOLERANCE_UM
    sampled = rng.random(n) < 0.1
    events = tuple(
        {
            "time": (EPOCH + timedelta(minutes=float(count[i]) + 5)).isoformat(), "equipment_id": "M1",
            "kind": "inspection", "serial_no": f"M1-{count[i]:07d}", "value": float(deviation[i]), "porous": False,
            "defect": bool(off[i]), "text": "sample" if sampled[i] else CAMPAIGN,
        }
        for i in range(n)
    )  # fmt: skip
    serial = np.array([f"M1-{c:07d}" for c in count])
    time = (np.datetime64(EPOCH.replace(tzinfo=None), "us") + count * np.timedelta64(60, "s")).astype("datetime64[us]")
    tags = {
        "SpindlePower": 8 + rate,
        "SpindleTemp": 50 + rng.standard_normal(n),
        "State": np.ones(n),
        "ActiveFamily": np.zeros(n),
        "ToolCount": tool,
        "ToolOffset": offset,
        "PartCount": count,
    }
    part = {t: (serial, time, v.astype(np.float32)[:, None]) for t, v in (("ToolCount", tool), ("ToolOffset", offset))}
    return Recording(
        unit=f"synthetic-{seed}",
        period_s=60.0,
        time=time,
        tags={"M1": {t: v.astype(np.float32) for t, v in tags.items()}},
        streams={"events": events},
        arrays={"M1": part},
    )


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    return [synthetic_recording(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def trained(recordings: list[Recording]) -> TrainedModel:
    return CompensationTask(CompensationConfig()).fit(recordings[:2], recordings[2:3], seed=0, device="cpu")
