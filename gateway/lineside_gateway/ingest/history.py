"""Values of one non-numeric tag by time, so that a window shows them as they were when it closed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import TypeAlias

from lineside_plugins.types import SnapshotValue

Source: TypeAlias = SnapshotValue | Callable[[], SnapshotValue]
NEVER_US = -(2**62)  # before any time a source can state


class ValueHistory:
    """Text, bytes or arrays of one tag in time order. ``good`` False hides the value from snapshots and triggers."""

    __slots__ = ("_before", "_good", "_pruned_us", "_times", "_unseen", "_values", "watched")

    def __init__(self) -> None:
        self._before: Source = None  # the newest good value among those forgotten
        self._pruned_us = NEVER_US
        self._times: list[int] = []
        self._values: list[Source] = []
        self._good: list[bool] = []
        self._unseen: list[int] = []
        self.watched = False  # whether anyone asks for ``changes``

    def put(self, time_us: int, value: Source, good: bool) -> str:
        """Insert a value.

        Returns:
            Empty, or the reason why it was dropped: ``duplicate`` (a value of that time is there) or ``late``
            (older than all that is kept).
        """
        at = bisect_left(self._times, time_us)
        if at < len(self._times) and self._times[at] == time_us:
            return "duplicate"
        if at == 0 and self._times and self._times[0] <= self._pruned_us:
            return "late"
        self._times.insert(at, time_us)
        self._values.insert(at, value)
        self._good.insert(at, good)
        self._unseen.append(time_us)
        return ""

    def as_of(self, time_us: int) -> tuple[int, SnapshotValue, bool] | None:
        """Time, value and goodness of the newest value at or before ``time_us``; a lazy value is made now, once."""
        at = bisect_right(self._times, time_us) - 1
        if at < 0:
            return None
        value = self._values[at]
        if callable(value):
            self._values[at] = value = value()
        return self._times[at], value, self._good[at]

    def newest(self) -> tuple[int, SnapshotValue, bool] | None:
        """As ``as_of`` the latest time kept."""
        return self.as_of(self._times[-1]) if self._times else None

    def changes(self, upto_us: int) -> list[int]:
        """Times at or before ``upto_us``, not asked for before, at which a new value appeared.

        New is a good value other than the good value before it, or the first one. An empty text is no value.
        """
        if not self._unseen:
            return []
        due = sorted(t for t in self._unseen if t <= upto_us)
        self._unseen = [t for t in self._unseen if t > upto_us]
        return [t for t in due if self._is_change(bisect_left(self._times, t))]

    def _is_change(self, at: int) -> bool:
        value = self._values[at]
        if not self._good[at] or value is None or (isinstance(value, str) and not value):
            return False
        before = next((self._values[i] for i in range(at - 1, -1, -1) if self._good[i]), self._before)
        if isinstance(value, str | bytes | bool | int | float) and isinstance(before, str | bytes | bool | int | float):
            return value != before
        return True

    def prune(self, upto_us: int) -> int:
        """Forget all but the newest value at or before ``upto_us`` and those after it; returns how many stay."""
        self._pruned_us = max(self._pruned_us, upto_us)
        if not self.watched:
            self._unseen.clear()
        at = bisect_right(self._times, upto_us) - 1
        if at > 0:
            self._before = next((self._values[i] for i in range(at - 1, -1, -1) if self._good[i]), self._before)
            del self._times[:at], self._values[:at], self._good[:at]
        return len(self._times)
