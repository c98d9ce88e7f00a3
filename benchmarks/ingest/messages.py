"""PublishResponses encoded once and sent many times: only ids, sequence numbers and timestamps are written anew."""

from __future__ import annotations

import random
import struct
import time
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

EPOCH_TICKS = 116_444_736_000_000_000
"""1601 to 1970 in 100 ns."""
HANDLE_AT, SUBSCRIPTION_AT, MORE_AT, SEQUENCE_AT = 12, 28, 36, 37
"""Where a PublishResponse without strings and diagnostics has what changes from one to the next."""
ITEMS_AT = 66
DOUBLE_MASK, STATUS_BIT = 0x0D, 0x02
"""Value, SourceTimestamp, ServerTimestamp; the StatusCode beside them."""
FORMATS = {1: "B", 6: "i", 10: "f", 11: "d"}
MIXTURE = (11, 11, 10, 6, 1)
"""Data types of the mixed tags: two Doubles for each Float, Int32 and Boolean."""
UNCERTAIN = 0x4092_0000
CODED_SHARE = 0.1
"""Share of the mixed tags that carry a StatusCode in one message; others do in the next."""


def now_ticks() -> int:
    """The wall clock in 100 ns since 1601."""
    return time.time_ns() // 100 + EPOCH_TICKS


@cache
def type_of(handle: int, mixed: bool) -> int:
    """Built-in type of a tag, always the same."""
    return random.Random(handle * 7919).choice(MIXTURE) if mixed else 11


@dataclass
class Message:
    """One encoded PublishResponse, and the places of its SourceTimestamps."""

    body: bytearray
    count: int
    stamps: NDArray[np.int64]
    """A view of every SourceTimestamp, or of all bytes where they lie at no stride."""
    places: NDArray[np.int64] | None

    def stamp(self, ticks: int) -> None:
        """Set all SourceTimestamps."""
        if self.places is None:
            self.stamps[:] = ticks
        else:
            self.stamps[self.places] = ticks


def message(handles: list[int], *, mixed: bool, seed: int) -> Message:
    """A PublishResponse with one notification of all ``handles``, values and layout by ``seed``."""
    rng = np.random.default_rng(seed)
    kinds = np.array([type_of(h, mixed) for h in handles])
    coded = rng.random(len(handles)) < (CODED_SHARE if mixed else 0)
    scalars = np.choose(np.searchsorted(list(FORMATS), kinds), [struct.calcsize("<" + f) for f in FORMATS.values()])
    sizes = 6 + scalars + 4 * coded + 16
    starts = np.cumsum(sizes) - sizes
    blob = bytearray(int(sizes.sum()))

    def put(dtype: str, places: NDArray[np.int64], values: object) -> None:
        wide = np.dtype(dtype)
        np.ndarray((len(blob) - wide.itemsize + 1,), wide, blob, 0, (1,))[places] = values

    put("<u4", starts, handles)
    put("u1", starts + 4, np.where(coded, DOUBLE_MASK | STATUS_BIT, DOUBLE_MASK))
    put("u1", starts + 5, kinds)
    for kind, letter in FORMATS.items():
        mine = kinds == kind
        values = (
            rng.uniform(-1e3, 1e3, np.count_nonzero(mine)) if kind >= 10 else rng.integers(0, 2, np.count_nonzero(mine))
        )
        put("<" + letter, starts[mine] + 6, values)
    put("<u4", (starts + 6 + scalars)[coded], np.where(rng.random(np.count_nonzero(coded)) < 0.5, 0, UNCERTAIN))
    stamps_at = starts + sizes - 16
    for at in (stamps_at, stamps_at + 8):
        put("<q", at, now_ticks())
    body = response(bytes(blob), len(handles))
    if mixed:
        every = np.ndarray((len(body) - 7,), np.int64, body, 0, (1,))
        return Message(body, len(handles), every, stamps_at + ITEMS_AT)
    first = int(stamps_at[0]) + ITEMS_AT
    return Message(body, len(handles), np.ndarray((len(handles),), np.int64, body, first, (int(sizes[0]),)), None)


def response(items: bytes, count: int) -> bytearray:
    """A PublishResponse around ``count`` encoded items."""
    change = struct.pack("<i", count) + items + struct.pack("<i", -1)
    head = struct.pack("<BBHqIIBiBBB", 1, 0, 829, now_ticks(), 0, 0, 0, -1, 0, 0, 0)
    parameters = struct.pack("<Iib", 0, -1, 0) + struct.pack("<Iqi", 0, now_ticks(), 1)
    notification = struct.pack("<BBHBi", 1, 0, 811, 1, len(change)) + change
    body = bytearray(head + parameters + notification + struct.pack("<ii", -1, -1))
    if struct.unpack_from("<i", body, ITEMS_AT - 4)[0] != count:
        raise AssertionError("the constants of this module do not fit the encoding")
    return body
