"""What came in and what became of it, tag by tag: the ledger's smallest pages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside_gateway.ingest.samples import IntArray

Counts = NDArray[np.int64]
FEW = 8
"""Adding one by one is quicker than by bins where this many times as many tags exist; measured."""


@dataclass(frozen=True, slots=True)
class TagCounts:
    """One tag since start. ``pending`` is counted where samples wait, so that a lost one shows."""

    received: int
    used: int
    dropped: dict[str, int]
    pending: int

    @property
    def balanced(self) -> bool:
        """Whether received = used + dropped + pending."""
        return self.received == self.used + sum(self.dropped.values()) + self.pending


class TagAccounts:
    """Counts per tag index, kept as columns. Cost of ``receive``: one look where the same tags come again.

    A publish of a steady stream brings the same tags in the same order, often as the very same array. It is counted
    once per run of such publishes.
    """

    def __init__(self) -> None:
        self._received = np.zeros(0, np.int64)
        self._used = np.zeros(0, np.int64)
        self._dropped: dict[str, Counts] = {}
        self._run: IntArray = np.empty(0, np.int64)
        self._run_length = 0

    def grow(self, size: int) -> None:
        """Tags 0 to ``size - 1`` exist."""
        self._received = _grown(self._received, size)
        self._used = _grown(self._used, size)
        self._dropped = {reason: _grown(counts, size) for reason, counts in self._dropped.items()}

    def receive(self, indices: IntArray) -> None:
        """One sample each of the tags ``indices`` has arrived; the array is not changed by anyone later."""
        if indices is self._run:
            self._run_length += 1
            return
        if len(indices) == len(self._run) and np.array_equal(indices, self._run):
            self._run_length += 1
            return
        self._close_run()
        self._run, self._run_length = indices, 1

    def receive_one(self, index: int) -> None:
        """One sample of one tag has arrived."""
        self._received[index] += 1

    def _close_run(self) -> None:
        if self._run_length:
            self._add(self._received, self._run, self._run_length)
            self._run, self._run_length = np.empty(0, np.int64), 0

    def use(self, starts: Counts) -> None:
        """Tag ``i`` had the samples from ``starts[i]`` up to ``starts[i + 1]`` of a settled block."""
        counts = np.diff(starts)
        self._used[: len(counts)] += counts

    def drop(self, reason: str, indices: IntArray) -> None:
        """One sample each of the tags ``indices`` goes no further."""
        counts = self._dropped.setdefault(reason, np.zeros(len(self._received), np.int64))
        self._add(counts, indices, 1)

    @staticmethod
    def _add(counts: Counts, indices: IntArray, times: int) -> None:
        inside = (indices >= 0) & (indices < len(counts))
        known = indices if np.count_nonzero(inside) == len(indices) else indices[inside]
        if len(known) * FEW < len(counts):
            np.add.at(counts, known, times)
        else:
            counts += times * np.bincount(known, minlength=len(counts))

    def of(self, index: int, pending: int) -> TagCounts:
        """The page of one tag, of which ``pending`` samples wait."""
        self._close_run()
        dropped = {reason: int(counts[index]) for reason, counts in sorted(self._dropped.items()) if counts[index]}
        return TagCounts(int(self._received[index]), int(self._used[index]), dropped, pending)

    def unbalanced(self, pending: Counts) -> IntArray:
        """Indices of tags whose page does not balance: a bug."""
        self._close_run()
        gone = self._used + sum(self._dropped.values(), np.zeros(len(self._used), np.int64))
        return np.flatnonzero(self._received != gone + pending)

    def columns(self) -> tuple[Counts, Counts, Counts]:
        """Samples received, used and dropped per tag index."""
        self._close_run()
        return self._received, self._used, self.dropped()

    def dropped(self) -> Counts:
        """Samples dropped per tag index."""
        return sum(self._dropped.values(), np.zeros(len(self._used), np.int64))


def _grown(counts: Counts, size: int) -> Counts:
    return counts if len(counts) >= size else np.append(counts, np.zeros(size - len(counts), np.int64))
