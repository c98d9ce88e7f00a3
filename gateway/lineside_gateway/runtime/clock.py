"""Event time against wall time: the plant's clock may run fast, slow or aside, deadlines and latencies need both.

Pairs of (SourceTimestamp, ServerTimestamp) of what a server sends tell how event time runs. On a plant in real time
the rate is 1 and the two differ by the server's clock error; a simulated plant may run sixty times as fast.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

MEMORY = 64  # pairs kept; at ten publishes a second about six seconds
MIN_SPAN_S = 1.5  # wall time below which a rate would be noise, and hold what servers kept from before
MAX_AHEAD_S = 2.0  # wall time for which event time is carried on after the last pair; then it stands still
STEP_S = 5.0  # a clock that is off by more than this against what it was has been set, not delayed


class ServerClock:
    """How far the clock of one server is behind this machine's, from the ServerTimestamps it sends.

    The least delayed of the newest messages tells. Where either clock is set, the estimate begins anew.
    """

    def __init__(self) -> None:
        self._behind: deque[int] = deque(maxlen=MEMORY)
        self._least = 0

    def here_us(self, served_us: int, arrived_us: int) -> int:
        """The time ``served_us`` of the server's clock by this machine's, for a message that has just arrived."""
        behind = arrived_us - served_us
        if self._behind and abs(behind - self._least) > STEP_S * 1e6:
            self._behind.clear()
        if len(self._behind) == MEMORY and self._behind[0] == self._least:  # which is forgotten now
            self._least = min((*self._behind, behind)[1:])
        else:
            self._least = min(self._least, behind) if self._behind else behind
        self._behind.append(behind)
        return served_us + self._least


class EventClock:
    """Relates the event time of one server to this machine's wall time. All in microseconds since 1970 UTC."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[int, int]] = deque(maxlen=MEMORY)
        self._told: float | None = None  # the rate of these pairs

    def observe(self, event_us: int, wall_us: int) -> None:
        """A sample of event time ``event_us`` was served at ``wall_us``; pairs that go back in time are left out.

        Where wall time has been set, forward or back, what was observed before says nothing any more.
        """
        rate = self._rate()
        if rate is not None and event_us > self._pairs[-1][0]:
            event, wall = self._pairs[-1]
            if abs((event_us - event) / rate - (wall_us - wall)) > STEP_S * 1e6:
                self._pairs.clear()
        if self._pairs and (event_us <= self._pairs[-1][0] or wall_us <= self._pairs[-1][1]):
            return
        self._pairs.append((event_us, wall_us))
        self._told = None

    @property
    def known(self) -> bool:
        """Whether anything has been observed."""
        return bool(self._pairs)

    @property
    def rate(self) -> float:
        """Seconds of event time per second of wall time; 1 until it can be told."""
        return self._rate() or 1.0

    def _rate(self) -> float | None:
        """None until it can be told."""
        if self._told is None and self._pairs and self._span_us() >= MIN_SPAN_S * 1e6:
            event, wall = self._pairs[-1]
            half = self._span_us() / 2
            # Right after connecting, servers send what they kept: event time seems to leap. The slowest rise is true.
            self._told = min((event - e) / (wall - w) for e, w in self._pairs if wall - w >= half)
        return self._told

    def _span_us(self) -> int:
        return self._pairs[-1][1] - self._pairs[0][1]

    def wall_us(self, event_us: int, fallback_us: int) -> int:
        """Wall time at which event time reached or will reach ``event_us``; ``fallback_us`` before any pair."""
        if not self._pairs:
            return fallback_us
        e, w = self._pairs[-1]
        return round(w + (event_us - e) / self.rate)

    def age_s(self, event_us: int, wall_us: int) -> float | None:
        """Wall time at ``wall_us`` since event time was ``event_us``; None until the rate can be told."""
        return None if self._rate() is None else (wall_us - self.wall_us(event_us, wall_us)) / 1e6

    def event_us(self, wall_us: int) -> int:
        """Event time at ``wall_us``, carried on for at most two seconds after the last pair; ``wall_us`` before any."""
        if not self._pairs:
            return wall_us
        e, w = self._pairs[-1]
        return round(e + min(max(0, wall_us - w), MAX_AHEAD_S * 1e6) * self.rate)


def moment(time_us: int) -> datetime:
    """Aware UTC datetime of microseconds since 1970."""
    return datetime.fromtimestamp(time_us / 1e6, UTC)
