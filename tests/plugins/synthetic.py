"""Recordings whose rules are known, for tests of learning, and what a test case's expected.json asks of an advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from lineside_plugins.contract import Recording
from lineside_plugins.learning.measured import CAMPAIGN
from lineside_plugins.types import Advice

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
TOLERANCE_UM = 20.0
TOOL_PARTS = 100


def mill_recording(
    rng: np.random.Generator,
    name: str,
    wear: tuple[float, float],
    power: Callable[[np.ndarray, np.ndarray], np.ndarray],
    porous: np.ndarray,
) -> Recording:
    """One mill, a part a minute, for as long as ``porous`` (P,); the PLC compensates the mean tool.

    Each tool wears at its own rate, drawn from ``wear`` (mean and spread, um a part); ``power`` tells the kW of a rate
    and a tool count, (P,) each.
    """
    n = len(porous)
    count = np.arange(1, n + 1)
    tool = (count - 1) % TOOL_PARTS
    mean, spread = wear
    rate = np.repeat(mean + spread * rng.standard_normal(n // TOOL_PARTS + 1), TOOL_PARTS)[:n]
    offset = mean * tool
    deviation = (rate - mean) * tool + 3 * rng.standard_normal(n)
    off = np.abs(deviation) > TOLERANCE_UM
    sampled = rng.random(n) < 0.1
    events = tuple(_inspection(*row) for row in zip(count, deviation, porous, off, sampled, strict=True))
    serial = np.array([f"M1-{c:07d}" for c in count])
    time = (np.datetime64(EPOCH.replace(tzinfo=None), "us") + count * np.timedelta64(60, "s")).astype("datetime64[us]")
    tags = {
        "SpindlePower": power(rate, tool),
        "SpindleTemp": 50 + rng.standard_normal(n),
        "State": np.ones(n),
        "ActiveFamily": np.zeros(n),
        "ToolCount": tool,
        "ToolOffset": offset,
        "PartCount": count,
    }
    part = {t: (serial, time, v.astype(np.float32)[:, None]) for t, v in (("ToolCount", tool), ("ToolOffset", offset))}
    return Recording(
        unit=name,
        period_s=60.0,
        time=time,
        tags={"M1": {t: v.astype(np.float32) for t, v in tags.items()}},
        streams={"events": events},
        arrays={"M1": part},
    )


def _inspection(count: int, deviation: float, porous: bool, off: bool, sampled: bool) -> dict[str, object]:
    """What the bench says of part number ``count``, five minutes after it was made."""
    return {
        "time": (EPOCH + timedelta(minutes=float(count) + 5)).isoformat(), "equipment_id": "M1", "kind": "inspection",
        "serial_no": f"M1-{count:07d}", "value": float(deviation), "porous": bool(porous),
        "defect": bool(porous or off), "text": "sample" if sampled else CAMPAIGN,
    }  # fmt: skip


def assert_as_expected(advice: Advice | None, case: Path) -> None:
    """What ``expected.json`` in ``case`` says of an advice: null = none; a pair is a range; else the value itself."""
    expected = json.loads((case / "expected.json").read_text())
    if expected is None:
        assert advice is None
        return
    assert advice is not None
    for name, bound in expected.items():
        value = advice.value[name]
        inside = bound[0] <= value <= bound[1] if isinstance(bound, list) else value == bound
        assert inside, f"{name} is {value}; expected {bound}"
