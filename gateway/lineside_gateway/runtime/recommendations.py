"""A recommendation as a row of the stream ``recommendations/<task>``: what one task said, another may read."""

from __future__ import annotations

from lineside_plugins.types import Recommendation, Record, Scalar


def stream_of(task: str) -> str:
    """Name of the stream that carries what ``task`` recommends."""
    return f"recommendations/{task}"


def recommendation_record(rec: Recommendation) -> Record:
    """The scalar outputs with origin and validity; outputs that are records themselves are left out."""
    row: dict[str, Scalar] = {k: v for k, v in rec.value.items() if not isinstance(v, tuple)}
    row |= {
        "time": rec.window_end.isoformat(),
        "equipment_id": rec.equipment_id,
        "confidence": rec.confidence,
        "interval_low": None if rec.interval is None else rec.interval[0],
        "interval_high": None if rec.interval is None else rec.interval[1],
        "valid_until": rec.valid_until.isoformat(),
        "model": rec.model,
        "model_version": rec.model_version,
        "key": rec.key,
        "quality": rec.quality,
    }
    return row
