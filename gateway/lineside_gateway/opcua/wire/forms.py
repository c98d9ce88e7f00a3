"""The wire forms of one MonitoredItemNotification, by encoding mask and Variant type.

An item is ClientHandle (UInt32) and a DataValue: an encoding mask, then what the mask names. Where the Variant is a
scalar of fixed size, mask and type byte alone tell the item's size and where each field lies. Source: OPC UA Part 4,
7.25.2 (MonitoredItemNotification); Part 6, 5.2.2.16 (Variant) and 5.2.2.17 (DataValue, the order of its fields).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VALUE, STATUS, SOURCE, SERVER, SOURCE_PICO, SERVER_PICO = 1, 2, 4, 8, 16, 32
"""Bits of a DataValue's encoding mask."""
MASKS = 64
MASK_AT, TYPE_AT, VALUE_AT = 4, 5, 6
"""Offsets in an item: mask, Variant type byte, scalar."""
SMALLEST_ITEM = 5

NULL, BOOLEAN, INT64, UINT64, FLOAT = 0, 1, 8, 9, 10
NUMBERS = {
    BOOLEAN: "u1",
    2: "i1",
    3: "u1",
    4: "<i2",
    5: "<u2",
    6: "<i4",
    7: "<u4",
    INT64: "<i8",
    UINT64: "<u8",
    FLOAT: "<f4",
    11: "<f8",
}
"""Built-in types that are numbers (Part 6, 5.1.2), as numpy reads them."""


@dataclass(frozen=True, slots=True)
class Form:
    """Where the fields of one item lie, in bytes from its start; 0 for a field that it does not have."""

    key: int
    """Mask, and the Variant's type in the high byte; no type where the mask names no value."""
    size: int
    status_at: int
    source_at: int
    server_at: int

    record: np.dtype[np.void]
    """One item as numpy reads it: handle, key (or mask alone), and value, status, source, server where it has them."""
    key_bytes: bytes
    """``key`` as the wire has it."""

    @property
    def type(self) -> int:
        """Built-in type of the value; NULL where there is none."""
        return self.key >> 8

    @property
    def has_value(self) -> bool:
        """True where a type byte follows the mask."""
        return bool(self.key & VALUE)


def _form(mask: int, kind: int) -> Form:
    at = TYPE_AT
    if mask & VALUE:
        at = VALUE_AT + (np.dtype(NUMBERS[kind]).itemsize if kind else 0)
    places = {STATUS: 0, SOURCE: 0, SERVER: 0}
    for bit, size in ((STATUS, 4), (SOURCE, 8), (SOURCE_PICO, 2), (SERVER, 8), (SERVER_PICO, 2)):
        if mask & bit:
            places[bit] = at
            at += size
    key = mask | kind << 8
    fields = {"handle": (0, "<u4"), "key": (MASK_AT, "<u2" if mask & VALUE else "u1")}
    if kind:
        fields["value"] = (VALUE_AT, NUMBERS[kind])
    for name, bit, dtype in (("status", STATUS, "<u4"), ("source", SOURCE, "<i8"), ("server", SERVER, "<i8")):
        if mask & bit:
            fields[name] = (places[bit], dtype)
    offsets, dtypes = zip(*fields.values(), strict=True)
    record = np.dtype({"names": list(fields), "formats": dtypes, "offsets": offsets, "itemsize": at})
    key_bytes = key.to_bytes(2, "little") if mask & VALUE else bytes([key])
    return Form(key, at, places[STATUS], places[SOURCE], places[SERVER], record, key_bytes)


FORMS: dict[int, Form] = {}
"""All forms of fixed size, by key."""
for _mask in range(MASKS):
    for _kind in (NULL, *NUMBERS) if _mask & VALUE else (NULL,):
        FORMS[_mask | _kind << 8] = _form(_mask, _kind)

_NOT_FIXED = [0] * 256
SIZES: list[list[int]] = [_NOT_FIXED] * 256
"""Size of an item by its mask and the byte after it; 0 where that does not tell."""
for _mask in range(MASKS):
    if _mask & VALUE:
        SIZES[_mask] = [FORMS[_mask | k << 8].size if _mask | k << 8 in FORMS else 0 for k in range(256)]
    else:
        SIZES[_mask] = [FORMS[_mask].size] * 256

STATUS_PLACES = np.zeros(1 << 16, np.int64)
SOURCE_PLACES = np.zeros(1 << 16, np.int64)
SERVER_PLACES = np.zeros(1 << 16, np.int64)
"""Offset of a field by key; 0 where the form does not have it."""
for _found in FORMS.values():
    STATUS_PLACES[_found.key] = _found.status_at
    SOURCE_PLACES[_found.key] = _found.source_at
    SERVER_PLACES[_found.key] = _found.server_at
