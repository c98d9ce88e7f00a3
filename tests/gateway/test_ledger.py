"""The ledger: sums that agree, and sums that show it when they do not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside_gateway.ledger import Effect, Ledger, Outcome, Tally, TaskLedger


def closed(ledger: TaskLedger, *request_ids: int) -> None:
    for request_id in request_ids:
        ledger.windows.received += 1
        ledger.windows.used += 1
        ledger.close(request_id)


def test_a_lost_value_shows() -> None:
    """Pending is counted where values wait, so that one that vanished leaves the sums apart."""
    waiting = ["a", "b"]
    tally = Tally()
    tally.waiting = waiting.__len__
    tally.received = 2
    assert tally.balanced
    waiting.pop()
    assert not tally.balanced
    tally.drop("late")
    assert tally.balanced
    assert tally.snapshot() == {
        "received": 2,
        "used": 0,
        "dropped": 1,
        "dropped_by": {"late": 1},
        "pending": 1,
        "balanced": True,
    }


def test_a_request_ends_once() -> None:
    """A redelivered result does not count again, and the caller is told not to act on it."""
    ledger = TaskLedger()
    closed(ledger, 1, 2)
    assert ledger.settle(1, Outcome.PUBLISHED)
    assert not ledger.settle(1, Outcome.PUBLISHED)
    assert (ledger.outcomes[Outcome.PUBLISHED], ledger.repeats, ledger.pending) == (1, 1, 1)
    assert ledger.balanced


def test_a_result_from_nowhere_shows() -> None:
    """The end of a request that never was is counted as a stray, and the ledger does not balance."""
    ledger = TaskLedger()
    closed(ledger, 1)
    assert not ledger.settle(7, Outcome.PUBLISHED)
    assert ledger.strays == 1
    assert not ledger.balanced


def test_a_window_that_is_no_request_shows() -> None:
    """A window counted as used that never became a request leaves the task unbalanced."""
    ledger = TaskLedger()
    closed(ledger, 1)
    ledger.windows.received += 1
    ledger.windows.used += 1
    assert not ledger.balanced


def test_latencies_are_percentiles_in_ms() -> None:
    """p50 and p99 rest on the newest latencies; before the first there is none."""
    ledger = TaskLedger()
    assert ledger.latency_ms() == {"p50": None, "p99": None}
    for ms in range(10_001):
        ledger.latency(ms / 1e3)
    kept = ledger.latency_ms()
    assert kept["p50"] == pytest.approx(10_000 - 4096 / 2, abs=1)
    assert kept["p99"] == pytest.approx(10_000 - 4096 / 100, abs=1)


def test_the_snapshot_is_the_report() -> None:
    """The snapshot is plain JSON with the fields a report needs, values at the top and tasks below."""
    ledger = Ledger()
    reject = ledger.task("reject")
    closed(reject, 1, 2, 3)
    reject.send(3)
    reject.answer(2)
    reject.settle(1, Outcome.PUBLISHED)
    reject.effect(Effect.WRITTEN)
    reject.settle(2, Outcome.EXPIRED, "answer after its deadline")
    reject.withhold("mode is advisory")
    report = json.loads(json.dumps(ledger.snapshot()))
    assert {k: report[k] for k in ("received", "used", "dropped", "pending", "balanced")} == {
        "received": 0,
        "used": 0,
        "dropped": 0,
        "pending": 0,
        "balanced": True,
    }
    task = report["tasks"]["reject"]
    assert (task["closed"], task["sent"], task["answered"], task["pending"]) == (3, 3, 2, 1)
    assert (task["published"], task["written"], task["read_back"], task["acted_on"]) == (1, 1, 0, 0)
    assert task["reasons"] == {"expired: answer after its deadline": 1}
    assert task["withheld"] == {"mode is advisory": 1}
    assert ledger.task("reject") is reject


@settings(max_examples=60, deadline=None)
@given(ends=st.lists(st.tuples(st.integers(1, 30), st.sampled_from(list(Outcome))), max_size=60))
def test_requests_balance_whatever_comes_back(ends: list[tuple[int, Outcome]]) -> None:
    """However often and in whatever order results come, closed = ended + pending, each request once."""
    ledger = TaskLedger()
    closed(ledger, *range(1, 31))
    first = {}
    for request_id, outcome in ends:
        assert ledger.settle(request_id, outcome) == (request_id not in first)
        first.setdefault(request_id, outcome)
        assert ledger.balanced
    assert ledger.pending == 30 - len(first)
    assert ledger.outcomes == {o: n for o in Outcome if (n := list(first.values()).count(o))}
    assert ledger.repeats == len(ends) - len(first)
