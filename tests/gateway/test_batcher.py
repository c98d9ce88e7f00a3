"""The batcher: when a batch goes, and what is in it. The clock is a number here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside_gateway.batching import MicroBatcher, join
from lineside_gateway.ingest import Request
from lineside_plugins.wire import decode_batch, encode_batch


def a_request(number: int, task: str = "maintenance", shape: tuple[int, int] = (3, 2), deadline: int = 0) -> Request:
    return Request(
        id=number,
        task=task,
        equipment_id=f"M{number}",
        end_us=number * 1_000_000,
        deadline_us=deadline or number * 1_000_000 + 5,
        tags=tuple("ABCDEF"[: shape[1]]),
        period_s=60.0,
        values=np.full(shape, number, np.float32),
        good=np.ones(shape, np.bool_),
        snapshot={"SerialNo": f"P-{number}"},
        records={"events": ({"n": number},)},
        quality=1.0,
        cause="period",
    )


def test_a_full_batch_goes_at_once() -> None:
    """A batch does not wait once it has its size; what is over stays."""
    batcher = MicroBatcher(max_batch_size=2, max_wait_s=1.0)
    for number in (1, 2, 3):
        batcher.add(a_request(number), now_s=0.0)
    (batch,) = batcher.due(0.0)
    assert [r.id for r in batch.requests] == [1, 2]
    assert len(batcher) == 1
    assert batcher.next_due_s() == 1.0


def test_the_oldest_request_waits_no_longer_than_max_wait() -> None:
    """The wait counts from the first request of a batch, by the caller's clock."""
    batcher = MicroBatcher(max_batch_size=10, max_wait_s=0.5)
    batcher.add(a_request(1), now_s=10.0)
    batcher.add(a_request(2), now_s=10.4)
    assert batcher.due(10.49) == []
    (batch,) = batcher.due(10.5)
    assert [r.id for r in batch.requests] == [1, 2]
    assert batcher.next_due_s() is None


def test_a_request_about_to_expire_takes_the_batch_along() -> None:
    """A batch goes max_wait_s before the first of its requests is of no use."""
    batcher = MicroBatcher(max_batch_size=10, max_wait_s=0.5)
    batcher.add(a_request(1), now_s=0.0)
    batcher.add(a_request(2), now_s=0.1, expires_s=0.7)
    assert batcher.next_due_s() == pytest.approx(0.2)
    assert len(batcher.due(0.21)[0]) == 2


def test_expired_requests_are_handed_out_apart() -> None:
    """What nobody needs any more is not sent, and not lost from sight."""
    batcher = MicroBatcher(max_batch_size=10, max_wait_s=0.5)
    batcher.add(a_request(1), now_s=0.0, expires_s=0.2)
    batcher.add(a_request(2), now_s=0.0)
    assert [r.id for r in batcher.expired(0.3)] == [1]
    assert [r.id for b in batcher.due(0.5) for r in b.requests] == [2]
    assert batcher.expired(9.9) == []


def test_the_soonest_deadline_goes_first() -> None:
    """Among batches that are due, and within one that is over its size, the soonest deadline leads."""
    batcher = MicroBatcher(max_batch_size=2, max_wait_s=0.0)
    for number, task, deadline in ((1, "slow", 900), (2, "fast", 50), (3, "slow", 800), (4, "slow", 100)):
        batcher.add(a_request(number, task, deadline=deadline), now_s=0.0)
    assert [(b.task, [r.id for r in b.requests]) for b in batcher.due(0.0)] == [
        ("fast", [2]),
        ("slow", [3, 4]),
        ("slow", [1]),
    ]


def test_windows_of_another_shape_are_another_batch() -> None:
    """One task bound twice with different windows never mixes them."""
    batcher = MicroBatcher(max_wait_s=0.0)
    batcher.add(a_request(1), now_s=0.0)
    batcher.add(a_request(2, shape=(4, 2)), now_s=0.0)
    assert sorted(b.windows.values.shape for b in batcher.flush()) == [(1, 3, 2), (1, 4, 2)]


def test_a_batch_survives_the_wire() -> None:
    """What the batcher joins, the worker gets back, window by window."""
    windows = decode_batch(encode_batch(join([a_request(1), a_request(2)])))
    assert windows.equipment_ids == ("M1", "M2")
    assert windows.values[:, 0, 0].tolist() == [1.0, 2.0]
    assert windows.end.astype(np.int64).tolist() == [1_000_000, 2_000_000]
    assert [s["SerialNo"] for s in windows.snapshots] == ["P-1", "P-2"]
    assert windows.records[1]["events"][0]["n"] == 2


def test_a_task_without_a_window_gives_an_empty_grid() -> None:
    """Requests without a window make a batch of T = 0, C = 0."""
    assert join([a_request(1, shape=(0, 0))]).values.shape == (1, 0, 0)
    with pytest.raises(ValueError, match="0 requests"):
        join([])


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 0.2), st.floats(0.0, 2.0), st.integers(1, 10**7)),
        max_size=50,
    ),
    size=st.integers(1, 5),
    wait_s=st.floats(0, 0.3),
)
def test_every_request_leaves_exactly_once(
    steps: list[tuple[str, float, float, int]], size: int, wait_s: float
) -> None:
    """Each request leaves once, in a batch of its task that is not over size, or expired; none waits too long."""
    batcher = MicroBatcher(size, wait_s)
    now, added = 0.0, {}
    left: list[int] = []
    for number, (task, pause, life, deadline) in enumerate(steps, start=1):
        now += pause
        added[number] = now
        batcher.add(a_request(number, task, deadline=deadline), now, now + life)
        left += [r.id for r in batcher.expired(now)]
        for batch in batcher.due(now):
            assert len(batch) <= size
            assert {r.task for r in batch.requests} == {batch.task}
            left += [r.id for r in batch.requests]
        assert len(batcher) == len(added) - len(left)
        assert all(now - added[i] < wait_s for i in set(added) - set(left))
    left += [r.id for b in batcher.flush() for r in b.requests]
    assert sorted(left) == sorted(added)


def test_no_more_batches_than_there_are_slots() -> None:
    """What is due beyond them goes on waiting, and the soonest deadline goes first."""
    batcher = MicroBatcher(max_batch_size=2, max_wait_s=0.0)
    for i in range(6):
        batcher.add(a_request(i, deadline=1000 - i), now_s=0.0)
    assert [[r.id for r in b.requests] for b in batcher.due(1.0, 1)] == [[4, 5]]
    assert batcher.due(1.0, 0) == []
    assert [[r.id for r in b.requests] for b in batcher.due(1.0, 5)] == [[2, 3], [0, 1]]


def test_the_oldest_are_shed() -> None:
    """Beyond the bound those that have waited longest go, whatever their shape."""
    batcher = MicroBatcher(max_batch_size=64, max_wait_s=9.0)
    for i in range(6):
        batcher.add(a_request(i, shape=(4 if i % 2 else 5, 2)), now_s=float(i))
    assert sorted(r.id for r in batcher.shed(3)) == [0, 1, 2]
    assert batcher.shed(3) == []
    assert len(batcher) == 3
