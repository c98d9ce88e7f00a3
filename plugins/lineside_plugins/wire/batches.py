"""A batch of windows as bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import cast

import numpy as np
from pydantic_core import from_json, to_json

from lineside_plugins.types import BoolArray, FloatArray, SnapshotValue, WindowBatch, all_good
from lineside_plugins.wire.errors import UNREADABLE, WireError

MAGIC = b"LSB2"
_HEAD = struct.Struct("<4sI")
_TIME = np.dtype("datetime64[us]")


def encode_batch(batch: WindowBatch) -> bytes:
    """The batch as bytes; one copy of the tensors."""
    return b"".join(batch_pieces(batch))


def batch_pieces(batch: WindowBatch) -> tuple[bytes | memoryview, ...]:
    """The encoded batch in pieces to be sent one after the other; the tensors stay where they lie."""
    blobs: list[bytes] = []

    def place(value: SnapshotValue) -> object:
        if isinstance(value, np.ndarray):
            blobs.append(np.ascontiguousarray(value, dtype="<f4").tobytes())
            return {"array": list(value.shape), "n": len(blobs[-1])}
        if isinstance(value, bytes):
            blobs.append(value)
            return {"bytes": len(value), "n": len(value)}
        return {"v": None if isinstance(value, float) and not math.isfinite(value) else value}

    whole = batch.is_all_good
    header = {
        "equipment_ids": batch.equipment_ids,
        "tags": batch.tags,
        "shape": batch.values.shape,
        "end": batch.end.astype(np.int64).tolist(),
        "period_s": batch.period_s,
        "all_good": whole,
        "snapshots": [{k: place(v) for k, v in s.items()} for s in batch.snapshots],
        "records": [{k: [dict(r) for r in rows] for k, rows in m.items()} for m in batch.records],
    }
    head = to_json(header)
    values = np.ascontiguousarray(batch.values, dtype="<f4").reshape(-1).view(np.uint8).data
    good = b"" if whole else np.packbits(batch.good).tobytes()
    return (_HEAD.pack(MAGIC, len(head)) + head, values, good, *blobs)


def decode_batch(data: bytes | memoryview) -> WindowBatch:
    """The batch; ``values`` is a read-only view on ``data``.

    Raises:
        WireError: Not a batch of this version, or cut short.
    """
    view = memoryview(data)
    if view[:4] != MAGIC:
        raise WireError(f"batch starts with {bytes(view[:4])!r}; expected {MAGIC!r}")
    try:
        _, n = _HEAD.unpack_from(view)
        at = _HEAD.size + n
        header = from_json(bytes(view[_HEAD.size : at]))
        shape = tuple(int(i) for i in header["shape"])
        count = math.prod(shape)
        values: FloatArray = np.frombuffer(view, "<f4", count, at).reshape(shape)
        at += 4 * count
        good, at = _good(view, shape, at, everywhere=bool(header["all_good"]))
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
    except UNREADABLE as e:
        raise WireError(f"batch of {len(data)} bytes cannot be read: {e}") from e


def _good(view: memoryview, shape: tuple[int, ...], at: int, *, everywhere: bool) -> tuple[BoolArray, int]:
    if everywhere:
        return all_good(shape), at
    count = math.prod(shape)
    size = -(-count // 8)
    bits = np.frombuffer(view, np.uint8, size, at)
    return np.unpackbits(bits, count=count).view(np.bool_).reshape(shape), at + size


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
