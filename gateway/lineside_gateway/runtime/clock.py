"""Event time against wall time: the plant's clock may run fast, slow or aside, deadlines and latencies need both.

Pairs of (SourceTimestamp, ServerTimestamp) of what a server sends tell how event time runs. On a plant in real time
the rate is 1 and the two differ by the server's clock error; a simulated plant may run sixty times as fast.
"""

from __future__ import annotations

from collections import deque

MEMORY = 64  # pairs kept; at ten publishes a second about six seconds
MIN_SPAN_S = 0.2  # wall time below which a rate would be noise
MAX_AHEAD_S = 2.0  # wall time for which event time is carried on after the last pair; then it stands still


class EventClock:
    """Relates the event time of one server to this machine's wall time. All in microseconds since 1970 UTC."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[int, int]] = deque(maxlen=MEMORY)

    def observe(self, event_us: int, wall_us: int) -> None:
        """A sample of event time ``event_us`` was served at ``wall_us``; pairs that go back in time are left out."""
        if self._pairs and (event_us <= self._pairs[-1][0] or wall_us <= self._pairs[-1][1]):
            return
        self._pairs.append((event_us, wall_us))

    @property
    def known(self) -> bool:
        """Whether anything has been observed."""
        return bool(self._pairs)

    @property
    def rate(self) -> float:
        """Seconds of event time per second of wall time; 1 until it can be told."""
        if len(self._pairs) < 2:
            return 1.0
        (e0, w0), (e1, w1) = self._pairs[0], self._pairs[-1]
        return (e1 - e0) / (w1 - w0) if w1 - w0 >= MIN_SPAN_S * 1e6 else 1.0

    def wall_us(self, event_us: int, fallback_us: int) -> int:
        """Wall time at which event time reached or will reach ``event_us``; ``fallback_us`` before any pair."""
        if not self._pairs:
            return fallback_us
        e, w = self._pairs[-1]
        return round(w + (event_us - e) / self.rate)

    def event_us(self, wall_us: int) -> int:
        """Event time at ``wall_us``, carried on for at most two seconds after the last pair; ``wall_us`` before any."""
        if not self._pairs:
            return wall_us
        e, w = self._pairs[-1]
        return round(e + min(max(0, wall_us - w), MAX_AHEAD_S * 1e6) * self.rate)
