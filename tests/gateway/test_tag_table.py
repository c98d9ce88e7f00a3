"""The tag table: what it keeps, what it drops, and that it can account for all of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside_gateway.ingest import TagError, TagTable

START = int(np.datetime64("2026-01-05T06:00:00", "us").astype(np.int64))
SECOND = 1_000_000
GOOD, UNCERTAIN, BAD = 0, 0x40000000, 0x80350000


def at(second: float) -> int:
    return START + round(second * SECOND)


def settle(table: TagTable, second: float) -> list[tuple[int, float, float, bool]]:
    block = table.settle(dict.fromkeys(table.equipment_ids, at(second)))
    seconds = ((block.time_us - START) / SECOND).tolist()
    return list(zip(block.index.tolist(), seconds, block.value.tolist(), block.good.tolist(), strict=True))


def test_out_of_order_samples_settle_in_order() -> None:
    """Samples that arrive in any order before the watermark settle sorted by tag and time."""
    table = TagTable()
    a, b = table.add("M1", "A"), table.add("M1", "B")
    table.write(b, [at(1)], [10.0])
    table.write(a, [at(3), at(1)], [3.0, 1.0])
    table.write_many([a, b, a], [at(2), at(3), at(9)], [2.0, 30.0, 9.0], [GOOD] * 3)
    settled = [(index, second, value) for index, second, value, _ in settle(table, 5)]
    assert settled == [(a, 1, 1.0), (a, 2, 2.0), (a, 3, 3.0), (b, 1, 10.0), (b, 3, 30.0)]
    assert table.tally.pending == 1
    assert table.tally.balanced


def test_every_reason_to_drop_is_counted() -> None:
    """Late, duplicate, unknown and non-finite values go no further, and each is counted under its reason."""
    table = TagTable()
    a = table.add("M1", "A")
    table.write(a, [at(1), at(1), at(2)], [1.0, 7.0, np.inf])
    table.put("M1", "A", at(4), float("nan"))
    assert settle(table, 10) == [(a, 1, 1.0, True)]
    table.write(a, [at(10), at(11)], [1.0, 2.0])
    table.put("M1", "A", at(3), 1.0)
    table.put("M1", "Nowhere", at(3), 1.0)
    table.write_many([a, 99, -1], [at(12)] * 3, [1.0] * 3, [GOOD] * 3)
    assert table.tally.dropped == {"duplicate": 1, "non_finite": 2, "late": 2, "unknown_tag": 3}
    assert (table.tally.received, table.tally.used, table.tally.pending) == (11, 1, 2)
    assert table.tally.balanced


def test_the_first_of_several_duplicates_stays() -> None:
    """Of samples with the same tag and time the one that arrived first is kept, however many there are."""
    table = TagTable()
    a = table.add("M1", "A")
    for k in range(200):
        table.write(a, [at(2), at(1)], [k, k])
    assert settle(table, 5) == [(a, 1, 0.0, True), (a, 2, 0.0, True)]
    assert table.tally.dropped == {"duplicate": 398}


def test_what_waits_is_bounded() -> None:
    """When nobody settles, a full table drops what comes and says so, instead of filling the memory."""
    table = TagTable(max_pending=10)
    a = table.add("M1", "A")
    for second in range(1, 25):
        table.write(a, [at(second)], [1.0])
    table.put("M1", "A", at(30), 1.0)
    assert table.tally.dropped == {"overflow": 15}
    assert len(settle(table, 100)) == 10
    assert table.tally.balanced


def test_status_codes_decide_what_is_good() -> None:
    """Bad becomes not good without a value, Uncertain becomes not good with its value."""
    table = TagTable()
    a = table.add("M1", "A")
    table.write_many([a] * 3, [at(1), at(2), at(3)], [1.0, 2.0, 3.0], [GOOD, UNCERTAIN, BAD])
    (_, _, one, good), (_, _, two, uncertain), (_, _, three, bad) = settle(table, 5)
    assert (one, good, two, uncertain, bad) == (1.0, True, 2.0, False, False)
    assert np.isnan(three)


def test_written_arrays_are_copied() -> None:
    """A caller may reuse its buffers as soon as a write returns."""
    table = TagTable()
    a = table.add("M1", "A")
    index, times, values = np.array([a]), np.array([at(1)]), np.array([1.0])
    table.write_many(index, times, values, [GOOD])
    table.write_block(index, times + SECOND, values[None], None)
    index[:], times[:], values[:] = 7, 0, 99.0
    assert settle(table, 5) == [(a, 1, 1.0, True), (a, 2, 1.0, True)]


def test_each_machine_has_its_own_watermark() -> None:
    """A machine whose server is silent keeps its samples waiting; the others settle."""
    table = TagTable()
    a, b = table.add("M1", "A"), table.add("M2", "A")
    table.write(a, [at(1)], [1.0])
    table.write(b, [at(1)], [2.0])
    assert table.settle({"M2": at(5)}).index.tolist() == [b]
    assert table.settle({"M2": at(2)}).index.tolist() == []  # a watermark never goes back
    table.write(b, [at(3)], [2.0])
    assert table.tally.dropped == {"late": 1}
    assert table.settle({"M1": at(5), "M9": at(9)}).index.tolist() == [a]


def test_latest_sees_what_is_not_settled_yet() -> None:
    """The newest value is by SourceTimestamp, not by arrival, whether or not it is settled."""
    table = TagTable()
    a = table.add("M1", "A")
    table.declare("M1", "SerialNo")
    assert table.latest("M1", "A") is None
    table.write(a, [at(5)], [5.0])
    table.write(a, [at(4)], [4.0])
    assert table.latest("M1", "A").value == 5.0  # type: ignore[union-attr]
    settle(table, 6)
    assert table.latest("M1", "A").value == 5.0  # type: ignore[union-attr]
    table.put("M1", "SerialNo", at(3), "P-2")
    table.put("M1", "SerialNo", at(1), "P-1")
    assert table.latest("M1", "SerialNo").value == "P-2"  # type: ignore[union-attr]
    assert (table.first_us("M1"), table.newest_us("M1")) == (at(1), at(5))


def test_text_is_shown_as_of_a_time() -> None:
    """A text tag has the value it had at that time, and a lazy value is made only when it is looked at."""
    table = TagTable()
    made: list[str] = []

    def image() -> bytes:
        made.append("image")
        return b"png"

    table.declare("M1", "SerialNo")
    table.declare("M1", "SurfaceImage")
    for second, serial in ((1, "P-1"), (5, "P-2"), (9, "P-3")):
        table.put("M1", "SerialNo", at(second), serial)
    table.put("M1", "SurfaceImage", at(1), image)
    settle(table, 6)
    shown = [table.as_of("M1", "SerialNo", at(s)) for s in (0.5, 1, 4.9, 5, 20)]
    assert [v and v.value for v in shown] == [None, "P-1", "P-1", "P-2", "P-3"]
    assert made == []
    assert [table.as_of("M1", "SurfaceImage", at(2)).value for _ in "ab"] == [b"png"] * 2  # type: ignore[union-attr]
    assert made == ["image"]


def test_a_change_is_a_new_good_value() -> None:
    """The first value and each other value are changes; repeats, empty texts and values that are not good are none."""
    table = TagTable()
    state = table.add("M1", "State")
    table.declare("M1", "SerialNo")
    table.watch("M1", "State")
    table.watch("M1", "SerialNo")
    seen: list[tuple[str, float]] = []
    texts = [("", True), ("P-1", True), (None, False), ("P-1", True), ("P-2", True), ("P-2", True)]
    for k, (text, good) in enumerate(texts, start=1):
        table.put("M1", "SerialNo", at(100 * k), text, good)
        settle(table, 100 * k + 90)
        seen += [(c.tag, (c.time_us - START) / SECOND) for c in table.changes()]
    table.write(state, [at(s) for s in (701, 702, 703, 704, 705)], [1, 1, 5, 0, 5], [True, True, True, False, True])
    settle(table, 800)
    seen += [(c.tag, (c.time_us - START) / SECOND) for c in table.changes()]
    assert seen == [("SerialNo", 200), ("SerialNo", 500), ("State", 701), ("State", 703)]


def test_a_tag_has_one_form() -> None:
    """Registering a tag both as numeric and as text is an error that names it."""
    table = TagTable()
    table.add("M1", "A")
    table.declare("M1", "B")
    assert table.add("M1", "A") == 0
    with pytest.raises(TagError, match="'A' of M1"):
        table.declare("M1", "A")
    with pytest.raises(TagError, match="'B' of M1"):
        table.add("M1", "B")


writes = st.lists(
    st.tuples(
        st.integers(-1, 3),  # tag index; -1 and 3 are unknown
        st.integers(0, 40),  # second
        st.one_of(st.floats(-10, 10), st.just(float("nan"))),
        st.sampled_from([GOOD, UNCERTAIN, BAD]),
        st.booleans(),  # whether a watermark follows
    ),
    max_size=80,
)


@settings(max_examples=80, deadline=None)
@given(rows=writes)
def test_all_values_are_accounted_for(rows: list[tuple[int, int, float, int, bool]]) -> None:
    """At any time received = used + dropped + pending, and what settles is what was used, each tag and time once."""
    table = TagTable()
    for machine, tag in (("M1", "A"), ("M1", "B"), ("M2", "A")):
        table.add(machine, tag)
    settled: list[tuple[int, float, float, bool]] = []
    for k, (index, second, value, status, close) in enumerate(rows):
        table.write_many([index], [at(second)], [value], [status])
        if close:
            settled += settle(table, k / 2)
        assert table.tally.balanced
    settled += settle(table, 100)
    assert table.tally.pending == 0
    assert table.tally.received == len(rows)
    assert table.tally.used == len(settled) == len({(i, s) for i, s, _, _ in settled})
