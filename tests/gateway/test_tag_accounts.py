"""The ledger tag by tag: every sample has a page, every stretch that may miss one is a gap with its cause."""

from __future__ import annotations

import numpy as np
import pytest

from lineside_gateway.ingest import TagTable
from lineside_gateway.ingest.account import TagAccounts
from lineside_gateway.ingest.gaps import MAX_ROWS, Gap, Gaps


def table_of(*tags: str) -> tuple[TagTable, list[int]]:
    table = TagTable()
    return table, [table.add("A1", t) for t in tags]


def test_every_sample_of_a_tag_is_used_dropped_or_pending():
    """Late, doubled, unknown and non-finite samples are on the page of their own tag, and the pages balance."""
    table, (a, b) = table_of("a", "b")
    good = np.zeros(2, np.uint32)
    table.write_many([a, b], [10, 10], [1.0, 2.0], good)
    table.write_many([a, b], [10, 20], [1.0, np.inf], good)
    table.settle({"A1": 15})
    table.write_many([a, 77], [12, 30], [1.0, 1.0], good)
    table.put("A1", "b", 40, 4.0)
    found_a, found_b = table.pages.account("A1", "a"), table.pages.account("A1", "b")
    assert (found_a.received, found_a.used, found_a.dropped, found_a.pending) == (3, 1, {"duplicate": 1, "late": 1}, 0)
    assert (found_b.received, found_b.used, found_b.dropped, found_b.pending) == (3, 1, {"non_finite": 1}, 1)
    assert found_a.balanced
    assert found_b.balanced
    assert table.pages.unbalanced() == []
    assert table.pages.most_dropped(5) == [("A1", "a"), ("A1", "b")]
    assert table.pages.account("A1", "c") is None


def test_a_sample_that_vanishes_shows():
    """Pending is counted where samples wait, so that one lost by a bug unbalances the page of its tag."""
    accounts = TagAccounts()
    accounts.grow(3)
    for _ in range(3):
        accounts.receive(np.array([0, 2]))
    accounts.use(np.array([0, 2, 2, 4]))
    assert accounts.unbalanced(np.array([1, 0, 1])).tolist() == []
    assert accounts.unbalanced(np.array([1, 0, 0])).tolist() == [2]
    assert accounts.of(2, 1).received == 3


def test_a_gap_lies_between_the_samples_beside_it():
    """It begins after a tag's latest sample and ends before its next; a tag that has not moved has none."""
    table, (a, b, c) = table_of("a", "b", "c")
    table.write_many([a, b], [10, 12], [1.0, 2.0], np.zeros(2, np.uint32))
    table.gaps.open(np.array([a, b, c]), "server lost")
    assert table.gaps.of(a) == [Gap(10, None, "server lost")]
    assert table.gaps.open_now() == 3
    table.gaps.see(np.array([a, a, b]), np.array([30, 20, 12]))
    table.gaps.see(np.array([a, c]), np.array([50, 40]))
    assert table.gaps.of(a) == [Gap(10, 20, "server lost")]
    assert table.gaps.of(b) == [], "the value that stood before the loss still stands after it"
    assert table.gaps.of(c) == [Gap(None, 40, "server lost")]
    assert table.gaps.count == 2
    assert table.gaps.seconds == pytest.approx(10e-6)
    assert not table.gaps.any_open


def test_a_gap_that_was_filled_is_none():
    """What a server sends again after a loss leaves no gap, whether it was still open or closed already."""
    table, (a, _) = table_of("a", "b")
    first = table.gaps.open(np.array([a]), "lost")
    table.gaps.fill(first)
    second = table.gaps.open(np.array([a]), "lost")
    table.gaps.see(np.array([a]), np.array([20]))
    table.gaps.fill(second)
    assert table.gaps.of(a) == []
    assert table.gaps.count == 0


def test_gaps_are_kept_within_bounds():
    """A server that is lost for ever and ever fills no memory: the oldest gaps are only counted."""
    size = MAX_ROWS // 4
    tags, start = np.arange(size), np.zeros(size, np.int64)
    gaps = Gaps(lambda index: start[index])
    for k in range(8):
        gaps.open(tags, f"loss {k}")
        gaps.see(tags, np.full(size, 1_000_000))
    assert gaps.count == 8 * size
    assert [g.cause for g in gaps.of(0)] == ["loss 4", "loss 5", "loss 6", "loss 7"]


def test_a_gap_is_filled_for_some_of_its_tags():
    """What a history brings of one tag leaves the gap of another as it is, before and after it has closed."""
    table, (a, b) = table_of("a", "b")
    for _ in range(2):
        lost = table.gaps.open(np.array([a, b]), "lost")
        table.gaps.fill(lost, np.array([a]))
        table.gaps.see(np.array([a, b]), np.array([20, 20]))
        assert table.gaps.of(a) == []
        assert table.gaps.of(b) == [Gap(None, 20, "lost")]
        table.gaps.fill(lost, np.array([b]))
        assert table.gaps.count == 0


def test_a_page_of_equipment_sums_its_tags_and_names_its_newest_gap():
    """Counts, gaps and seconds add up over the tags of each machine; machines do not mix."""
    table = TagTable()
    a, b, c = table.add("A1", "a"), table.add("A1", "b"), table.add("A2", "c")
    good = np.zeros(3, np.uint32)
    second = 1_000_000
    table.write_many([a, b, c], [second] * 3, [1.0, 2.0, 3.0], good)
    table.settle({"A1": second})
    table.write_many([a], [second], [1.0], good[:1])
    table.gaps.open(np.array([a, b]), "server lost")
    table.gaps.see(np.array([a, b]), np.array([3, 4]) * second)
    table.gaps.open(np.array([b]), "queue overflowed")
    first, other = table.pages.equipment()["A1"], table.pages.equipment()["A2"]
    assert (first.tags, first.received, first.used, first.dropped, first.pending) == (2, 3, 2, 1, 0)
    assert (first.gaps, first.gap_s, first.open_gaps) == (2, 5.0, 1)
    assert first.last_gap == Gap(second, None, "queue overflowed")
    assert first.balanced
    assert (other.tags, other.received, other.pending, other.gaps, other.last_gap) == (1, 1, 1, 0, None)
    page_a, page_b = table.pages.tags("A1")
    assert (page_a.tag, page_a.counts.dropped) == ("a", {"late": 1})
    assert [g.cause for g in page_b.gaps] == ["server lost", "queue overflowed"]
    assert table.pages.tags("A9") == []
