"""Where a value of any type ends: every length and count is checked against the bytes that are there.

Needed to step over what the columns do not hold, and to hand asyncua's decoder exactly one value, so that a value it
cannot read spoils no other. Source: OPC UA Part 6, 5.2.2.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

from lineside_gateway.opcua.wire.errors import WireError

Bytes: TypeAlias = bytes | bytearray

MAX_DEPTH = 100
"""Levels of nesting a decoder has to support at least (Part 6, 5.1.11)."""
DATA_VALUE, VARIANT, DIAGNOSTIC_INFO = 23, 24, 25
_ARRAY, _DIMENSIONS, _TYPE = 0x80, 0x40, 0x3F
_FIXED = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 8, 13: 8, 14: 16, 19: 4}
_STRINGS = frozenset({12, 15, 16, *range(26, 32)})
"""String, ByteString, XmlElement; reserved ids are read as ByteString."""
_NODE_ID, _EXPANDED_NODE_ID, _QUALIFIED_NAME, _LOCALIZED_TEXT, _EXTENSION_OBJECT = 17, 18, 20, 21, 22
_NODE_ID_SIZES = {0: 2, 1: 4, 2: 7, 4: 19}
_INT32 = struct.Struct("<i")


def int32(buf: Bytes, at: int, end: int) -> int:
    """The Int32 at ``at``."""
    need(at + 4, end)
    return int(_INT32.unpack_from(buf, at)[0])


def need(upto: int, end: int) -> None:
    """Refuse what would reach beyond ``end``.

    Raises:
        WireError: It does.
    """
    if upto > end:
        raise WireError(f"message ends {upto - end} bytes too early")


def string_end(buf: Bytes, at: int, end: int) -> int:
    """End of a String or ByteString; a length below 0 is null."""
    upto = at + 4 + max(int32(buf, at, end), 0)
    need(upto, end)
    return upto


def array_length(buf: Bytes, at: int, end: int, smallest: int = 1) -> int:
    """Length of an array whose elements take ``smallest`` bytes or more; 0 for a null one."""
    count = int32(buf, at, end)
    need(at + 4 + count * smallest, end)
    return max(count, 0)


def node_id_end(buf: Bytes, at: int, end: int, *, expanded: bool = False) -> int:
    """End of a NodeId or ExpandedNodeId."""
    need(at + 1, end)
    kind = buf[at]
    if not expanded and kind & 0xC0:
        raise WireError(f"NodeId with encoding 0x{kind:02x}")
    if (size := _NODE_ID_SIZES.get(kind & 0x3F)) is not None:
        upto = at + size
    elif kind & 0x3F in (3, 5):
        upto = string_end(buf, at + 3, end)
    else:
        raise WireError(f"NodeId with encoding 0x{kind:02x}")
    if kind & 0x80:
        upto = string_end(buf, upto, end)
    if kind & 0x40:
        upto += 4
    need(upto, end)
    return upto


def extension_object_end(buf: Bytes, at: int, end: int) -> int:
    """End of an ExtensionObject: type, encoding byte, body with its length."""
    at = node_id_end(buf, at, end, expanded=True)
    need(at + 1, end)
    if buf[at] > 2:
        raise WireError(f"ExtensionObject with encoding 0x{buf[at]:02x}")
    return string_end(buf, at + 1, end) if buf[at] else at + 1


def diagnostic_info_end(buf: Bytes, at: int, end: int, depth: int = 0) -> int:
    """End of a DiagnosticInfo, which may hold another one."""
    need(at + 1, end)
    mask, at = buf[at], at + 1
    if mask & 0x80 or depth > MAX_DEPTH:
        raise WireError(f"DiagnosticInfo with mask 0x{mask:02x} at depth {depth}")
    at += 4 * (mask & 0x0F).bit_count()
    if mask & 0x10:
        at = string_end(buf, at, end)
    if mask & 0x20:
        at += 4
    need(at, end)
    return diagnostic_info_end(buf, at, end, depth + 1) if mask & 0x40 else at


def diagnostic_infos_end(buf: Bytes, at: int, end: int) -> int:
    """End of an array of DiagnosticInfos."""
    count, at = array_length(buf, at, end), at + 4
    for _ in range(count):
        at = diagnostic_info_end(buf, at, end)
    return at


def data_value_end(buf: Bytes, at: int, end: int, depth: int = 0) -> int:
    """End of a DataValue."""
    need(at + 1, end)
    mask, at = buf[at], at + 1
    if mask & 0xC0:
        raise WireError(f"DataValue with mask 0x{mask:02x}")
    if mask & 1:
        at = variant_end(buf, at, end, depth + 1)
    at += sum(size for bit, size in ((2, 4), (4, 8), (8, 8), (16, 2), (32, 2)) if mask & bit)
    need(at, end)
    return at


def variant_end(buf: Bytes, at: int, end: int, depth: int = 0) -> int:
    """End of a Variant, dimensions and all."""
    need(at + 1, end)
    encoding, at = buf[at], at + 1
    kind = encoding & _TYPE
    if depth > MAX_DEPTH or kind >= 32 or (encoding & _DIMENSIONS and not encoding & _ARRAY):
        raise WireError(f"Variant with encoding 0x{encoding:02x} at depth {depth}")
    if not encoding & _ARRAY:
        return scalar_end(buf, at, end, kind, depth) if kind else at
    count, at = array_length(buf, at, end, _FIXED.get(kind, 1)), at + 4
    if kind in _FIXED:
        at += count * _FIXED[kind]
    else:
        for _ in range(count):
            at = scalar_end(buf, at, end, kind, depth)
    if encoding & _DIMENSIONS:
        at = _dimensions_end(buf, at, end, count)
    return at


def _dimensions_end(buf: Bytes, at: int, end: int, count: int) -> int:
    dimensions, at = array_length(buf, at, end, 4), at + 4
    product = 1
    for k in range(dimensions):
        product *= int32(buf, at + 4 * k, end)
    if dimensions and product != count:
        raise WireError(f"array of {count} elements with dimensions of {product}")
    return at + 4 * dimensions


def scalar_end(buf: Bytes, at: int, end: int, kind: int, depth: int = 0) -> int:
    """End of one value of built-in type ``kind`` (Part 6, 5.1.2)."""
    if kind in _FIXED:
        upto = at + _FIXED[kind]
    elif kind in _STRINGS:
        upto = string_end(buf, at, end)
    elif kind in (_NODE_ID, _EXPANDED_NODE_ID):
        upto = node_id_end(buf, at, end, expanded=kind == _EXPANDED_NODE_ID)
    elif kind == _QUALIFIED_NAME:
        upto = string_end(buf, at + 2, end)
    elif kind == _LOCALIZED_TEXT:
        upto = _localized_text_end(buf, at, end)
    elif kind == _EXTENSION_OBJECT:
        upto = extension_object_end(buf, at, end)
    elif kind == DATA_VALUE:
        upto = data_value_end(buf, at, end, depth + 1)
    elif kind == VARIANT:
        upto = variant_end(buf, at, end, depth + 1)
    elif kind == DIAGNOSTIC_INFO:
        upto = diagnostic_info_end(buf, at, end, depth + 1)
    else:
        raise WireError(f"value of type {kind}")
    need(upto, end)
    return upto


def _localized_text_end(buf: Bytes, at: int, end: int) -> int:
    need(at + 1, end)
    mask, at = buf[at], at + 1
    if mask > 3:
        raise WireError(f"LocalizedText with mask 0x{mask:02x}")
    for bit in (1, 2):
        if mask & bit:
            at = string_end(buf, at, end)
    return at
