"""A line as the gateway sees it: records of job orders, equipment and forecasts at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from lineside_plugins.types import Record, WindowBatch

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MakeBatch = Callable[..., WindowBatch]


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def make_order() -> Callable[..., dict[str, object]]:
    def make(number: int, family: str, due_h: float, **fields: object) -> dict[str, object]:
        row: dict[str, object] = {
            "job_order_id": f"JO-{number:06d}",
            "family": family,
            "quantity": 100,
            "remaining": 100,
            "release": NOW.isoformat(),
            "due": (NOW + timedelta(hours=due_h)).isoformat(),
            "priority": 0,
            "equipment": None,
            "state": "AllowedToStart",
            "time": NOW.isoformat(),
        }
        return row | fields

    return make


@pytest.fixture
def make_batch() -> MakeBatch:
    def make(
        orders: Sequence[Record],
        families: Mapping[str, int],
        *,
        at: datetime = NOW,
        equipment: Mapping[str, Mapping[str, object]] | None = None,
        **streams: tuple[Record, ...],
    ) -> WindowBatch:
        rows = {
            m: {"equipment_id": m, "State": 1.0, "ActiveFamily": float(f), "PartCount": 0.0, "CycleTime": 60.0}
            for m, f in families.items()
        }
        for m, fields in (equipment or {}).items():
            rows[m] = rows.get(m, {"equipment_id": m}) | dict(fields)
        return WindowBatch(
            equipment_ids=("line",),
            tags=(),
            values=np.zeros((1, 0, 0), np.float32),
            good=np.zeros((1, 0, 0), np.bool_),
            end=np.array([at.replace(tzinfo=None)], "datetime64[us]"),
            period_s=1.0,
            snapshots=({},),
            records=({"job_orders": tuple(orders), "equipment": tuple(rows.values()), **streams},),
        )

    return make
