"""Record streams: rows that are added one by one, lists that are replaced as a whole, and what a task sees of them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lineside_gateway.ingest.errors import TagError
from lineside_gateway.ingest.history import NEVER_US
from lineside_plugins.contract import RecordSpec
from lineside_plugins.types import Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
BACKLOG_ROWS = 4096  # rows of a stream kept for tasks that are bound after their arrival
_WHOLE_LINE = ""


def iso(time_us: int) -> str:
    """UTC time in ISO 8601, as records carry it."""
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat()


def time_of(record: Record) -> int:
    """Microseconds since 1970 of the record's "time"; a time without an offset is UTC.

    Raises:
        TagError: No time, or not ISO 8601.
    """
    text = record.get("time")
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError as e:
        raise TagError(f"record has time {text!r}; expected ISO 8601 such as 2026-01-05T06:00:00+00:00") from e
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """A stream changed: a row was added (``record``) or its list was replaced (``record`` None)."""

    time_us: int
    number: int
    stream: str
    record: Record | None


class _Rows:
    """Rows of one selection and key in time order; the tuple last asked for is kept until a row is added."""

    __slots__ = ("_cached", "_cached_upto", "_limit", "_rows", "_times")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: list[int] = []
        self._rows: list[Record] = []
        self._cached: tuple[Record, ...] = ()
        self._cached_upto = 0

    def add(self, time_us: int, record: Record) -> None:
        at = bisect_right(self._times, time_us)
        self._times.insert(at, time_us)
        self._rows.insert(at, record)
        surplus = len(self._rows) - 4 * self._limit - 64
        if surplus > 0:  # rows newer than a window's end may lie above the limit, so more than the limit is kept
            del self._times[: surplus + self._limit], self._rows[: surplus + self._limit]
        self._cached_upto = -1

    def upto(self, time_us: int) -> tuple[Record, ...]:
        at = bisect_right(self._times, time_us)
        if at != self._cached_upto:
            self._cached = tuple(self._rows[max(0, at - self._limit) : at])
            self._cached_upto = at
        return self._cached


class Selection:
    """What one ``RecordSpec`` keeps of a stream: as of a time, of one piece of equipment or of the whole line."""

    def __init__(self, spec: RecordSpec) -> None:
        self.spec = spec
        self._rows: dict[str, _Rows] = {}
        self._lists: tuple[list[int], list[tuple[Record, ...]]] | None = None

    def sees(self, record: Record) -> bool:
        """Whether the record is of a kind asked for."""
        return not self.spec.kinds or record.get("kind") in self.spec.kinds

    def add(self, time_us: int, record: Record) -> None:
        """Keep a row if it is of a kind asked for."""
        if self.sees(record):
            key = _WHOLE_LINE if self.spec.whole_line else str(record.get("equipment_id"))
            self._rows.setdefault(key, _Rows(self.spec.limit)).add(time_us, record)

    def follow(self, lists: tuple[list[int], list[tuple[Record, ...]]]) -> None:
        """Read replaced lists from here on; the stream owns them."""
        self._lists = lists

    def rows(self, equipment_id: str, time_us: int) -> tuple[Record, ...]:
        """The newest ``limit`` rows at or before ``time_us``, oldest first; of a replaced list its last ones."""
        if self._lists is not None:
            return self._listed(equipment_id, time_us)
        kept = self._rows.get(_WHOLE_LINE if self.spec.whole_line else equipment_id)
        return kept.upto(time_us) if kept else ()

    def _listed(self, equipment_id: str, time_us: int) -> tuple[Record, ...]:
        times, lists = self._lists or ([], [])
        at = bisect_right(times, time_us) - 1
        if at < 0:
            return ()
        whole = self.spec.whole_line
        rows = [r for r in lists[at] if self.sees(r) and (whole or r.get("equipment_id") == equipment_id)]
        return tuple(rows[-self.spec.limit :])


class RecordStreams:
    """All record streams of a gateway by name."""

    def __init__(self) -> None:
        self._selections: dict[str, list[Selection]] = {}
        self._backlog: dict[str, deque[tuple[int, Record]]] = {}
        self._lists: dict[str, tuple[list[int], list[tuple[Record, ...]]]] = {}
        self._arrivals: list[Arrival] = []
        self._count = 0

    def select(self, spec: RecordSpec) -> Selection:
        """A view that keeps up with its stream; rows that came before are in it as far as they are kept."""
        selection = Selection(spec)
        self._selections.setdefault(spec.stream, []).append(selection)
        for time_us, record in self._backlog.get(spec.stream, ()):
            selection.add(time_us, record)
        if spec.stream in self._lists:
            selection.follow(self._lists[spec.stream])
        return selection

    def release(self, selection: Selection) -> None:
        """Let go of a view that nobody reads any more."""
        self._selections[selection.spec.stream].remove(selection)

    def add(self, stream: str, record: Record, *, past: bool = False) -> None:
        """Add a row; its "time" orders it. A ``past`` one is seen and makes nothing due."""
        time_us = time_of(record)
        self._backlog.setdefault(stream, deque(maxlen=BACKLOG_ROWS)).append((time_us, record))
        for selection in self._selections.get(stream, ()):
            selection.add(time_us, record)
        if not past:
            self._arrive(time_us, stream, record)

    def replace(self, stream: str, records: Sequence[Record], time_us: int) -> bool:
        """Replace the list as of ``time_us``; an equal list is no change.

        Returns:
            Whether it was a change. A list older than the newest one is none.
        """
        if stream not in self._lists:
            self._lists[stream] = ([], [])
            for selection in self._selections.get(stream, ()):
                selection.follow(self._lists[stream])
        times, lists = self._lists[stream]
        rows = tuple(records)
        if lists and (rows == lists[-1] or time_us < times[-1]):
            return False
        times.append(time_us)
        lists.append(rows)
        self._arrive(time_us, stream, None)
        return True

    def _arrive(self, time_us: int, stream: str, record: Record | None) -> None:
        self._count += 1
        insort(self._arrivals, Arrival(time_us, self._count, stream, record))

    def arrivals(self, upto_us: int) -> list[Arrival]:
        """Remove and return what arrived with a time at or before ``upto_us``, in time order."""
        at = bisect_right(self._arrivals, upto_us, key=lambda a: a.time_us)
        due, self._arrivals = self._arrivals[:at], self._arrivals[at:]
        return due

    def prune(self, upto_us: int) -> None:
        """Forget lists that were replaced before ``upto_us``."""
        if upto_us <= NEVER_US:
            return
        for times, lists in self._lists.values():
            at = bisect_right(times, upto_us) - 1
            if at > 0:
                del times[:at], lists[:at]
