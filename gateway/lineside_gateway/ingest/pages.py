"""The ledger's pages: what became of the samples of each numeric tag and piece of equipment, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside_gateway.ingest.account import Counts, TagCounts
from lineside_gateway.ingest.gaps import Gap, Gaps
from lineside_gateway.ingest.intake import Intake

Key = tuple[str, str]
"""(equipment_id, tag)."""


@dataclass(frozen=True, slots=True)
class TagPage:
    """One tag: its counts since start, and its gaps, oldest first, as far back as they are kept."""

    tag: str
    counts: TagCounts
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class EquipmentPage:
    """Sums over the numeric tags of one piece of equipment since start."""

    tags: int
    received: int
    used: int
    dropped: int
    pending: int
    gaps: int
    """Closed gaps, one per tag and loss."""
    gap_s: float
    """Event time in them, summed over tags."""
    open_gaps: int
    """Tags of which values are missing now."""
    last_gap: Gap | None
    """The newest one of any tag."""

    @property
    def balanced(self) -> bool:
        """Whether received = used + dropped + pending."""
        return self.received == self.used + self.dropped + self.pending


class Pages:
    """Reads what a tag table keeps; the table adds to ``keys``, ``index`` and ``equipment`` as tags come."""

    def __init__(
        self, keys: Sequence[Key], index: Mapping[Key, int], equipment: Mapping[str, int], intake: Intake, gaps: Gaps
    ) -> None:
        """``keys`` by tag index, ``index`` the other way round, ``equipment`` numbers by id."""
        self._keys = keys
        self._index = index
        self._equipment = equipment
        self._intake = intake
        self._gaps = gaps

    def _pending(self) -> Counts:
        return self._intake.log.waiting(len(self._keys))

    def account(self, equipment_id: str, tag: str) -> TagCounts | None:
        """What became of the samples of one numeric tag; None where it is not registered as one."""
        index = self._index.get((equipment_id, tag))
        return None if index is None else self._intake.accounts.of(index, int(self._pending()[index]))

    def unbalanced(self) -> list[Key]:
        """Tags of which a sample is neither used nor dropped nor pending: a bug."""
        return [self._keys[i] for i in self._intake.accounts.unbalanced(self._pending())]

    def most_dropped(self, count: int) -> list[Key]:
        """Tags that lost most samples, worst first, at most ``count``; those that lost none are left out."""
        dropped = self._intake.accounts.dropped()
        worst = np.argsort(-dropped, kind="stable")[:count]
        return [self._keys[i] for i in worst if dropped[i]]

    def tags(self, equipment_id: str) -> list[TagPage]:
        """The pages of one piece of equipment's tags, by name; none where it is not known."""
        pending, accounts = self._pending(), self._intake.accounts
        mine = np.flatnonzero(self._intake.owner == self._equipment.get(equipment_id, -1)).tolist()
        pages = [TagPage(self._keys[i][1], accounts.of(i, int(pending[i])), tuple(self._gaps.of(i))) for i in mine]
        return sorted(pages, key=lambda p: p.tag)

    def equipment(self) -> dict[str, EquipmentPage]:
        """A page for each piece of equipment that has numeric tags. Costs a few looks at each tag."""
        owner, accounts, gaps = self._intake.owner, self._intake.accounts, self._gaps

        def per_equipment(column: NDArray[np.int64] | NDArray[np.float64] | None) -> list[float]:
            found: list[float] = np.bincount(owner, column, minlength=len(self._equipment)).tolist()
            return found

        received, used, dropped = accounts.columns()
        size = len(owner)
        columns = (None, received, used, dropped, self._pending(), gaps.counts(size), gaps.open_counts(size))
        sums = [[int(v) for v in per_equipment(c)] for c in columns]
        seconds, last = per_equipment(gaps.seconds_each(size)), gaps.newest_of(owner, len(self._equipment))
        pages: dict[str, EquipmentPage] = {}
        for name, number in self._equipment.items():
            if sums[0][number]:
                tags, got, spent, gone, waiting, closed, still_open = (column[number] for column in sums)
                pages[name] = EquipmentPage(
                    tags, got, spent, gone, waiting, closed, seconds[number], still_open, last.get(number)
                )
        return pages
