"""What is known of a sequence of tag indices that comes again and again: found out once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lineside_gateway.ingest.samples import IntArray, every

MAX_GROUPS = 256
"""Sequences remembered; as many as subscriptions times the subsets of tags that change together, bounded."""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one piece of equipment in a sequence of tag indices that are all registered."""

    index: IntArray
    starts: IntArray
    """(R,) where each run begins."""
    numbers: IntArray
    """(R,) equipment number of each run."""


class Groups:
    """Groups by the identity of their index array, which must be read-only to be remembered."""

    def __init__(self) -> None:
        self._known: dict[int, Group] = {}  # a Group keeps its index array, so that no other gets its identity

    def of(self, index: IntArray, owner: IntArray) -> Group | None:
        """The group of ``index``, where ``owner`` is the equipment number per tag; None: a tag is not registered."""
        key = id(index)
        known = self._known.get(key)
        if known is not None:
            return known
        found = _group(index, owner)
        if found is not None and not index.flags.writeable:
            if len(self._known) >= MAX_GROUPS:
                del self._known[next(iter(self._known))]
            self._known[key] = found
        return found


def _group(index: IntArray, owner: IntArray) -> Group | None:
    if not len(index) or not every((index >= 0) & (index < len(owner))):
        return None
    numbers = owner[index]
    starts = np.append(0, np.flatnonzero(numbers[1:] != numbers[:-1]) + 1)
    return Group(index, starts, numbers[starts])
