"""DataChangeNotifications as columns: one numpy expression per field, whatever the number of items.

Four ways, the first that fits: items of one form lie at one stride; items whose forms repeat those of an earlier
message lie where they lay then; items that all end with a timestamp lie between these; else the items are stepped
through. The second and third prove what they believe.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from lineside_gateway.opcua.wire.boundaries import boundaries
from lineside_gateway.opcua.wire.errors import WireError
from lineside_gateway.opcua.wire.extents import Bytes, diagnostic_infos_end, int32, need
from lineside_gateway.opcua.wire.fields import DataChanges, exact_integers, numbers
from lineside_gateway.opcua.wire.forms import (
    FORMS,
    INT64,
    MASK_AT,
    NULL,
    SIZES,
    SMALLEST_ITEM,
    TYPE_AT,
    UINT64,
    VALUE,
    Form,
)
from lineside_gateway.opcua.wire.layouts import Layout, gather, layout_of
from lineside_gateway.opcua.wire.objects import data_value
from lineside_gateway.opcua.wire.stamps import Stamps, stamps

MAX_LAYOUTS = 64
"""Layouts remembered; each holds about 30 bytes per item."""
FEW = 24
"""Fewer items are stepped through sooner than guessed."""
_HANDLE = struct.Struct("<I")


@dataclass(slots=True)
class Paths:
    """Messages and items by the way they took."""

    uniform: int = 0
    cached: int = 0
    guessed: int = 0
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
        if form is not None and first + count * form.size + 4 <= end:
            items = np.frombuffer(buf, form.record, count, first)
            if items["key"].tobytes() == form.key_bytes * count:
                self.paths.uniform += 1
                _check_tail(buf, first + count * form.size, end)
                return _uniform(items, form)
        layout = self._layouts.get((count, end - first))
        if layout is not None and layout.fits(buf, first, end):
            self.paths.cached += 1
            return gather(layout, buf, first, end)
        starts = boundaries(buf, first, count, end) if count >= FEW else None
        if starts is None:
            return self._scan(buf, first, count, end)
        self.paths.guessed += 1
        layout = layout_of(starts, buf, first, end)
        _check_tail(buf, first + layout.size, end)
        self._remember((count, end - first), layout)
        return gather(layout, buf, first, end)

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


def _uniform(items: NDArray[np.void], form: Form) -> DataChanges:
    exact: dict[int, int] = {}
    if form.type:
        raw = items["value"]
        values = numbers(raw, form.type)
        if form.type in (INT64, UINT64):
            exact = exact_integers(raw, values)
    else:
        values = np.full(len(items), np.nan)
    source = items["source"].copy() if form.source_at else None
    server = items["server"] if form.server_at else None
    found = stamps(source, lambda: server, lambda place: 0 if server is None else int(server[place]), len(items))
    status = items["status"].copy() if form.status_at else None
    return DataChanges(items["handle"].tobytes(), values, found, status, form.type, exact)
