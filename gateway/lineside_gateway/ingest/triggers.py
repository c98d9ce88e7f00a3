"""When windows close: periods, changes and record rows of one scope, merged where the task asks for it."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from lineside_gateway.ingest.history import NEVER_US


@dataclass(slots=True)
class Due:
    """A window that closes at ``end_us`` once the watermark is there."""

    end_us: int
    causes: list[str] = field(default_factory=list)

    def __lt__(self, other: Due) -> bool:
        """Order by end."""
        return self.end_us < other.end_us


class TriggerQueue:
    """Windows of one task and one piece of equipment (or the line) that wait for their time; ``len`` counts them.

    ``min_interval_us`` > 0 merges: the first change closes a window at its own time, and all changes until
    ``min_interval_us`` after it close one more window then. Periods are never moved.
    """

    def __init__(self, min_interval_us: int) -> None:
        self._min_interval_us = min_interval_us
        self._queue: list[Due] = []
        self._last_us = NEVER_US

    def __len__(self) -> int:
        """Windows that wait."""
        return len(self._queue)

    def at(self, end_us: int, cause: str) -> bool:
        """Close a window at exactly ``end_us``; returns False when it joins one that waits or was closed there."""
        k = bisect_left(self._queue, end_us, key=lambda d: d.end_us)
        if k < len(self._queue) and self._queue[k].end_us == end_us:
            if cause not in self._queue[k].causes:
                self._queue[k].causes.append(cause)
            return False
        if end_us == self._last_us:
            return False
        insort(self._queue, Due(end_us, [cause]))
        return True

    def after(self, time_us: int, cause: str) -> bool:
        """Close a window at ``time_us`` or as soon after as the interval allows; returns False when it merges."""
        if self._queue and time_us <= self._queue[-1].end_us:
            if cause not in self._queue[-1].causes:
                self._queue[-1].causes.append(cause)
            return False
        last = self._queue[-1].end_us if self._queue else self._last_us
        return self.at(max(time_us, last + max(self._min_interval_us, 1)), cause)

    def change(self, time_us: int, cause: str) -> bool:
        """A tag changed: each change its own window, exactly then, unless the task merges."""
        return self.after(time_us, cause) if self._min_interval_us else self.at(time_us, cause)

    def take(self, watermark_us: int) -> list[Due]:
        """Remove and return what is due at the watermark, in order."""
        k = 0
        while k < len(self._queue) and self._queue[k].end_us <= watermark_us:
            k += 1
        due, self._queue = self._queue[:k], self._queue[k:]
        if due:
            self._last_us = max(self._last_us, due[-1].end_us)
        return due
