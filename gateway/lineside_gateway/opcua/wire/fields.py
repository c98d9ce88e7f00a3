"""The columns that a notification becomes, and how raw fields turn into them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from lineside_gateway.opcua.delivery import Float64Array, Int64Array, StatusArray
from lineside_gateway.opcua.wire.forms import BOOLEAN, FLOAT
from lineside_gateway.opcua.wire.stamps import Stamps

EXACT = 1 << 53
"""Whole numbers from it on are not all float64 (IEEE 754)."""


@dataclass(slots=True)
class DataChanges:
    """N numbers of one DataChangeNotification, in the server's order, and its other items.

    An item without a value is a number that is NaN.
    """

    handles: bytes
    """N client handles, UInt32 little-endian: as bytes they are compared with an earlier message's at once."""
    values: Float64Array
    stamps: Stamps
    """Event times of the N numbers."""
    status: StatusArray | None
    """None where all are Good."""
    types: int | NDArray[np.uint16]
    """Built-in type (Part 6, 5.1.2) of all values, or of each (N,); 0 where there is no value."""
    exact: dict[int, int] = field(default_factory=dict)
    """Place -> whole number, for 64-bit integers beyond what float64 holds."""
    others: list[tuple[int, ua.DataValue]] = field(default_factory=list)

    def __len__(self) -> int:
        """Items, other ones too."""
        return len(self.values) + len(self.others)

    @property
    def times_us(self) -> Int64Array:
        """SourceTimestamp, else ServerTimestamp, else the wall clock, in us since 1970 UTC."""
        return self.stamps.times_us

    @property
    def newest_us(self) -> int:
        """Newest SourceTimestamp of the N numbers, 0 where none has one."""
        return self.stamps.newest_us

    @property
    def served_us(self) -> int:
        """ServerTimestamp that came with ``newest_us``, the wall clock where none did."""
        return self.stamps.served_us or time.time_ns() // 1000

    @property
    def handle_array(self) -> NDArray[np.uint32]:
        """``handles`` as (N,) uint32, read-only."""
        return np.frombuffer(self.handles, np.uint32)


def numbers(raw: NDArray[np.generic], kind: int) -> Float64Array:
    """Numbers of one built-in type as float64, copied. Any byte but 0 is true (Part 6, 5.2.2.1)."""
    if kind == BOOLEAN:
        raw = raw != 0
    if kind == FLOAT:
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            return raw.astype(np.float64)
    return raw.astype(np.float64)


def exact_integers(raw: NDArray[np.generic], values: Float64Array) -> dict[int, int]:
    """Place -> integer of those that float64 may not hold."""
    (places,) = np.nonzero(np.abs(values) >= EXACT)
    return {int(i): int(raw[i]) for i in places}
