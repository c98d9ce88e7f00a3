"""A hosted value and its bytes: encoded once, sent to as many subscribers as there are."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from asyncua import ua
from asyncua.ua.ua_binary import variant_to_binary

_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_TICKS_PER_S = 10_000_000  # DateTime counts 100 ns since 1601-01-01 (OPC UA Part 6, 5.2.2.5)
_VALUE, _STATUS, _SOURCE, _SOURCE_PICO, _SERVER, _SERVER_PICO = 0x01, 0x02, 0x04, 0x10, 0x08, 0x20
"""Bits of the DataValue's encoding mask (OPC UA Part 6, 5.2.2.17)."""

_BOOLEAN = (b"\x01\x00", b"\x01\x01")
_DOUBLE, _INT32, _UINT32, _UINT64 = (struct.Struct(f) for f in ("<Bd", "<Bi", "<BI", "<BQ"))
_STRING = struct.Struct("<Bi")
_STATUS_TIMES = struct.Struct("<Iqq")
_STATUS_TIME = struct.Struct("<Iq")
_TIME = struct.Struct("<q")


class Sample(ua.DataValue):
    """A DataValue that nobody changes any more; ``wire`` keeps its encoding once it has been sent."""

    __slots__ = ("wire",)
    wire: bytes | None

    def __post_init__(self) -> None:
        self.wire = None
        ua.DataValue.__post_init__(self)

    @staticmethod
    def of(value: ua.DataValue) -> Sample:
        """``value`` itself where it is one already, else a shallow copy; the caller keeps its own object."""
        if type(value) is Sample:
            return value
        made = Sample.__new__(Sample)
        made.Encoding = value.Encoding
        made.Value = value.Value
        made.StatusCode = value.StatusCode
        made.SourceTimestamp = value.SourceTimestamp
        made.ServerTimestamp = value.ServerTimestamp
        made.SourcePicoseconds = value.SourcePicoseconds
        made.ServerPicoseconds = value.ServerPicoseconds
        made.wire = None
        return made

    @staticmethod
    def new(
        variant: ua.Variant, status: ua.StatusCode, source: datetime | None = None, server: datetime | None = None
    ) -> Sample:
        """A Sample without the checks that ``DataValue`` makes of its arguments; a fifth of their cost."""
        made = Sample.__new__(Sample)
        made.Encoding = cast("ua.Byte", 0)
        made.Value = variant
        made.StatusCode = status
        made.SourceTimestamp = cast("ua.DateTime | None", source)  # asyncua takes any datetime
        made.ServerTimestamp = cast("ua.DateTime | None", server)
        made.SourcePicoseconds = None
        made.ServerPicoseconds = None
        made.wire = None
        return made

    @staticmethod
    def scalar(
        value: object, variant_type: ua.VariantType, status: ua.StatusCode, source: datetime | None, server: datetime
    ) -> Sample:
        """A Sample of one scalar that is known to have ``variant_type``."""
        variant = ua.Variant.__new__(ua.Variant)
        variant.Value = value
        variant.VariantType = variant_type
        variant.Dimensions = None
        variant.is_array = False
        return Sample.new(variant, status, source, server)

    @property
    def encoded(self) -> bytes:
        """The DataValue as OPC UA Binary."""
        wire = self.wire
        if wire is None:
            wire = self.wire = encode(self)
        return wire


def encode(value: ua.DataValue) -> bytes:
    """``value`` as OPC UA Binary, byte for byte what Part 6, 5.2.2.17 orders (asyncua misplaces picoseconds).

    Raises:
        UaError: The value does not fit its variant type.
    """
    status = 0 if value.StatusCode is None else value.StatusCode.value
    body = b"\x00" if value.Value is None else encode_variant(value.Value)
    source, server = value.SourceTimestamp, value.ServerTimestamp
    if value.SourcePicoseconds is None and value.ServerPicoseconds is None:
        if source is not None and server is not None:
            return b"\x0f" + body + _STATUS_TIMES.pack(status, _ticks(source), _ticks(server))
        if source is None and server is None:
            return b"\x03" + body + status.to_bytes(4, "little")
        if server is None and source is not None:
            return b"\x07" + body + _STATUS_TIME.pack(status, _ticks(source))
    mask = _VALUE | _STATUS
    parts = [body, status.to_bytes(4, "little")]
    for bit, time, pico_bit, pico in (
        (_SOURCE, source, _SOURCE_PICO, value.SourcePicoseconds),
        (_SERVER, server, _SERVER_PICO, value.ServerPicoseconds),
    ):
        if time is not None:
            mask |= bit
            parts.append(_TIME.pack(_ticks(time)))
        if pico is not None:
            mask |= pico_bit
            parts.append(pico.to_bytes(2, "little"))
    return bytes([mask]) + b"".join(parts)


def encode_variant(variant: ua.Variant) -> bytes:
    """A Variant as OPC UA Binary; the types tasks declare without a detour, the rest by asyncua."""
    fast = _FAST.get(variant.VariantType)
    if fast is None or variant.is_array or variant.Value is None:
        return variant_to_binary(variant)
    try:
        return fast(variant.Value)
    except (struct.error, TypeError, AttributeError, OverflowError):
        return variant_to_binary(variant)  # says what does not fit


def _string(text: str) -> bytes:
    data = text.encode()
    return _STRING.pack(12, len(data)) + data


_FAST: dict[Any, Callable[[Any], bytes]] = {
    ua.VariantType.Boolean: lambda v: _BOOLEAN[bool(v)],
    ua.VariantType.Int32: lambda v: _INT32.pack(6, v),
    ua.VariantType.UInt32: lambda v: _UINT32.pack(7, v),
    ua.VariantType.UInt64: lambda v: _UINT64.pack(9, v),
    ua.VariantType.Double: lambda v: _DOUBLE.pack(11, v),
    ua.VariantType.String: _string,
    ua.VariantType.DateTime: lambda v: b"\x0d" + _TIME.pack(_ticks(v)),
}


def _ticks(at: datetime) -> int:
    """100 ns since 1601; a time without zone is UTC, as in asyncua."""
    since = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * _TICKS_PER_S + since.microseconds * 10
