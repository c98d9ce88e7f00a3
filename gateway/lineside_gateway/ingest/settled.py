"""Final samples of numeric tags: the newest block, and each tag's state before it."""

from __future__ import annotations

import numpy as np

from lineside_gateway.ingest.history import NEVER_US
from lineside_gateway.ingest.samples import EMPTY, Block, BoolArray, IntArray


class Settled:
    """What numeric tags were, from just before the newest block up to its end."""

    def __init__(self) -> None:
        self.block = EMPTY
        self._time_us = np.empty(0, np.int64)
        self._value = np.empty(0)
        self._good = np.empty(0, np.bool_)
        self._newest_good = np.empty(0)  # NaN, which differs from every value, before the first

    def advance(self, block: Block, size: int) -> None:
        """Fold the block before into each tag's state and take ``block`` as the newest; ``size`` tags exist."""
        grown = size - len(self._time_us)
        if grown:
            self._time_us = np.append(self._time_us, np.full(grown, NEVER_US))
            self._value = np.append(self._value, np.full(grown, np.nan))
            self._good = np.append(self._good, np.zeros(grown, np.bool_))
            self._newest_good = np.append(self._newest_good, np.full(grown, np.nan))
        old = self.block
        if len(old):
            last = np.append(np.flatnonzero(old.index[1:] != old.index[:-1]), len(old) - 1)
            tags = old.index[last]
            self._time_us[tags], self._value[tags] = old.time_us[last], old.value[last]
            self._good[tags] = old.good[last]
        self.block = block

    def as_of(self, index: int, time_us: int | None) -> tuple[int, float, bool] | None:
        """Newest sample of a tag at or before ``time_us`` (None: of all), as far back as just before the block."""
        at = self.block.of(index)
        k = at.stop - 1
        if time_us is not None:
            k = at.start + int(np.searchsorted(self.block.time_us[at], time_us, side="right")) - 1
        if k >= at.start:
            return int(self.block.time_us[k]), float(self.block.value[k]), bool(self.block.good[k])
        if index >= len(self._time_us) or self._time_us[index] == NEVER_US:
            return None
        return int(self._time_us[index]), float(self._value[index]), bool(self._good[index])

    def newest(self, size: int) -> IntArray:
        """(size,) time of each tag's latest sample; ``NEVER_US`` before any."""
        out = np.full(size, NEVER_US)
        out[: len(self._time_us)] = self._time_us
        last = np.append(np.flatnonzero(self.block.index[1:] != self.block.index[:-1]), len(self.block) - 1)
        if len(self.block):
            out[self.block.index[last]] = self.block.time_us[last]
        return out

    def gap(self, indices: IntArray) -> tuple[int, int | None]:
        """Latest sample of the tags ``indices`` before the block (NEVER_US: none), and their earliest one in it."""
        known = indices[indices >= 0]
        before = int(self._time_us[known].max(initial=NEVER_US))
        starts = [at.start for at in map(self.block.of, known.tolist()) if at.stop > at.start]
        return before, min((int(self.block.time_us[k]) for k in starts), default=None)

    def changes(self, watched: BoolArray) -> tuple[IntArray, IntArray]:
        """Where in the block tags marked in ``watched`` (one entry per tag) took a new good value. Ask once.

        Returns:
            Tag indices and times, each (K,). The first good value of a tag is new.
        """
        pick = watched[self.block.index] & self.block.good
        index, value = self.block.index[pick], self.block.value[pick]
        if not len(index):
            return index, index
        first = np.empty(len(index), np.bool_)
        first[0] = True
        np.not_equal(index[1:], index[:-1], out=first[1:])
        before = np.empty(len(index))
        before[1:] = value[:-1]
        before[first] = self._newest_good[index[first]]
        self._newest_good[index] = value  # of repeated indices the last assignment, the newest value, stays
        new = value != before
        return index[new], self.block.time_us[pick][new]
