"""DataChangeNotifications as columns: one numpy expression per field, whatever the number of items.

Three ways, the first that fits: items of one form lie at one stride; items whose forms repeat those of an earlier
message lie where they lay then; else the items are stepped through.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from lineside_gateway.opcua.wire.errors import WireError
from lineside_gateway.opcua.wire.extents import Bytes, diagnostic_infos_end, int32, need
from lineside_gateway.opcua.wire.fields import DataChanges, exact_integers, numbers
from lineside_gateway.opcua.wire.forms import (
    FORMS,
    INT64,
    MASK_AT,
    NULL,
    NUMBERS,
    SIZES,
    SMALLEST_ITEM,
    TYPE_AT,
    UINT64,
    VALUE,
    VALUE_AT,
    Form,
)
from lineside_gateway.opcua.wire.layouts import Layout, gather, layout_of
from lineside_gateway.opcua.wire.objects import data_value
from lineside_gateway.opcua.wire.stamps import Stamps, stamps

MAX_LAYOUTS = 64
"""Layouts remembered; each holds about 30 bytes per item."""
_HANDLE = struct.Struct("<I")
_U1, _U2, _U4, _I8 = np.dtype("u1"), np.dtype("<u2"), np.dtype("<u4"), np.dtype("<i8")
_DTYPES = {kind: np.dtype(name) for kind, name in NUMBERS.items()}


@dataclass(slots=True)
class Paths:
    """Messages and items by the way they took."""

    uniform: int = 0
    cached: int = 0
    scanned: int = 0
    objects: int = 0
    """Items decoded by asyncua."""


class ChangeDecoder:
    """Decodes the DataChangeNotifications of one connection."""

    def __init__(self) -> None:
        self.paths = Paths()
        self._layouts: dict[tuple[int, int], Layout] = {}

    def decode(self, buf: Bytes, at: int, end: int) -> DataChanges:
        """The notification whose body lies from ``at`` to ``end``. ``buf`` may be used again afterwards.

        Raises:
            WireError: The bytes are no such notification; nothing of it is to be taken.
        """
        count = int32(buf, at, end)
        first = at + 4
        if count <= 0:
            _check_tail(buf, first, end)
            return _nothing()
        need(first + count * SMALLEST_ITEM + 4, end)
        key = buf[first + MASK_AT]
        if key & VALUE:
            key |= buf[first + TYPE_AT] << 8
        form = FORMS.get(key)
        if form is not None and _is_uniform(buf, first, count, form, end):
            self.paths.uniform += 1
            _check_tail(buf, first + count * form.size, end)
            return _uniform(buf, first, count, form)
        layout = self._layouts.get((count, end - first))
        if layout is not None and layout.fits(buf, first, end):
            self.paths.cached += 1
            return gather(layout, buf, first, end)
        return self._scan(buf, first, count, end)

    def _scan(self, buf: Bytes, first: int, count: int, end: int) -> DataChanges:
        steps: list[int] = []
        longer: dict[int, int] = {}
        others: list[tuple[int, ua.DataValue]] = []
        push, sizes, at = steps.append, SIZES, first + MASK_AT
        try:
            for _ in range(count):
                size = sizes[buf[at]][buf[at + 1]]
                push(size)
                if size:
                    at += size
                else:
                    need(at + 1, end)
                    dv, upto = data_value(buf, at, end)
                    others.append((_HANDLE.unpack_from(buf, at - MASK_AT)[0], dv))
                    longer[len(steps) - 1] = upto + MASK_AT - at
                    at = upto + MASK_AT
        except IndexError:
            raise WireError("items reach beyond the message") from None
        _check_tail(buf, at - MASK_AT, end)
        self.paths.scanned += 1
        self.paths.objects += len(others)
        if len(others) == count:
            found = _nothing()
        else:
            layout = layout_of(_starts(steps, longer), buf, first, end)
            if not others:
                self._remember((count, end - first), layout)
            found = gather(layout, buf, first, end)
        found.others = others
        return found

    def _remember(self, key: tuple[int, int], layout: Layout) -> None:
        while len(self._layouts) >= MAX_LAYOUTS:
            del self._layouts[next(iter(self._layouts))]
        self._layouts[key] = layout


def _starts(steps: list[int], longer: dict[int, int]) -> NDArray[np.int64]:
    """Places of the items whose step is not 0, from sizes; those whose step is 0 have theirs in ``longer``."""
    sizes = np.frombuffer(bytes(steps), np.uint8).astype(np.int64)
    if longer:
        sizes[list(longer)] = list(longer.values())
    starts = np.cumsum(sizes)
    starts -= sizes
    return np.delete(starts, list(longer)) if longer else starts


def _nothing() -> DataChanges:
    return DataChanges(b"", np.empty(0), Stamps(np.empty(0, np.int64), 0, 0), None, NULL)


def _check_tail(buf: Bytes, at: int, end: int) -> None:
    """After the items come their DiagnosticInfos, and nothing else."""
    if int32(buf, at, end) <= 0:
        at += 4
    else:
        at = diagnostic_infos_end(buf, at, end)
    if at != end:
        raise WireError(f"{end - at} bytes after the items of a notification")


def _is_uniform(buf: Bytes, first: int, count: int, form: Form, end: int) -> bool:
    if first + count * form.size + 4 > end:
        return False
    if form.has_value:
        keys = np.ndarray((count,), _U2, buf, first + MASK_AT, (form.size,))
        return keys.tobytes() == form.key.to_bytes(2, "little") * count
    return np.ndarray((count,), _U1, buf, first + MASK_AT, (form.size,)).tobytes() == bytes([form.key]) * count


def _uniform(buf: Bytes, first: int, count: int, form: Form) -> DataChanges:
    def column(dtype: np.dtype[np.generic], place: int) -> NDArray[np.generic]:
        return np.ndarray((count,), dtype, buf, first + place, (form.size,))

    exact: dict[int, int] = {}
    if form.type:
        raw = column(_DTYPES[form.type], VALUE_AT)
        values = numbers(raw, form.type)
        if form.type in (INT64, UINT64):
            exact = exact_integers(raw, values)
    else:
        values = np.full(count, np.nan)
    source = column(_I8, form.source_at).copy().view(np.int64) if form.source_at else None
    server = column(_I8, form.server_at).view(np.int64) if form.server_at else None
    found = stamps(source, lambda: server, lambda place: 0 if server is None else int(server[place]), count)
    status = column(_U4, form.status_at).copy().view(np.uint32) if form.status_at else None
    return DataChanges(column(_U4, 0).tobytes(), values, found, status, form.type, exact)
