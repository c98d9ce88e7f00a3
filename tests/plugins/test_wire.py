from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineside_plugins import Kind, Reason, Recommendation, WindowBatch
from lineside_plugins.wire import (
    BatchResult,
    Refusal,
    Status,
    WireError,
    decode_batch,
    decode_result,
    decode_results,
    encode_batch,
    encode_result,
    encode_results,
    sign,
    verify,
)

END = datetime(2026, 1, 5, 7, tzinfo=UTC)


def batch_of(values: np.ndarray) -> WindowBatch:
    b, _, c = values.shape
    return WindowBatch(
        equipment_ids=tuple(f"M{i}" for i in range(b)),
        tags=tuple(f"T{i}" for i in range(c)),
        values=values,
        good=np.isfinite(values),
        end=np.datetime64("2026-01-05T07:00:00", "us") + np.arange(b) * np.timedelta64(1, "us"),
        period_s=0.25,
        snapshots=tuple(
            {"SerialNo": f"ä-{i}", "Curve": np.arange(i + 2, dtype=np.float32), "Image": b"\x89PNG", "Nothing": None}
            for i in range(b)
        ),
        records=tuple({"events": ({"time": "t", "Value": 1.5, "ok": True},), "job_orders": ()} for _ in range(b)),
    )


def recommendation(**change: object) -> Recommendation:
    fields: dict[str, object] = {
        "task": "schedule",
        "kind": Kind.SCHEDULE,
        "equipment_id": "line",
        "value": {"flag": True, "sequence": ({"job": "JO-1", "priority": 3},), "rul_h": 1.5, "note": None},
        "confidence": 0.75,
        "interval": (0.5, 2.0),
        "reasons": (Reason("VibRms", 0.6, "vibration rises"),),
        "window_end": END,
        "valid_until": END + timedelta(seconds=30),
        "model": "m",
        "model_version": "1",
        "key": "k",
        "quality": 0.9,
    }
    return Recommendation(**{**fields, **change})


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=5),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_any_grid_survives_the_wire_bit_by_bit(values: np.ndarray) -> None:
    """NaN, infinities, empty grids and all shapes come out as they went in."""
    sent = batch_of(values)
    got = decode_batch(encode_batch(sent))
    assert got.values.tobytes() == sent.values.tobytes()
    assert got.values.shape == sent.values.shape
    assert np.array_equal(got.good, sent.good)
    assert np.array_equal(got.end, sent.end)
    assert (got.equipment_ids, got.tags, got.period_s, got.records) == (
        sent.equipment_ids,
        sent.tags,
        sent.period_s,
        sent.records,
    )


def test_snapshots_keep_their_kinds() -> None:
    """Text, bytes, arrays and null arrive as what they are; tensors cannot be written."""
    got = decode_batch(encode_batch(batch_of(np.ones((2, 3, 1), dtype=np.float32))))
    row = got.snapshots[1]
    assert (row["SerialNo"], row["Image"], row["Nothing"]) == ("ä-1", b"\x89PNG", None)
    np.testing.assert_array_equal(row["Curve"], np.arange(3, dtype=np.float32))
    with pytest.raises(ValueError, match="read-only"):
        got.values[0, 0, 0] = 1.0


@given(st.data())
def test_a_damaged_batch_is_a_wire_error_or_another_batch_never_a_crash(data: st.DataObject) -> None:
    """Bytes cut, added or changed anywhere raise WireError at worst."""
    raw = bytearray(encode_batch(batch_of(np.ones((2, 3, 2), dtype=np.float32))))
    cut = data.draw(st.integers(0, len(raw)))
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
    for damaged in (raw[:cut], raw + b"x", changed):
        with contextlib.suppress(WireError):
            assert isinstance(decode_batch(bytes(damaged)), WindowBatch)


def test_numbers_beyond_all_bounds_are_a_wire_error() -> None:
    """An end time of 1e999 or a header nested a hundred thousand deep does not pass as another exception."""
    raw = encode_batch(batch_of(np.ones((1, 1, 1), dtype=np.float32)))
    for old, new in ((b'"end":[', b'"end":[1e999,'), (b'"shape":', b'"shape":' + b"[" * 100_000)):
        size = 8 + int.from_bytes(raw[4:8], "little")
        head = raw[8:size].replace(old, new)
        with pytest.raises(WireError, match="cannot be read"):
            decode_batch(b"LSB2" + len(head).to_bytes(4, "little") + head + raw[size:])


def test_a_batch_cut_by_one_byte_is_refused() -> None:
    """Length is checked to the byte."""
    raw = encode_batch(batch_of(np.ones((1, 2, 1), dtype=np.float32)))
    with pytest.raises(WireError):
        decode_batch(raw[:-1])
    with pytest.raises(WireError, match=r"has \d+ bytes; its header describes"):
        decode_batch(raw + b"\0")


def test_recommendations_survive_the_wire() -> None:
    """Records, intervals, reasons, None and times with their zone come back equal."""
    made = [recommendation(), None, recommendation(interval=None, reasons=())]
    assert decode_results(encode_results(made)) == made


def test_a_result_carries_refusals_error_and_figures() -> None:
    """What the runtime withheld travels with its sentence."""
    made = BatchResult(
        Status.ANSWERED,
        (recommendation(), None),
        (Refusal(1, "mean is 1e6; bounds are 0..1"),),
        meta={"inference_s": 0.1, "worker": "w@h"},
    )
    assert decode_result(encode_result(made)) == made
    failed = BatchResult(Status.FAILED, error="task 'x': no")
    assert decode_result(encode_result(failed)) == failed


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"\xff", b'{"status":"done","recommendations":[],"refused":[],"error":"","meta":{}}'],
)
def test_what_is_no_result_is_a_wire_error(body: bytes) -> None:
    """Anything else on the stream is refused, not guessed at."""
    with pytest.raises(WireError, match="cannot be read"):
        decode_result(body)


def test_no_pickle_crosses_the_wire() -> None:
    """A result is JSON, a batch is a JSON header and raw numbers."""
    assert json.loads(encode_result(BatchResult(Status.EXPIRED, error="late")))["status"] == "expired"
    assert encode_batch(batch_of(np.ones((1, 1, 1), dtype=np.float32)))[8:9] == b"{"


def test_a_signature_covers_meta_and_body() -> None:
    """A changed body, deadline or task, another key and no signature are all refused."""
    key, meta, body = b"secret", {"id": "1", "deadline": 12.5, "task": "reject"}, b"tensor"
    signed = {**meta, "hmac": sign(key, meta, body)}
    verify(key, signed, body)
    for wrong_key, wrong_meta, wrong_body in (
        (key, signed, b"tensos"),
        (key, {**signed, "deadline": 99.0}, body),
        (key, {**signed, "task": "other"}, body),
        (b"other", signed, body),
    ):
        with pytest.raises(WireError, match="signature does not match"):
            verify(wrong_key, wrong_meta, wrong_body)
    with pytest.raises(WireError, match=r"signature is missing.*LINESIDE_HMAC_KEY"):
        verify(key, meta, body)


def test_meta_and_body_cannot_be_shifted_into_each_other() -> None:
    """The boundary between meta and body is part of what is signed."""
    assert sign(b"k", {"a": 1}, b"x") != sign(b"k", {"a": 1, "b": 2}, b"x")
    assert sign(b"k", {}, b"{}x") != sign(b"k", {}, b"x")
