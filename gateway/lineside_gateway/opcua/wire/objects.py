"""What the columns do not hold, as asyncua's objects: DataValues in the specification's field order.

asyncua decodes the Variants. It takes the fields of a DataValue in another order than the wire has them when
picoseconds are among them, so DataValues are taken apart here.
"""

from __future__ import annotations

import struct
from typing import cast

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from asyncua.ua.uatypes import win_epoch_to_datetime

from lineside_gateway.opcua.standard import StatusCodes, UaError
from lineside_gateway.opcua.wire.extents import DATA_VALUE, DIAGNOSTIC_INFO, VARIANT, Bytes, data_value_end, variant_end
from lineside_gateway.opcua.wire.forms import SERVER, SERVER_PICO, SOURCE, SOURCE_PICO, STATUS, VALUE

UNREADABLE = (UaError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, struct.error)
"""What asyncua's decoder raises on a value that it cannot read; UnicodeDecodeError is a ValueError."""
_OWN = frozenset({DATA_VALUE, VARIANT, DIAGNOSTIC_INFO})
_ARRAY, _TYPE = 0x80, 0x3F


def data_value(buf: Bytes, at: int, end: int) -> tuple[ua.DataValue, int]:
    """The DataValue at ``at``, and where it ends.

    A value whose bytes are all there but mean nothing is null, with BadDecodingError.

    Raises:
        WireError: Its lengths do not fit the bytes there are.
    """
    upto = data_value_end(buf, at, end)
    mask, at = buf[at], at + 1
    value, status = None, ua.StatusCode()
    if mask & VALUE:
        value_end = variant_end(buf, at, end)
        value, at = _variant(buf, at, value_end), value_end
    if mask & STATUS:
        status, at = ua.StatusCode(ua.UInt32(struct.unpack_from("<I", buf, at)[0])), at + 4
    source, source_pico, at = _stamp(buf, at, mask, SOURCE, SOURCE_PICO)
    server, server_pico, at = _stamp(buf, at, mask, SERVER, SERVER_PICO)
    if mask & VALUE and value is None:
        status = ua.StatusCode(ua.UInt32(StatusCodes.BadDecodingError))
    found = ua.DataValue(value, status, source, server, source_pico, server_pico)
    return found, upto


def _stamp(
    buf: Bytes, at: int, mask: int, time_bit: int, pico_bit: int
) -> tuple[ua.DateTime | None, ua.UInt16 | None, int]:
    stamp, pico = None, None
    if mask & time_bit:
        stamp, at = cast("ua.DateTime", win_epoch_to_datetime(struct.unpack_from("<q", buf, at)[0])), at + 8
    if mask & pico_bit:
        pico, at = ua.UInt16(struct.unpack_from("<H", buf, at)[0]), at + 2
    return stamp, pico, at


def _variant(buf: Bytes, at: int, end: int) -> ua.Variant | None:
    """The Variant that lies from ``at`` to ``end``; None where asyncua cannot read it, or not to its end."""
    encoding = buf[at]
    if encoding & _TYPE in _OWN:
        return _nested(buf, at, end, encoding)
    rest = Buffer(bytes(buf[at:end]))
    try:
        found = variant_from_binary(rest)
    except UNREADABLE:
        return None
    return None if len(rest) else found


def _nested(buf: Bytes, at: int, end: int, encoding: int) -> ua.Variant | None:
    """DataValues and Variants inside a Variant; DiagnosticInfos are stepped over, and dimensions left out."""
    kind, at = encoding & _TYPE, at + 1
    if kind == DIAGNOSTIC_INFO:
        return None
    count = 1
    if encoding & _ARRAY:
        count, at = max(struct.unpack_from("<i", buf, at)[0], 0), at + 4
    values: list[object] = []
    for _ in range(count):
        if kind == DATA_VALUE:
            inner, at = data_value(buf, at, end)
            values.append(inner)
        else:
            upto = variant_end(buf, at, end)
            values.append(_variant(buf, at, upto))
            at = upto
    return ua.Variant(
        values if encoding & _ARRAY else values[0], ua.VariantType(kind), is_array=bool(encoding & _ARRAY)
    )
