"""The time span of a HistoryRead (OPC UA Part 11, 6.5.3): two of start, end and number of values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MOST = 10_000
"""Values or events of one node in one answer; the rest follows by continuation point."""
_EARLIEST_US, _LATEST_US = -(2**62), 2**62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNSET_BEFORE = datetime(1602, 1, 1, tzinfo=UTC)  # a DateTime of 0 on the wire is 1601-01-01: not given


@dataclass(frozen=True, slots=True)
class Span:
    """Microseconds since 1970 UTC in the order asked for; backwards where ``first_us`` > ``last_us``."""

    first_us: int
    last_us: int
    limit: int

    @property
    def backwards(self) -> bool:
        """Whether the newest is asked for first."""
        return self.first_us > self.last_us

    @property
    def early_us(self) -> int:
        """The earlier end."""
        return min(self.first_us, self.last_us)

    @property
    def late_us(self) -> int:
        """The later end."""
        return max(self.first_us, self.last_us)

    def holds(self, at_us: int) -> bool:
        """Whether the span covers ``at_us``; the end asked for last is not part of it (Part 11, 4.4)."""
        if self.first_us == self.last_us:
            return at_us == self.first_us
        return self.early_us <= at_us <= self.late_us and at_us != self.last_us


def span(details: Any) -> Span | None:
    """The span asked for; None where fewer than two of start, end and number are given."""
    start, end, count = _given(details.StartTime), _given(details.EndTime), int(details.NumValuesPerNode)
    if (start is not None) + (end is not None) + (count > 0) < 2:
        return None
    limit = min(count or MOST, MOST)
    if start is None:
        assert end is not None  # noqa: S101 - two of three are given
        return Span(end, _EARLIEST_US, limit)
    return Span(start, _LATEST_US if end is None else end, limit)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970 UTC."""
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _given(time: datetime | None) -> int | None:
    if time is None:
        return None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return None if aware < _UNSET_BEFORE else microseconds(aware)
