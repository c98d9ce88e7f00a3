"""Plant events of the last 30 days, as the MES's historian keeps them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from lineside_plant.events import PlantEvent

KEPT_DAYS = 30
_KEPT_US = KEPT_DAYS * 86_400_000_000
_PRUNE_EVERY = 1024


class EventHistory:
    """Events in time order. An event's number is its place since the beginning, whatever has been forgotten."""

    def __init__(self, events: Iterable[PlantEvent] = ()) -> None:
        self._events: list[PlantEvent] = []
        self._forgotten = 0
        for event in events:
            self.add(event)

    def add(self, event: PlantEvent) -> None:
        """Keep an event, and forget those of more than 30 days before it."""
        at = bisect_right(self._events, event.time, key=_time)
        self._events.insert(at, event)
        if len(self._events) % _PRUNE_EVERY == 0:
            old = bisect_left(self._events, event.time - _KEPT_US, key=_time)
            del self._events[:old]
            self._forgotten += old

    def between(self, first_us: int, last_us: int) -> list[tuple[int, PlantEvent]]:
        """Numbers and events with ``first_us <= time <= last_us``, oldest first."""
        low = bisect_left(self._events, first_us, key=_time)
        high = bisect_right(self._events, last_us, key=_time)
        return [(self._forgotten + k, self._events[k]) for k in range(low, high)]


def _time(event: PlantEvent) -> int:
    return event.time
