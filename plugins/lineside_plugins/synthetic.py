"""Batches made from a task's declared inputs alone: to warm a model up, and to check a task without a plant."""

from __future__ import annotations

import numpy as np

from lineside_plugins.contract import Inputs
from lineside_plugins.types import SnapshotValue, WindowBatch

EPOCH = np.datetime64("2026-01-05T06:00:00", "us")


def synthetic_batch(inputs: Inputs, windows: int, *, seed: int | None = None) -> WindowBatch:
    """A batch of ``windows`` that fits ``inputs``: equipment E0, E1, ..., ends one minute apart.

    With a ``seed`` the grid holds standard-normal numbers, all Good; without one it is poor on purpose: every cell NaN
    and not Good. Snapshot values are None and record streams are empty in both, as for a plant that has said nothing
    yet.
    """
    spec = inputs.window
    tags = () if spec is None else tuple(c.tag for c in spec.channels)
    shape = (windows, 0 if spec is None else spec.length, len(tags))
    if seed is None:
        values = np.full(shape, np.nan, dtype=np.float32)
    else:
        values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    silent: dict[str, SnapshotValue] = dict.fromkeys(inputs.snapshot)
    return WindowBatch(
        equipment_ids=tuple(f"E{i}" for i in range(windows)),
        tags=tags,
        values=values,
        good=np.full(shape, seed is not None, dtype=np.bool_),
        end=EPOCH + np.arange(windows) * np.timedelta64(60_000_000, "us"),
        period_s=1.0 if spec is None else spec.period_s,
        snapshots=tuple(dict(silent) for _ in range(windows)),
        records=tuple({r.stream: () for r in inputs.records} for _ in range(windows)),
    )
