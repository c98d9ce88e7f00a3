"""Drift is told apart from change within what was learned, tag by tag and machine by machine."""

from __future__ import annotations

import numpy as np
import pytest

from lineside_plugins import WindowBatch
from lineside_plugins.types import Abstention
from lineside_workers.watching.drift_watch import DriftWatch

RANGES = {"VibRms": (1.0, 3.0), "Temp": (40.0, 50.0)}


def look(watch: DriftWatch, number: int, vib: float, temp: float = 45.0, abstained: Abstention | None = None):
    rng = np.random.default_rng(number)
    values = np.stack([vib + 0.1 * rng.standard_normal(12), temp + rng.standard_normal(12)], axis=1)
    batch = WindowBatch(
        ("M1",), ("VibRms", "Temp"), values[None].astype(np.float32), np.ones((1, 12, 2), np.bool_),
        np.array(["2026-01-05T00:00:00"], "datetime64[us]") + np.timedelta64(number, "m"), 1.0,
    )  # fmt: skip
    return watch.see(batch, [None], {} if abstained is None else {0: abstained})


@pytest.mark.parametrize(("after", "drifts"), [(2.8, False), (6.0, True)])
def test_a_change_is_drift_only_outside_what_was_learned(after: float, drifts: bool) -> None:
    """A machine that moves within its known range does not drift; a sensor beyond it does, and is named."""
    watch = DriftWatch(RANGES, "p")
    for i in range(100):
        assert look(watch, i, 1.5) == ()
    for i in range(100, 200):
        found = look(watch, i, after)
    assert [(d.equipment_id, d.tag) for d in found] == ([("M1", "VibRms")] if drifts else [])
    if drifts:
        assert "M1.VibRms has drifted to" in found[0].cause


def test_the_alarm_ends_when_the_sensor_is_right_again() -> None:
    """Back within the range, the drift is over."""
    watch = DriftWatch(RANGES, "p")
    for i, level in enumerate([1.5] * 60 + [6.0] * 60 + [1.5] * 200):
        found = look(watch, i, level)
        if i == 119:
            assert found
    assert found == ()


def test_abstaining_again_and_again_over_one_tag_is_drift() -> None:
    """One abstention is a passing state, three in a row over the same tag are told with their cause."""
    watch, strange = DriftWatch(RANGES, "p"), Abstention("VibRms is unlike anything learned from", tag="VibRms")
    seen = [bool(look(watch, i, 2.0, abstained=strange)) for i in range(3)]
    assert seen == [False, False, True]
    assert look(watch, 4, 2.0) == ()
