"""The columnar decoder against what was encoded, and against asyncua's decoder where that follows the specification."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary, variant_from_binary
from hypothesis import given, settings

from lineside_gateway.opcua.values import event_time_us
from lineside_gateway.opcua.wire import DataChanges, Published, WireError, misfits, plain_published
from lineside_gateway.opcua.wire.columns import ChangeDecoder
from tests.gateway.opcua.wire_messages import (
    NOW,
    NUMBERS,
    Sent,
    change,
    decode,
    item,
    messages,
    response,
)


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
