"""Timestamps of the wire as event time.

A DateTime is an Int64 of 100 ns since 1601 UTC (OPC UA Part 6, 5.2.2.5). Microseconds are cut off, not rounded, as
asyncua does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lineside_gateway.opcua.delivery import Int64Array

EPOCH_US = 11_644_473_600_000_000
"""1601 to 1970."""
EARLIEST_TICKS = (EPOCH_US + 365 * 86_400_000_000) * 10
"""1971: older timestamps are a device's unset clock."""
LATEST_TICKS = 2_650_467_743_990_000_000
"""The last second of 9999; later ones mean no more than that (Part 6, 5.2.2.5)."""

# As numpy's own scalars, which spare a conversion at each use; unsigned division is twice as fast as signed.
_EARLIEST, _TICKS_PER_US, _EARLIEST_US = (
    np.int64(EARLIEST_TICKS),
    np.uint64(10),
    np.int64(EARLIEST_TICKS // 10 - EPOCH_US),
)


@dataclass(slots=True)
class Stamps:
    """Event times of N items in us since 1970 UTC, the newest of them, and when the server served that one (or 0)."""

    times_us: Int64Array
    newest_us: int
    served_us: int


def stamps(
    source: Int64Array | None,
    server: Callable[[], Int64Array | None],
    served: Callable[[int], int],
    count: int,
) -> Stamps:
    """Event times of N items from ticks.

    ``source`` (N,) is used up; None where no item has one. ``server`` gives all ServerTimestamps, if they are needed,
    and ``served`` that of one item, 0 where it has none.
    """
    if source is not None:
        # Seen as unsigned from the earliest on, what is too early is too late as well: one look finds both.
        np.subtract(source, _EARLIEST, source)
        since = source.view(np.uint64)
        newest = int(since.argmax())
        ticks = int(since[newest])
        if ticks <= LATEST_TICKS - EARLIEST_TICKS:
            np.floor_divide(since, _TICKS_PER_US, since)
            np.add(source, _EARLIEST_US, source)
            return Stamps(source, _us(ticks + EARLIEST_TICKS), _served_us(served(newest)))
        np.add(source, _EARLIEST, source)
    return _by_item(source, server(), served, count)


def _us(ticks: int) -> int:
    return ticks // 10 - EPOCH_US


def _served_us(ticks: int) -> int:
    return _us(min(ticks, LATEST_TICKS)) if ticks >= EARLIEST_TICKS else 0


def _by_item(source: Int64Array | None, server: Int64Array | None, served: Callable[[int], int], count: int) -> Stamps:
    """As ``stamps`` where some item has no SourceTimestamp, or one out of bounds."""
    ticks = np.full(count, time.time_ns() // 100 + EPOCH_US * 10, np.int64)
    for column in (server, source):
        if column is not None:
            np.copyto(ticks, np.minimum(column, LATEST_TICKS), where=column >= EARLIEST_TICKS)
    times_us = ticks // 10 - EPOCH_US
    if source is None:
        return Stamps(times_us, 0, 0)
    # Where a source's clock is unset the ServerTimestamp counts; an item without SourceTimestamp tells nothing.
    known = source if server is None else np.maximum(source, server)
    tells = (source > 0) & (known >= EARLIEST_TICKS)
    if not np.count_nonzero(tells):
        return Stamps(times_us, 0, 0)
    newest = int(np.where(tells, times_us, 0).argmax())
    return Stamps(times_us, int(times_us[newest]), _served_us(served(newest)))
