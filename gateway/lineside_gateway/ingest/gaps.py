"""Gaps: spans of event time from which values of a tag may be missing, each with its cause.

A gap is opened for many tags at once, when a connection or a message is lost. It begins after the latest sample of
each tag and ends before the next one; samples tell its bounds, so that nothing is done while all is well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lineside_gateway.ingest.history import NEVER_US
from lineside_gateway.ingest.samples import BoolArray, DoubleArray, IntArray

MAX_ROWS = 200_000  # closed gaps kept, one row per tag and gap, 24 bytes each; older ones are only counted
OPEN_US = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Gap:
    """Values between ``start_us`` and ``end_us``, both exclusive (us since 1970 UTC), may be missing.

    ``start_us`` None: since the gateway has known the tag. ``end_us`` None: still open.
    """

    start_us: int | None
    end_us: int | None
    cause: str


@dataclass(slots=True, eq=False)
class _Span:
    """One loss: (N,) tag indices, sorted, with the bounds of each."""

    id: int
    cause: str
    index: IntArray
    start_us: IntArray
    end_us: IntArray

    def rows(self, index: int) -> list[Gap]:
        at = int(np.searchsorted(self.index, index))
        if at == len(self.index) or self.index[at] != index or self.end_us[at] == self.start_us[at]:
            return []
        start, end = int(self.start_us[at]), int(self.end_us[at])
        return [Gap(None if start == NEVER_US else start, None if end == OPEN_US else end, self.cause)]

    def keep(self, which: IntArray | BoolArray) -> None:
        """Forget all but some rows."""
        self.index, self.start_us, self.end_us = self.index[which], self.start_us[which], self.end_us[which]

    @property
    def real(self) -> IntArray:
        """Rows in which something may be missing."""
        return np.flatnonzero((self.end_us != OPEN_US) & (self.end_us != self.start_us))


class Gaps:
    """All gaps of the numeric tags of one table; ``newest`` gives the latest SourceTimestamp of tags, NEVER_US none."""

    def __init__(self, newest: Callable[[IntArray], IntArray]) -> None:
        self._newest = newest
        self._open: list[_Span] = []
        self._closed: deque[_Span] = deque()
        self._rows = 0
        self._last_id = 0
        self._counts = np.zeros(0, np.int64)
        self._us = np.zeros(0, np.int64)

    @property
    def count(self) -> int:
        """Gaps closed so far, one per tag and loss."""
        return int(self._counts.sum())

    @property
    def seconds(self) -> float:
        """Event time in them, summed over tags (s)."""
        return float(self._us.sum()) / 1e6

    def open(self, indices: IntArray, cause: str) -> int:
        """Values of the tags ``indices`` may be missing from their latest sample on; the number names the gap."""
        self._last_id += 1
        index = np.unique(indices)
        if len(index):
            bounds = self._newest(index), np.full(len(index), OPEN_US)
            self._open.append(_Span(self._last_id, cause, index, *bounds))
        return self._last_id

    @property
    def any_open(self) -> bool:
        """Whether ``see`` has anything to do."""
        return bool(self._open)

    def see(self, indices: IntArray, times_us: IntArray) -> None:
        """Samples have arrived: the first of each tag ends its gap; one at the gap's start says that there was none."""
        for span in tuple(self._open):
            at = np.searchsorted(span.index, indices)
            at[at == len(span.index)] = 0
            hit = (span.index[at] == indices) & (times_us >= span.start_us[at])
            np.minimum.at(span.end_us, at[hit], times_us[hit])
            if not np.any(span.end_us == OPEN_US):
                self._close(span)

    def fill(self, gap: int, indices: IntArray | None = None) -> None:
        """What the gap left out has come after all, of all its tags or of ``indices``."""
        for span in [s for s in (*self._open, *self._closed) if s.id == gap]:
            filled = np.ones(len(span.index), np.bool_) if indices is None else np.isin(span.index, indices)
            is_closed = span not in self._open
            if is_closed:
                self._count(span, filled, -1)
                self._rows -= int(np.count_nonzero(filled))
            span.keep(~filled)
            if not len(span.index):
                (self._closed if is_closed else self._open).remove(span)

    def _close(self, span: _Span) -> None:
        self._open.remove(span)
        real = span.real
        if not len(real):
            return
        span.keep(real)
        self._count(span, np.ones(len(real), np.bool_), 1)
        self._closed.append(span)
        self._rows += len(real)
        while self._rows > MAX_ROWS and len(self._closed) > 1:
            self._rows -= len(self._closed.popleft().index)

    def _count(self, span: _Span, which: BoolArray, sign: int) -> None:
        index, begun = span.index[which], span.start_us[which] != NEVER_US
        self._grow(int(span.index[-1]) + 1)
        self._counts[index] += sign
        self._us[index[begun]] += sign * (span.end_us - span.start_us)[which][begun]

    def _grow(self, size: int) -> None:
        if size > len(self._counts):
            more = np.zeros(size - len(self._counts), np.int64)
            self._counts, self._us = np.append(self._counts, more), np.append(self._us, more)

    def of(self, index: int) -> list[Gap]:
        """Gaps of one tag, oldest first, as far back as they are kept."""
        return [gap for span in (*self._closed, *self._open) for gap in span.rows(index)]

    def open_now(self) -> int:
        """Tags with a gap that is open."""
        return sum(int(np.count_nonzero(s.end_us == OPEN_US)) for s in self._open)

    # ---- by tag index, of the first ``size`` tags

    def counts(self, size: int) -> IntArray:
        """Gaps closed so far, per tag."""
        self._grow(size)
        return self._counts[:size]

    def seconds_each(self, size: int) -> DoubleArray:
        """Event time in them (s), per tag."""
        self._grow(size)
        return self._us[:size] / 1e6

    def open_counts(self, size: int) -> IntArray:
        """1 for each tag of which values are missing now."""
        found = np.zeros(size, np.int64)
        for span in self._open:
            found[span.index[span.end_us == OPEN_US]] = 1
        return found

    def newest_of(self, owner: IntArray, owners: int) -> dict[int, Gap]:
        """The newest gap of any tag of each owner, by owner; ``owner`` is per tag index, from 0 to ``owners`` - 1."""
        found: dict[int, Gap] = {}
        seen = np.zeros(owners, np.bool_)
        for span in (*reversed(self._open), *reversed(self._closed)):
            its = owner[span.index]
            fresh = np.flatnonzero(~seen[its] & (span.end_us != span.start_us))
            for at in fresh[np.unique(its[fresh], return_index=True)[1]].tolist():
                found[int(its[at])] = span.rows(int(span.index[at]))[0]
            seen[its[fresh]] = True
            if seen.all():
                break
        return found
