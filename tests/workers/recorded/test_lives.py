"""Lives without a label: where they begin, and what their forecasts agree on."""

from __future__ import annotations

import numpy as np
import pytest

from lineside_workers.condition import lives
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError
from lineside_workers.recorded import labels

HOUR_US = 3_600_000_000
HOURS = np.arange(1.0, 101.0)
LEFT = np.minimum(np.where(HOURS <= 50, 50.0, 120.0) - HOURS, 60.0)  # two lives; a repair at 50.5 h


def _rows(value: np.ndarray) -> Rows:
    n, none = len(HOURS), np.zeros((len(HOURS), 0))
    names, ends = np.full(n, "M1"), (HOURS * HOUR_US).astype(np.int64)
    return Rows(none, ends, names, names, np.full(n, -1), none, value, none)


def test_a_life_begins_at_a_repair_and_its_forecasts_agree_on_one_end() -> None:
    """Forecasts that are off by chance say of every row nearly the truth, of the first life and of the second."""
    data = _rows(np.full(len(HOURS), np.nan))
    repair = {"equipment_id": "M1", "kind": "repair", "time": labels.iso(round(50.5 * HOUR_US))}
    failure = {"equipment_id": "M1", "kind": "failure", "time": labels.iso(20 * HOUR_US)}
    other = {"equipment_id": "M2", "kind": "repair", "time": labels.iso(20 * HOUR_US)}
    rows, own = lives.unlabelled(data, lives.of(data, [other, failure, repair]))
    assert own.tolist() == [0] * 50 + [1] * 50
    said = LEFT + np.random.default_rng(0).normal(0.0, 4.0, len(LEFT))
    found = lives.spread(said, rows, own, most=60.0, unit="h")
    assert len(found) >= len(rows) - 3
    kept = np.isin(data.end_us, found.end_us)
    assert np.abs(found.value - LEFT[kept]).max() < 2.5 < np.abs(said - LEFT).max()
    days = lives.spread(said / 24, rows, own, most=60.0 / 24, unit="d")
    assert days.value == pytest.approx(found.value / 24)


def test_machines_with_a_label_are_left_alone() -> None:
    """A machine of which one window has a value is not spread along: there is nobody left, which is said."""
    value = np.full(len(HOURS), np.nan)
    value[3] = 47.0
    with pytest.raises(LabelError, match="no training machine without a labelled value"):
        lives.unlabelled(_rows(value), np.zeros(len(HOURS), dtype=np.int64))
