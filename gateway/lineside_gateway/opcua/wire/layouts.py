"""Items of different forms in one message: where they lie, remembered, and their columns gathered from there.

Mask and type byte tell the size of an item, so equal bytes at every remembered place prove all places, by induction
from the first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_gateway.opcua.wire.extents import Bytes, int32
from lineside_gateway.opcua.wire.fields import DataChanges, exact_integers, numbers
from lineside_gateway.opcua.wire.forms import (
    FORMS,
    INT64,
    MASK_AT,
    NULL,
    NUMBERS,
    SERVER_PLACES,
    SOURCE_PLACES,
    STATUS_PLACES,
    UINT64,
    VALUE,
    VALUE_AT,
)
from lineside_gateway.opcua.wire.stamps import stamps

Places: TypeAlias = NDArray[np.int64]
Keys: TypeAlias = NDArray[np.uint16]

_U2, _U4, _I8 = np.dtype("<u2"), np.dtype("<u4"), np.dtype("<i8")
_DTYPES = {kind: np.dtype(name) for kind, name in NUMBERS.items()}
_TYPE_SHIFT, _NO_TYPE, _VALUE = np.uint16(8), np.uint16(0x00FF), np.uint16(VALUE)
_TICKS = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the items of one message lie: places from its first item, and their keys (see ``Form``)."""

    starts: Places
    keys: Keys
    valueless: NDArray[np.bool_] | None
    """Items after whose mask no type byte comes; None where there are none."""
    by_type: tuple[tuple[int, Places], ...]
    """Built-in type -> its items."""

    @property
    def size(self) -> int:
        """Bytes from the first item to the end of the last."""
        return int(self.starts[-1]) + FORMS[int(self.keys[-1])].size

    def fits(self, buf: Bytes, first: int, end: int) -> bool:
        """Whether the message from ``first`` to ``end`` has this layout, to its last byte."""
        keys: Keys = _every_byte(buf, first, end, _U2)[self.starts + MASK_AT].astype(np.uint16, copy=False)
        if self.valueless is not None:
            keys = np.where(self.valueless, keys & _NO_TYPE, keys)
        last = first + self.size
        return keys.tobytes() == self.keys.tobytes() and last + 4 == end and int32(buf, last, end) <= 0


def layout_of(starts: Places, buf: Bytes, first: int, end: int) -> Layout:
    """The layout of N items at ``starts``, all of fixed size."""
    keys: Keys = _every_byte(buf, first, end, _U2)[starts + MASK_AT].astype(np.uint16, copy=False)
    without = keys & _VALUE == 0
    valueless = without if np.count_nonzero(without) else None
    if valueless is not None:
        keys = np.where(valueless, keys & _NO_TYPE, keys)
    kinds = keys >> _TYPE_SHIFT
    present = np.flatnonzero(np.bincount(kinds, minlength=1)).tolist()
    return Layout(starts, keys, valueless, tuple((int(k), np.flatnonzero(kinds == k)) for k in present))


def gather(layout: Layout, buf: Bytes, first: int, end: int) -> DataChanges:
    """The columns of the N items."""
    starts, keys, count = layout.starts, layout.keys, len(layout.starts)
    values = np.empty(count)
    exact: dict[int, int] = {}
    for kind, items in layout.by_type:
        if kind == NULL:
            values[items] = np.nan
            continue
        raw = _every_byte(buf, first, end, _DTYPES[kind])[starts[items] + VALUE_AT]
        found = numbers(raw, kind)
        values[items] = found
        if kind in (INT64, UINT64):
            exact |= {int(items[i]): n for i, n in exact_integers(raw, found).items()}
    ticks = partial(_ticks, buf, first, end, starts)
    source = ticks(SOURCE_PLACES.take(keys))

    def served(place: int) -> int:
        at = SERVER_PLACES[keys[place]]
        return int(_TICKS.unpack_from(buf, first + int(starts[place] + at))[0]) if at else 0

    found_stamps = stamps(source, lambda: ticks(SERVER_PLACES.take(keys)), served, count)
    handles = _every_byte(buf, first, end, _U4)[starts].tobytes()
    status = _status(buf, first, end, starts, STATUS_PLACES.take(keys))
    return DataChanges(handles, values, found_stamps, status, keys >> _TYPE_SHIFT, exact)


def _every_byte(buf: Bytes, first: int, end: int, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """What a value of ``dtype`` would be at each byte from ``first``.

    To be indexed with arrays of places: ``take`` would copy all of it first.
    """
    return np.ndarray((end - first - dtype.itemsize + 1,), dtype, buf, first, (1,))


def _ticks(buf: Bytes, first: int, end: int, starts: Places, places: Places) -> NDArray[np.int64] | None:
    """Timestamps of all items, 0 where an item has none; None where no item has one."""
    stamped = np.count_nonzero(places)
    if not stamped:
        return None
    view = _every_byte(buf, first, end, _I8)
    if stamped == len(places):
        every: NDArray[np.int64] = view[starts + places].view(np.int64)
        return every
    ticks = np.zeros(len(starts), np.int64)
    (which,) = np.nonzero(places)
    ticks[which] = view[starts[which] + places[which]]
    return ticks


def _status(buf: Bytes, first: int, end: int, starts: Places, places: Places) -> NDArray[np.uint32] | None:
    """StatusCodes of all items, Good where an item has none; None where no item has one."""
    (coded,) = np.nonzero(places)
    if not len(coded):
        return None
    status = np.zeros(len(starts), np.uint32)
    status[coded] = _every_byte(buf, first, end, _U4)[starts[coded] + places[coded]]
    return status
