"""Mills whose tools drift and a press whose curve dips: for tests of learning, not of any plant's figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.learning.measured import CAMPAIGN
from lineside_plugins.tasks.reject import curves as c
from lineside_plugins.tasks.reject.config import RejectConfig
from lineside_plugins.tasks.reject.task import RejectTask

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
TOLERANCE_UM = 20.0
TOOL_PARTS = 100


def synthetic_recording(seed: int, hours: int = 30) -> Recording:
    """One mill, a part a minute; each tool wears at its own rate, the PLC compensates the mean one."""
    rng = np.random.default_rng(seed)
    n = hours * 60
    count = np.arange(1, n + 1)
    tool = (count - 1) % TOOL_PARTS
    rate = np.repeat(0.2 + 0.12 * rng.standard_normal(n // TOOL_PARTS + 1), TOOL_PARTS)[:n]
    offset = 0.2 * tool
    deviation = (rate - 0.2) * tool + 3 * rng.standard_normal(n)
    porous = rng.random(n) < 0.03
    off = np.abs(deviation) > TOLERANCE_UM
    curves = curve(rng, porous)
    sampled = rng.random(n) < 0.1
    events = []
    for i in range(n):
        time = (EPOCH + timedelta(minutes=float(count[i]) + 5)).isoformat()
        events.append({
            "time": time, "equipment_id": "M1", "kind": "inspection", "serial_no": f"M1-{count[i]:07d}",
            "value": float(deviation[i]), "porous": bool(porous[i]), "defect": bool(porous[i] or off[i]),
            "text": "sample" if sampled[i] else CAMPAIGN,
        })  # fmt: skip
    serial = np.array([f"M1-{c:07d}" for c in count])
    time = (np.datetime64(EPOCH.replace(tzinfo=None), "us") + count * np.timedelta64(60, "s")).astype("datetime64[us]")
    tags = {
        "SpindlePower": 8 * (1 + 0.02 * rate * tool),
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
        streams={"events": tuple(events)},
        arrays={"M1": part, "P1": {"ForceCurve": (serial, time, curves)}},
    )


def curve(rng: np.random.Generator, porous: np.ndarray) -> np.ndarray:
    """Force curves (P, CURVE) in kN; a porous part's has a dip somewhere in the middle."""
    u = np.linspace(0, 1, c.CURVE)
    press = 300 / (1 + np.exp((0.2 - u) / 0.03)) / (1 + np.exp((u - 0.85) / 0.02))
    at = 0.55 + 0.1 * rng.random(len(porous))
    dip = 15 * np.exp(-0.5 * ((u - at[:, None]) / 0.03) ** 2) * porous[:, None]
    return (press - dip + 3 * rng.standard_normal((len(porous), c.CURVE))).astype(np.float32)


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    return [synthetic_recording(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def trained(recordings: list[Recording]) -> TrainedModel:
    return RejectTask(RejectConfig()).fit(recordings[:2], recordings[2:3], seed=0, device="cpu")
