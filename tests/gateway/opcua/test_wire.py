"""The columnar decoder against what was encoded, and against asyncua's decoder where that follows the specification."""

from __future__ import annotations

import random
import struct
import uuid
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary, variant_from_binary, variant_to_binary
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lineside_gateway.opcua.values import event_time_us, number
from lineside_gateway.opcua.wire import DataChanges, Published, WireError, misfits, plain_published
from lineside_gateway.opcua.wire.columns import ChangeDecoder
from lineside_gateway.opcua.wire.messages import published

NOW = 134_123_456_789_012_345  # ticks of 100 ns since 1601, in 2026
UNSET_CLOCK = 1_000_000_000
EPOCH_US = 11_644_473_600_000_000
NUMBERS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
PUBLISH_HEAD = struct.pack("<BBHqIIBiBBB", 1, 0, 829, NOW, 7, 0, 0, -1, 0, 0, 0)
STATUSES = (0, 0x480, 0x4092_0000, 0x8005_0000)


@dataclass(frozen=True)
class Sent:
    """One item as encoded: what the decoder has to find again."""

    handle: int
    mask: int
    variant: bytes
    status: int
    source: int
    server: int

    def encoded(self) -> bytes:
        """Fields in the order of OPC UA Part 6, 5.2.2.17."""
        out = struct.pack("<IB", self.handle, self.mask) + (self.variant if self.mask & 1 else b"")
        for bit, form, value in (
            (2, "<I", self.status), (4, "<q", self.source), (16, "<H", 4321), (8, "<q", self.server), (32, "<H", 9876),
        ):  # fmt: skip
            out += struct.pack(form, value) if self.mask & bit else b""
        return out

    @property
    def number(self) -> float | int | None:
        """The number in it, NaN without a value, None where it holds none."""
        if not self.mask & 1 or self.variant == b"\0":
            return float("nan")
        form = NUMBERS.get(self.variant[0])
        return None if form is None else struct.unpack("<" + form, self.variant[1:])[0]

    @property
    def time_us(self) -> int | None:
        """SourceTimestamp, else ServerTimestamp; None where the wall clock has to serve."""
        for bit, ticks in ((4, self.source), (8, self.server)):
            if self.mask & bit and ticks != UNSET_CLOCK:
                return ticks // 10 - EPOCH_US
        return None


def variant(kind: int, rng: random.Random) -> bytes:
    """A Variant of built-in type ``kind`` as asyncua encodes it; 0 is null, 100 and above arrays of the same types."""
    if kind == 0:
        return b"\0"
    if kind in NUMBERS:
        size = struct.calcsize(NUMBERS[kind])
        raw = rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size))
        return bytes([kind]) + (bytes([raw[0] & 1]) if kind == 1 else raw)
    base, array = (kind - 100, True) if kind >= 100 else (kind, False)
    values = [_value(base, rng) for _ in range(rng.choice((0, 1, 2, 6)) if array else 1)]
    dimensions = [2, 3] if len(values) == 6 and base < 23 and rng.random() < 0.5 else None
    return variant_to_binary(
        ua.Variant(values if array else values[0], ua.VariantType(base), dimensions, is_array=array)
    )


def _value(kind: int, rng: random.Random) -> Any:
    text = "".join(rng.choices("aäß漢 ", k=rng.randrange(6)))
    makers: dict[int, Any] = {
        12: lambda: rng.choice((None, "", text)),
        13: lambda: ua.uatypes.win_epoch_to_datetime(NOW + rng.randrange(10**12)),
        14: lambda: uuid.UUID(bytes=rng.randbytes(16)),
        15: lambda: rng.choice((None, b"", rng.randbytes(9))),
        17: lambda: rng.choice((ua.NodeId(5), ua.NodeId(300, 2), ua.NodeId(text, 1), ua.NodeId(b"ab", 3))),
        18: lambda: ua.ExpandedNodeId(7, 1, NamespaceUri="urn:x", ServerIndex=3),
        19: lambda: ua.StatusCode(ua.UInt32(rng.choice(STATUSES))),
        20: lambda: ua.QualifiedName(text, 3),
        21: lambda: ua.LocalizedText(text, rng.choice((None, "en"))),
        22: lambda: rng.choice((ua.Range(1.0, 2.0), ua.EUInformation(DisplayName=ua.LocalizedText(text)))),
        23: lambda: ua.DataValue(ua.Variant(rng.random(), ua.VariantType.Double)),
        24: lambda: ua.Variant(rng.random(), ua.VariantType.Double),
    }
    if kind in NUMBERS:
        return struct.unpack("<" + NUMBERS[kind], variant(kind, rng)[1:])[0]
    return makers[kind]()


SCALARS = (*NUMBERS, 0, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23)
ARRAYS = tuple(100 + k for k in (*NUMBERS, 12, 13, 15, 17, 19, 20, 21, 22, 23, 24))


def item(handle: int, kind: int, mask: int, rng: random.Random) -> Sent:
    return Sent(
        handle,
        mask,
        variant(kind, rng),
        rng.choice(STATUSES) if mask & 2 else 0,
        rng.choice((NOW + rng.randrange(10**9), NOW, UNSET_CLOCK)),
        NOW - 7_000_000 + rng.randrange(10**6),
    )


def change(items: list[Sent], diagnostics: int = -1) -> bytes:
    body = struct.pack("<i", len(items)) + b"".join(i.encoded() for i in items)
    body += struct.pack("<i", diagnostics) + (b"\x01\x05\0\0\0" * max(diagnostics, 0))
    return struct.pack("<BBHBi", 1, 0, 811, 1, len(body)) + body


def response(notifications: list[bytes], number_: int = 42, more: bool = False) -> bytes:
    head = PUBLISH_HEAD + struct.pack("<Iii", 3, 2, 41) + struct.pack("<I", 42) + struct.pack("<?", more)
    body = struct.pack("<Iqi", number_, NOW, len(notifications)) + b"".join(notifications)
    return head + body + struct.pack("<iIi", 1, 0, -1)


@st.composite
def messages(draw: Any) -> tuple[list[list[Sent]], int]:
    """Notifications of one form, of repeated mixtures of forms, or of everything; and the diagnostics in each."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    style = draw(st.sampled_from(("uniform", "numbers", "everything")))
    kinds = SCALARS + ARRAYS if style == "everything" else (*NUMBERS, 0)
    found: list[list[Sent]] = []
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        count = draw(st.sampled_from((0, 1, 2, 17, 60)))
        if style == "uniform":
            kind, mask = draw(st.sampled_from(kinds)), draw(st.integers(0, 63))
            found.append([item(rng.randrange(1000), kind, mask, rng) for _ in range(count)])
        else:
            found.append([item(rng.randrange(1000), rng.choice(kinds), rng.randrange(64), rng) for _ in range(count)])
    return found, draw(st.sampled_from((-1, -1, 0, 2)))


def decode(body: bytes, decoder: ChangeDecoder | None = None) -> Published:
    around = bytearray(b"\xee" * 9 + body + b"\xee" * 40)  # what lies around a message must not matter
    return published(around, 9, 9 + len(body), decoder or ChangeDecoder())


def check(sent: list[Sent], found: DataChanges) -> None:
    numbers = [s for s in sent if s.number is not None]
    others = [s for s in sent if s.number is None]
    assert found.handle_array.tolist() == [s.handle for s in numbers]
    status = [0] * len(numbers) if found.status is None else found.status.tolist()
    assert status == [s.status if s.mask & 2 else 0 for s in numbers]
    for place, s in enumerate(numbers):
        value = found.exact.get(place, found.values[place])
        assert value == s.number or (np.isnan(value) and np.isnan(s.number)), (s, value)
        assert s.time_us in (None, int(found.times_us[place]))
    assert found.newest_us == max((s.time_us or 0 for s in numbers if s.mask & 4), default=0)
    assert [h for h, _ in found.others] == [s.handle for s in others]
    for s, (_, dv) in zip(others, found.others, strict=True):
        reference = variant_from_binary(Buffer(s.variant))
        assert repr(dv.Value) == repr(reference)
        assert dv.StatusCode.value == (s.status if s.mask & 2 else 0)
        assert (dv.SourcePicoseconds, dv.ServerPicoseconds) == (
            4321 if s.mask & 16 else None,
            9876 if s.mask & 32 else None,
        )
        assert s.time_us in (None, event_time_us(dv))


def check_against_asyncua(body: bytes, found: Published) -> None:
    """Both decoders see the same, item by item; asyncua's through the plain path."""
    plain = plain_published(struct_from_binary(ua.PublishResponse, Buffer(body)).Parameters)
    assert (found.subscription_id, found.sequence_number, found.more, found.has_data) == (
        plain.subscription_id, plain.sequence_number, plain.more, plain.has_data,
    )  # fmt: skip
    for ours, theirs in zip(found.notifications, plain.notifications, strict=True):
        assert isinstance(ours, DataChanges)
        assert isinstance(theirs, DataChanges)
        assert ours.handles == theirs.handles
        assert np.array_equal(ours.values, theirs.values, equal_nan=True)
        assert ours.exact == theirs.exact
        status = np.zeros(len(ours.values), np.uint32) if ours.status is None else ours.status
        assert np.array_equal(status, theirs.status)
        assert ours.newest_us == theirs.newest_us
        assert np.abs(ours.times_us - theirs.times_us).max(initial=0) < 60_000_000  # wall clock where there is no stamp
        assert repr(ours.others) == repr(theirs.others)


def decode_and_check(message: tuple[list[list[Sent]], int]) -> None:
    sent, diagnostics = message
    body = response([change(items, diagnostics) for items in sent])
    decoder = ChangeDecoder()
    picoseconds = any(s.mask & 48 for items in sent for s in items)
    for _ in range(2):  # the second time through what was remembered
        found = decode(body, decoder)
        assert not found.error
        assert (found.subscription_id, found.sequence_number, found.more) == (3, 42, False)
        for items, notification in zip(sent, found.notifications, strict=True):
            assert isinstance(notification, DataChanges)
            check(items, notification)
        if not picoseconds:
            check_against_asyncua(body, found)


@settings(max_examples=600, deadline=None)
@given(messages())
def test_the_decoder_finds_what_was_encoded(message: tuple[list[list[Sent]], int]) -> None:
    """All built-in types, masks and layouts come back as encoded, and as asyncua decodes them."""
    decode_and_check(message)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@settings(max_examples=12_000, deadline=None)
@given(messages())
def test_the_decoder_finds_what_was_encoded_in_ten_thousand_messages(message: tuple[list[list[Sent]], int]) -> None:
    """As above, on more than 10,000 messages."""
    decode_and_check(message)


def test_each_form_is_decoded_at_one_stride() -> None:
    """Every mask with every numeric type, alone in a message, takes the uniform path and gives what was encoded."""
    rng = random.Random(5)
    decoder = ChangeDecoder()
    for mask in range(64):
        for kind in (*NUMBERS, 0):
            sent = [item(h, kind, mask, rng) for h in range(1, 8)]
            (found,) = decode(response([change(sent)]), decoder).notifications
            assert isinstance(found, DataChanges)
            check(sent, found)
    assert decoder.paths.uniform == 64 * 12
    assert decoder.paths.scanned == 0


def test_a_layout_that_comes_again_is_remembered() -> None:
    """The second message of a layout is not stepped through, and one changed mask makes it another layout."""
    rng = random.Random(6)
    decoder = ChangeDecoder()
    forms = [(rng.choice((*NUMBERS, 0)), rng.randrange(64)) for _ in range(200)]
    for _ in range(3):
        sent = [item(h, kind, mask, rng) for h, (kind, mask) in enumerate(forms)]
        (found,) = decode(response([change(sent)]), decoder).notifications
        check(sent, found)  # type: ignore[arg-type]
    assert (decoder.paths.scanned, decoder.paths.cached) == (1, 2)  # with picoseconds nothing can be guessed
    forms[100], forms[101] = (11, 7), (6, 15)
    sent = [item(h, kind, mask, rng) for h, (kind, mask) in enumerate(forms)]
    (found,) = decode(response([change(sent)]), decoder).notifications
    check(sent, found)  # type: ignore[arg-type]
    assert decoder.paths.scanned == 2


def test_items_that_end_with_a_timestamp_are_not_stepped_through() -> None:
    """A layout never seen before is found from the timestamps; a value that looks like one is no false boundary."""
    rng = random.Random(9)
    decoder = ChangeDecoder()
    masks = (4, 5, 7, 8, 9, 12, 13, 14, 15)
    for _ in range(20):
        sent = [item(h, rng.choice((*NUMBERS, 0)), rng.choice(masks), rng) for h in range(100)]
        sent = [replace(s, source=NOW + 5) for s in sent]
        (found,) = decode(response([change(sent)]), decoder).notifications
        check(sent, found)  # type: ignore[arg-type]
    assert (decoder.paths.guessed, decoder.paths.scanned) == (20, 0)
    upper = struct.pack("<q", NOW)[5:]
    sent[50] = Sent(50, 5, b"\x0b" + bytes(5) + upper, 0, NOW, 0)
    (found,) = decode(response([change(sent)]), decoder).notifications
    check(sent, found)  # type: ignore[arg-type]
    sent[60] = Sent(60, 5, b"\x0b" + upper + bytes(5), 0, NOW, 0)
    (found,) = decode(response([change(sent)]), decoder).notifications
    check(sent, found)  # type: ignore[arg-type]
    assert decoder.paths.scanned == 1


def test_equal_length_with_other_forms_is_another_layout() -> None:
    """Two items that swap forms keep a message's length; the remembered places are not believed."""
    rng = random.Random(7)
    decoder = ChangeDecoder()
    for forms in (((11, 5), (10, 7), (6, 5)), ((10, 7), (11, 5), (6, 5)), ((6, 5), (11, 5), (10, 7))):
        sent = [item(h, kind, mask, rng) for h, (kind, mask) in enumerate(forms)]
        (found,) = decode(response([change(sent)]), decoder).notifications
        check(sent, found)  # type: ignore[arg-type]


def test_64_bit_integers_keep_their_precision() -> None:
    """Whole numbers beyond 2^53 come back exactly, beside their float64."""
    numbers = [2**53 - 1, 2**53 + 1, -(2**63), 2**63 - 1, 5]
    sent = [Sent(k, 5, b"\x08" + struct.pack("<q", n), 0, NOW, 0) for k, n in enumerate(numbers)]
    for items in (sent, [*sent, Sent(9, 5, b"\x09" + b"\xff" * 8, 0, NOW, 0)]):
        (found,) = decode(response([change(items)])).notifications
        assert isinstance(found, DataChanges)
        assert {k: n for k, n in found.exact.items() if k < 5} == {1: numbers[1], 2: numbers[2], 3: numbers[3]}
        assert found.exact.get(5) == (2**64 - 1 if len(items) == 6 else None)


def test_events_and_status_changes_come_as_objects() -> None:
    """A notification that is no data change goes through asyncua's decoder, beside columns in the same response."""
    event = ua.EventNotificationList([ua.EventFieldList(4, [ua.Variant("x")])])
    status = ua.StatusChangeNotification(ua.StatusCode(ua.UInt32(ua.StatusCodes.BadTimeout)))
    rng = random.Random(8)
    sent = [item(1, 11, 5, rng)]
    encoded = [ua.ua_binary.extensionobject_to_binary(x) for x in (event, status)]
    columns, first, second = decode(response([change(sent), *encoded])).notifications
    check(sent, columns)  # type: ignore[arg-type]
    assert first == event
    assert second == status


def test_a_keep_alive_and_a_fault() -> None:
    """A keep-alive has a sequence number and no data; a ServiceFault carries its code."""
    alive = ua.PublishResponse()
    alive.Parameters.SubscriptionId = 3
    alive.Parameters.NotificationMessage.SequenceNumber = 17
    found = decode(struct_to_binary(alive))
    assert (found.sequence_number, found.has_data, found.notifications, found.error) == (17, False, [], "")
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.UInt32(ua.StatusCodes.BadTooManyPublishRequests))
    with pytest.raises(WireError, match="BadTooManyPublishRequests"):
        decode(struct_to_binary(fault))


def test_the_asyncua_installed_is_one_that_is_known() -> None:
    """Fails with one line that names what is missing when another asyncua is installed."""
    assert misfits() == []


# ---- corrupted bytes


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
