"""A line as the gateway sees it: records of job orders, equipment and forecasts at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from lineside_plugins.types import Record, WindowBatch

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def make_order() -> Callable[..., dict[str, object]]:
    """A record of ``job_orders``, as a gateway makes it."""

    def make(job_order_id: str, family: str, due_h: float, **fields: object) -> dict[str, object]:
        row: dict[str, object] = {
            "job_order_id": job_order_id,
            "family": family,
            "quantity": 100,
            "remaining": 100,
            "release": NOW.isoformat(),
            "due": (NOW + timedelta(hours=due_h)).isoformat(),
            "priority": 0,
            "equipment": "",
            "state": "AllowedToStart",
            "equipment_id": "",
        }
        return row | fields

    return make


@pytest.fixture
def make_batch() -> Callable[..., WindowBatch]:
    """A batch of one window of the whole line; ``equipment`` holds records of that stream."""

    def make(
        orders: Sequence[Record], equipment: Sequence[Record], *, at: datetime = NOW, **streams: tuple[Record, ...]
    ) -> WindowBatch:
        records: Mapping[str, tuple[Record, ...]] = {
            "job_orders": tuple(orders),
            "equipment": tuple(equipment),
            "recommendations/maintenance": streams.get("forecasts", ()),
            "events": streams.get("events", ()),
        }
        return WindowBatch(
            equipment_ids=("line",),
            tags=(),
            values=np.zeros((1, 0, 0), np.float32),
            good=np.zeros((1, 0, 0), np.bool_),
            end=np.array([at.replace(tzinfo=None)], "datetime64[us]"),
            period_s=1.0,
            snapshots=({},),
            records=(records,),
        )

    return make
