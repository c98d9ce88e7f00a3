"""Responses that carry notifications: PublishResponse and RepublishResponse (OPC UA Part 4, 5.14.5 and 5.14.6)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import extensionobject_from_binary

from lineside_gateway.opcua.wire.columns import ChangeDecoder
from lineside_gateway.opcua.wire.errors import WireError
from lineside_gateway.opcua.wire.extents import (
    Bytes,
    array_length,
    diagnostic_info_end,
    diagnostic_infos_end,
    extension_object_end,
    int32,
    need,
    node_id_end,
    string_end,
)
from lineside_gateway.opcua.wire.fields import DataChanges
from lineside_gateway.opcua.wire.objects import UNREADABLE

Notification: TypeAlias = DataChanges | ua.EventNotificationList | ua.StatusChangeNotification

SERVICE_FAULT, PUBLISH_RESPONSE, REPUBLISH_RESPONSE = 397, 829, 835
DATA_CHANGE = 811
"""NodeIds of the binary encodings (Part 6, annex A)."""
_PLAIN_TYPE = b"\x01\x00"
"""A NodeId of namespace 0 in four bytes; its number follows."""
_PLAIN_HEADER = bytes(4) + b"\0" + b"\xff\xff\xff\xff" + bytes(3)
_PLAIN_HEADER_0 = bytes(4) + b"\0" + bytes(4) + bytes(3)
"""ServiceResult Good, no diagnostics, no strings (null or empty), no additional header."""
_DATA_CHANGE_HEAD = struct.pack("<2sHB", _PLAIN_TYPE, DATA_CHANGE, 1)
"""A DataChangeNotification as an ExtensionObject with a body of bytes; the body's length follows."""
_RESPONSE_HEADS = {k: _PLAIN_TYPE + struct.pack("<H", k) for k in (PUBLISH_RESPONSE, REPUBLISH_RESPONSE)}
_NO_DIAGNOSTICS = (b"\xff\xff\xff\xff", bytes(4))
_STAMP_AND_HANDLE = 12
_COUNTS = struct.Struct("<Ii")
_MESSAGE = struct.Struct("<Iqi")
_UINT32 = struct.Struct("<I")
_UINT16 = struct.Struct("<H")


@dataclass(slots=True)
class Published:
    """One publish response. ``sequence_number`` 0: not known, because the response could not be read that far."""

    subscription_id: int
    sequence_number: int = 0
    more: bool = False
    notifications: Sequence[Notification] = field(default_factory=list)
    has_data: bool = False
    """False for a keep-alive."""
    error: str = ""
    """What is wrong with its bytes; then nothing of it is in ``notifications``."""


class ServiceFaultError(WireError):
    """The server answered with a ServiceResult that is not Good."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server answers {ua.StatusCode(ua.UInt32(code)).name}")
        self.code = code


def published(buf: Bytes, at: int, end: int, decoder: ChangeDecoder) -> Published:
    """The PublishResponse that lies from ``at`` to ``end``.

    Raises:
        ServiceFaultError: The server refused the request.
        WireError: The bytes are not a PublishResponse as far as its subscription.
    """
    at = _response(buf, at, end, PUBLISH_RESPONSE)
    need(at + 8, end)
    subscription_id, available = _COUNTS.unpack_from(buf, at)
    at += 8 + 4 * max(available, 0)
    need(at + 17, end)
    if buf[at] > 1:
        raise WireError(f"MoreNotifications is {buf[at]}")
    found = Published(subscription_id, more=bool(buf[at]))
    found.sequence_number, _, count = _MESSAGE.unpack_from(buf, at + 1)
    found.has_data = count > 0
    try:
        if count == 1 and buf[at + 17 : at + 22] == _DATA_CHANGE_HEAD:  # as nearly all are
            start = at + 26
            at = start + max(int32(buf, at + 22, end), 0)
            need(at, end)
            found.notifications = [decoder.decode(buf, start, at)]
        else:
            found.notifications, at = _notifications(buf, at + 13, end, decoder)
        at += 4 + 4 * array_length(buf, at, end, 4)
        if at + 4 != end or buf[at:end] not in _NO_DIAGNOSTICS:
            _check_end(diagnostic_infos_end(buf, at, end), end)
    except WireError as e:
        found.notifications, found.error = [], e.sentence
    return found


def republished(buf: Bytes, at: int, end: int, decoder: ChangeDecoder) -> list[Notification]:
    """The notifications of a RepublishResponse.

    Raises:
        WireError: Refused by the server, or the bytes are no RepublishResponse.
    """
    at = _response(buf, at, end, REPUBLISH_RESPONSE)
    need(at + 16, end)
    found, at = _notifications(buf, at + 12, end, decoder)
    _check_end(at, end)
    return found


def _check_end(at: int, end: int) -> None:
    if at != end:
        raise WireError(f"{end - at} bytes after the end of a response")


def _response(buf: Bytes, at: int, end: int, expected: int) -> int:
    """End of the ResponseHeader of a response of type ``expected`` whose ServiceResult is Good."""
    if buf[at : at + 4] == _RESPONSE_HEADS[expected] and at + 28 <= end:
        upto = at + 4 + _STAMP_AND_HANDLE + len(_PLAIN_HEADER)
        if buf[upto - len(_PLAIN_HEADER) : upto] in (_PLAIN_HEADER, _PLAIN_HEADER_0):
            return upto
    kind, at = _type(buf, at, end)
    at += _STAMP_AND_HANDLE
    need(at + 12, end)
    (code,) = _UINT32.unpack_from(buf, at)
    at = diagnostic_info_end(buf, at + 4, end)
    strings, at = array_length(buf, at, end, 4), at + 4
    for _ in range(strings):
        at = string_end(buf, at, end)
    at = extension_object_end(buf, at, end)
    if code & 0x8000_0000:
        raise ServiceFaultError(code)
    if kind != expected:
        raise WireError(f"response of type i={kind}, expected i={expected}")
    return at


def _type(buf: Bytes, at: int, end: int) -> tuple[int, int]:
    """The number of a NodeId in namespace 0, -1 for any other NodeId, and its end."""
    need(at + 4, end)
    if buf[at : at + 2] == _PLAIN_TYPE:
        return int(_UINT16.unpack_from(buf, at + 2)[0]), at + 4
    upto = node_id_end(buf, at, end, expanded=True)
    if buf[at] == 0:
        return buf[at + 1], upto
    numeric = buf[at] == 2 and not buf[at + 1] and not buf[at + 2]
    return int(_UINT32.unpack_from(buf, at + 3)[0]) if numeric else -1, upto


def _notifications(buf: Bytes, at: int, end: int, decoder: ChangeDecoder) -> tuple[list[Notification], int]:
    count, at = array_length(buf, at, end, 3), at + 4
    found: list[Notification] = []
    for _ in range(count):
        start = at
        kind, at = _type(buf, at, end)
        if kind == DATA_CHANGE and at < end and buf[at] == 1:
            length = int32(buf, at + 1, end)
            at += 5
            need(at + max(length, 0), end)
            found.append(decoder.decode(buf, at, at + length))
            at += length
        else:
            at = extension_object_end(buf, start, end)
            found.append(_object(buf, start, at))
    return found, at


def _object(buf: Bytes, at: int, end: int) -> ua.EventNotificationList | ua.StatusChangeNotification:
    """Events and status changes, through asyncua's decoder."""
    rest = Buffer(bytes(buf[at:end]))
    try:
        found = extensionobject_from_binary(rest)
    except UNREADABLE as e:
        raise WireError(f"a notification cannot be read: {type(e).__name__}") from e
    if len(rest):
        raise WireError(f"{len(rest)} bytes after a notification")
    if not isinstance(found, ua.EventNotificationList | ua.StatusChangeNotification):
        raise WireError(f"a notification of type {type(found).__name__}")
    return found
