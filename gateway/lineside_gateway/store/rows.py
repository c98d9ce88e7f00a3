"""A request as one row: the window in the wire format of a batch of one, the rest in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from lineside_gateway.batching import join
from lineside_gateway.ingest import Request
from lineside_plugins.wire import decode_batch, encode_batch

SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY, task TEXT NOT NULL, equipment_id TEXT NOT NULL, end_us INTEGER NOT NULL,
    deadline_us INTEGER NOT NULL, expires_at REAL NOT NULL, kept_at REAL NOT NULL, quality REAL NOT NULL,
    cause TEXT NOT NULL, window BLOB NOT NULL)
"""
Row: TypeAlias = tuple[int, str, str, int, int, float, float, float, str, bytes]


def row_of(number: int, request: Request, expires_at: float, now: float) -> Row:
    """``request`` as it is kept; times are wall clock, seconds since 1970."""
    return (
        number,
        request.task,
        request.equipment_id,
        request.end_us,
        request.deadline_us,
        expires_at,
        now,
        request.quality,
        request.cause,
        encode_batch(join([request])),
    )


def request_of(row: Sequence[Any], request_id: int) -> tuple[Request, float]:
    """The request of a row under ``request_id``, and when it expires.

    Raises:
        ContractError, ValueError, TypeError: The row is damaged.
    """
    _, task, equipment_id, end_us, deadline_us, expires_at, _, quality, cause, window = row
    batch = decode_batch(window)
    return (
        Request(
            id=request_id,
            task=str(task),
            equipment_id=str(equipment_id),
            end_us=int(end_us),
            deadline_us=int(deadline_us),
            tags=batch.tags,
            period_s=batch.period_s,
            values=np.ascontiguousarray(batch.values[0]),
            good=batch.good[0],
            snapshot=batch.snapshots[0] if batch.snapshots else {},
            records=batch.records[0] if batch.records else {},
            quality=float(quality),
            cause=str(cause),
        ),
        float(expires_at),
    )
