"""Corrupted publish responses: refused, or taken as they stand; never a wrong value, never a crash."""

from __future__ import annotations

import random
import struct

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lineside_gateway.opcua.values import number
from lineside_gateway.opcua.wire import DataChanges, WireError
from lineside_gateway.opcua.wire.columns import ChangeDecoder
from tests.gateway.opcua.wire_messages import (
    ARRAYS,
    NOW,
    NUMBERS,
    PUBLISH_HEAD,
    SCALARS,
    change,
    decode,
    item,
    response,
)


def reference(body: bytes) -> list[tuple[int, float | None, int]]:
    """(handle, number, status) of all items, step by step, with asyncua for the variants; raises where it cannot."""
    data = Buffer(body)
    assert data.read(len(PUBLISH_HEAD)) == PUBLISH_HEAD
    data.read(4)
    (available,) = struct.unpack("<i", data.read(4))
    data.read(4 * max(available, 0) + 1 + 12)
    (count,) = struct.unpack("<i", data.read(4))
    found: list[tuple[int, float | None, int]] = []
    for _ in range(count):
        assert data.read(5) == b"\x01\x00\x2b\x03\x01"
        inner = Buffer(data.read(struct.unpack("<i", data.read(4))[0]))
        (items,) = struct.unpack("<i", inner.read(4))
        found += [_reference_item(inner) for _ in range(items)]
        (diagnostics,) = struct.unpack("<i", inner.read(4))
        assert diagnostics <= 0
        assert len(inner) == 0
    return found


def _reference_item(data: Buffer) -> tuple[int, float | None, int]:
    handle, mask = struct.unpack("<IB", data.read(5))
    kind, value, status = 0, ua.Variant(), 0
    if mask & 1:
        kind = data.copy(1).read(1)[0]
        value = variant_from_binary(data)
    if mask & 2:
        (status,) = struct.unpack("<I", data.read(4))
    data.skip(sum(size for bit, size in ((4, 8), (16, 2), (8, 8), (32, 2)) if mask & bit))
    taken = number(ua.DataValue(value))[0] if kind in NUMBERS or kind == 0 else None
    return handle, taken, status


def corrupted(rng: random.Random) -> bytes:
    style = rng.random()
    kinds = (11,) if style < 0.4 else (*NUMBERS, 0) if style < 0.8 else SCALARS + ARRAYS
    masks = (rng.choice((5, 13, 15)),) if style < 0.4 else range(64)
    sent = [item(rng.randrange(50), rng.choice(kinds), rng.choice(masks), rng) for _ in range(rng.choice((1, 5, 17)))]
    body = bytearray(response([change(sent)]))
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(PUBLISH_HEAD), len(body))
        what = rng.randrange(4)
        if what == 0:
            body[place] = rng.randrange(256)
        elif what == 1:
            body[place] ^= 1 << rng.randrange(8)
        elif what == 2:
            del body[place : place + rng.randrange(1, 9)]
        else:
            body[place:place] = rng.randbytes(rng.randrange(1, 9))
        if len(body) <= len(PUBLISH_HEAD) + 4:
            break
    return bytes(body[: rng.randrange(len(PUBLISH_HEAD), len(body) + 1)] if rng.random() < 0.2 else body)


def take_corrupted(count: int, seed: int) -> tuple[int, int]:
    """Decode ``count`` corrupted messages; what is taken is what the reference takes. Returns taken and refused."""
    rng = random.Random(seed)
    decoder = ChangeDecoder()
    taken = refused = 0
    for _ in range(count):
        body = corrupted(rng)
        try:
            found = decode(body, decoder)
        except WireError:
            refused += 1
            continue
        if found.error:
            assert not found.notifications
            refused += 1
            continue
        if not all(isinstance(n, DataChanges) and len(n) for n in found.notifications):
            refused += 1
            continue
        taken += 1
        values = [
            (int(h), float(v), 0 if n.status is None else int(n.status[k]))
            for n in found.notifications
            if isinstance(n, DataChanges)
            for k, (h, v) in enumerate(zip(n.handle_array, n.values, strict=True))
        ]
        readable = not any(
            dv.StatusCode.value == ua.StatusCodes.BadDecodingError
            for n in found.notifications
            if isinstance(n, DataChanges)
            for _, dv in n.others
        )
        if readable:
            assert repr(values) == repr([v for v in reference(body) if v[1] is not None]), body.hex()
    return taken, refused


def test_corrupted_messages_are_refused_or_taken_as_they_stand() -> None:
    """Of corrupted messages nothing is taken that a step by step reading of the same bytes would not give."""
    taken, refused = take_corrupted(4_000, seed=1)
    assert taken > 200  # a flipped bit within a value is a value
    assert refused > 2_000


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10, 21))
def test_a_hundred_thousand_corrupted_messages(seed: int) -> None:
    """As above, on more than 100,000 messages."""
    taken, refused = take_corrupted(10_000, seed)
    assert taken + refused == 10_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
def test_noise_is_refused(noise: bytes) -> None:
    """Bytes that are no message at all are refused with one error, whatever they are."""
    with pytest.raises(WireError):
        decode(noise)
    found = decode(PUBLISH_HEAD + struct.pack("<Ii", 3, 0) + b"\0" + struct.pack("<Iqi", 1, NOW, 1) + noise)
    assert found.error
