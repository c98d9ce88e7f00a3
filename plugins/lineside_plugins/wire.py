"""Bytes between gateway and worker. No pickle: a JSON header and raw little-endian tensors.

Layout of an encoded batch: magic ``LSB1`` | uint32 header length | header (UTF-8 JSON) | values float32 | good bool
| snapshot blobs in header order. A result is UTF-8 JSON: it is small, and readable in the broker.

Both travel with an HMAC where the two sides share a key (``sign``, ``verify``): Celery's own message signing does not
cover a tensor that lies beside the message.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import cast

import numpy as np

from lineside_plugins.types import (
    ContractError,
    FloatArray,
    Kind,
    OutputValue,
    Reason,
    Recommendation,
    Record,
    Scalar,
    SnapshotValue,
    WindowBatch,
)

MAGIC = b"LSB1"
_HEAD = struct.Struct("<4sI")
_TIME = np.dtype("datetime64[us]")
# What parsing someone else's bytes can raise; OverflowError from a number such as 1e999, RecursionError from nesting.
_UNREADABLE = (struct.error, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class WireError(ContractError):
    """Bytes that are not a batch or a result of this version; drop them and look at the sender's version."""


def encode_batch(batch: WindowBatch) -> bytes:
    """The batch as bytes; one copy of the tensors."""
    blobs: list[bytes] = []

    def place(value: SnapshotValue) -> object:
        if isinstance(value, np.ndarray):
            blobs.append(np.ascontiguousarray(value, dtype="<f4").tobytes())
            return {"array": list(value.shape), "n": len(blobs[-1])}
        if isinstance(value, bytes):
            blobs.append(value)
            return {"bytes": len(value), "n": len(value)}
        return {"v": _finite(value)}

    header = {
        "equipment_ids": batch.equipment_ids,
        "tags": batch.tags,
        "shape": batch.values.shape,
        "end": batch.end.astype(np.int64).tolist(),
        "period_s": batch.period_s,
        "snapshots": [{k: place(v) for k, v in s.items()} for s in batch.snapshots],
        "records": [{k: [dict(r) for r in rows] for k, rows in m.items()} for m in batch.records],
    }
    head = json.dumps(header, separators=(",", ":")).encode()
    values = np.ascontiguousarray(batch.values, dtype="<f4").tobytes()
    good = np.ascontiguousarray(batch.good).tobytes()
    return b"".join([_HEAD.pack(MAGIC, len(head)), head, values, good, *blobs])


def decode_batch(data: bytes) -> WindowBatch:
    """The batch; tensors are read-only views on ``data``.

    Raises:
        WireError: Not a batch of this version, or cut short.
    """
    view = memoryview(data)
    if view[:4] != MAGIC:
        raise WireError(f"batch starts with {bytes(view[:4])!r}; expected {MAGIC!r}")
    try:
        _, n = _HEAD.unpack_from(view)
        at = _HEAD.size + n
        header = json.loads(bytes(view[_HEAD.size : at]))
        shape = tuple(int(i) for i in header["shape"])
        count = math.prod(shape)
        values: FloatArray = np.frombuffer(view, "<f4", count, at).reshape(shape)
        good = np.frombuffer(view, np.bool_, count, at + 4 * count).reshape(shape)
        at += 5 * count
        snapshots: list[dict[str, SnapshotValue]] = []
        for row in header["snapshots"]:
            out: dict[str, SnapshotValue] = {}
            for key, cell in row.items():
                out[key], at = _take(view, cell, at)
            snapshots.append(out)
        _same_length(len(view), at)
        return WindowBatch(
            equipment_ids=tuple(header["equipment_ids"]),
            tags=tuple(header["tags"]),
            values=values,
            good=good,
            end=np.asarray(header["end"], dtype=np.int64).astype(_TIME),
            period_s=float(header["period_s"]),
            snapshots=tuple(snapshots),
            records=tuple({k: tuple(v) for k, v in m.items()} for m in header["records"]),
        )
    except WireError:
        raise
    except _UNREADABLE as e:
        raise WireError(f"batch of {len(data)} bytes cannot be read: {e}") from e


def _same_length(have: int, described: int) -> None:
    if have != described:
        raise WireError(f"batch has {have} bytes; its header describes {described}")


def _take(view: memoryview, cell: Mapping[str, object], at: int) -> tuple[SnapshotValue, int]:
    if "v" in cell:
        return cast("SnapshotValue", cell["v"]), at
    n = int(cast("int", cell["n"]))
    if n < 0 or at + n > len(view):
        raise WireError(f"snapshot of {n} bytes at offset {at} passes the end of the batch, {len(view)}")
    raw = view[at : at + n]
    if "array" in cell:
        shape = [int(i) for i in cast("list[int]", cell["array"])]
        array: FloatArray = np.frombuffer(raw, "<f4").reshape(shape)
        return array, at + n
    return bytes(raw), at + n


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def encode_results(results: Sequence[Recommendation | None]) -> bytes:
    """One entry per window of the batch, in its order."""
    return json.dumps([None if r is None else _result_row(r) for r in results], separators=(",", ":")).encode()


def _result_row(r: Recommendation) -> dict[str, object]:
    return {
        "task": r.task,
        "kind": r.kind.value,
        "equipment_id": r.equipment_id,
        "value": {k: [dict(i) for i in v] if isinstance(v, tuple) else _finite(v) for k, v in r.value.items()},
        "confidence": r.confidence,
        "interval": r.interval,
        "reasons": [[x.tag, x.weight, x.text] for x in r.reasons],
        "window_end": r.window_end.isoformat(),
        "valid_until": r.valid_until.isoformat(),
        "model": r.model,
        "model_version": r.model_version,
        "key": r.key,
        "quality": r.quality,
    }


def decode_results(data: bytes) -> list[Recommendation | None]:
    """Inverse of ``encode_results``.

    Raises:
        WireError: Not a result of this version.
    """
    try:
        rows = json.loads(data)
        return [None if row is None else _result(row) for row in rows]
    except _UNREADABLE as e:
        raise WireError(f"result of {len(data)} bytes cannot be read: {e}") from e


def _result(row: Mapping[str, object]) -> Recommendation:
    fields = dict(row)
    value = cast("dict[str, object]", fields.pop("value"))
    interval = cast("list[float] | None", fields.pop("interval"))
    reasons = cast("list[tuple[str, float, str]]", fields.pop("reasons"))
    return Recommendation(
        kind=Kind(str(fields.pop("kind"))),
        value={k: cast("OutputValue", _records(v) if isinstance(v, list) else v) for k, v in value.items()},
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        reasons=tuple(Reason(str(t), float(w), str(x)) for t, w, x in reasons),
        window_end=datetime.fromisoformat(str(fields.pop("window_end"))),
        valid_until=datetime.fromisoformat(str(fields.pop("valid_until"))),
        **fields,  # type: ignore[arg-type]  # the remaining keys are the scalar fields; a wrong one raises TypeError
    )


def _records(rows: list[Record]) -> tuple[Record, ...]:
    return tuple(rows)


class Status(StrEnum):
    """How a batch of windows ended."""

    ANSWERED = "answered"  # the task ran; see recommendations and refused
    FAILED = "failed"  # the task or its model could not run; ``error`` says why
    EXPIRED = "expired"  # nobody ran it before its deadline
    PARKED = "parked"  # it ended its worker again and again and is not tried any more


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the runtime withheld what a task said about the window at ``index`` of the batch."""

    index: int
    why: str


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one batch. ``recommendations`` has one entry per window, in order; empty unless ANSWERED.

    An entry is None where the task had nothing to say, or where ``refused`` has a row for it. ``meta`` holds figures
    for the operator: worker, device, seconds of inference, attempts.
    """

    status: Status
    recommendations: tuple[Recommendation | None, ...] = ()
    refused: tuple[Refusal, ...] = ()
    error: str = ""
    meta: Mapping[str, Scalar] = field(default_factory=dict)


def encode_result(result: BatchResult) -> bytes:
    """The result as UTF-8 JSON."""
    row = {
        "status": result.status.value,
        "recommendations": [None if r is None else _result_row(r) for r in result.recommendations],
        "refused": [[r.index, r.why] for r in result.refused],
        "error": result.error,
        "meta": {k: _finite(v) for k, v in result.meta.items()},
    }
    return json.dumps(row, separators=(",", ":")).encode()


def decode_result(data: bytes) -> BatchResult:
    """Inverse of ``encode_result``.

    Raises:
        WireError: Not a result of this version.
    """
    try:
        row = json.loads(data)
        return BatchResult(
            status=Status(row["status"]),
            recommendations=tuple(None if r is None else _result(r) for r in row["recommendations"]),
            refused=tuple(Refusal(int(i), str(why)) for i, why in row["refused"]),
            error=str(row["error"]),
            meta=dict(row["meta"]),
        )
    except _UNREADABLE as e:
        raise WireError(f"result of {len(data)} bytes cannot be read: {e}") from e


def sign(key: bytes, meta: Mapping[str, object], body: bytes) -> str:
    """HMAC-SHA256 over ``meta`` (canonical JSON, without its own "hmac") and ``body``; hex."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    head = json.dumps({k: v for k, v in meta.items() if k != "hmac"}, sort_keys=True, separators=(",", ":")).encode()
    mac.update(struct.pack("<Q", len(head)) + head)
    mac.update(body)
    return mac.hexdigest()


def verify(key: bytes, meta: Mapping[str, object], body: bytes) -> None:
    """Check ``meta["hmac"]`` in constant time.

    Raises:
        WireError: Missing or wrong: the sender does not hold the key, or the bytes were changed on the way.
    """
    given = meta.get("hmac")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), sign(key, meta, body).encode()):
        state = "does not match" if given else "is missing"
        raise WireError(f"signature {state}; set the same LINESIDE_HMAC_KEY for the gateway and its workers")
