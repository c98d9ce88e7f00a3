"""Samples from before the gateway began: they fill windows and make none due."""

from __future__ import annotations

import numpy as np

from lineside_gateway.ingest import Binding, TagTable, Windower
from lineside_gateway.ingest.records import iso
from lineside_gateway.ledger import Ledger
from lineside_plugins.contract import Channel, Inputs, RecordSpec, Trigger, WindowSpec

LIVE = int(np.datetime64("2026-01-08T06:00:30", "us").astype(np.int64))
MINUTE, HOUR = 60_000_000, 3_600_000_000
SPAN_H = 48
CONDITION = Inputs(
    Trigger(every_s=60.0, on_change=("State",), on_records=("events",)),
    30.0,
    window=WindowSpec((Channel("Vib"),), length=4 * SPAN_H, period_s=900.0, min_good=0.02),
    records=(RecordSpec("events"),),
)


def a_line() -> tuple[TagTable, Windower, Ledger]:
    ledger = Ledger()
    table = TagTable(ledger.values)
    for machine in ("M1", "M2"):
        table.add(machine, "Vib")
        table.add(machine, "State")
    return table, Windower(table, [Binding("condition", CONDITION, ("M1", "M2"))], ledger), ledger


def remember(table: TagTable, machine: str) -> None:
    """Two days of a sample a minute up to LIVE, with a state that changes every hour, and a failure."""
    times = np.arange(LIVE - SPAN_H * HOUR, LIVE, MINUTE)
    table.write(table.add(machine, "Vib"), times, np.linspace(1.0, 2.0, len(times)))
    table.write(table.add(machine, "State"), times[::60], np.arange(len(times[::60])) % 2)
    table.add_record("events", {"time": iso(LIVE - HOUR), "equipment_id": machine, "kind": "failure"}, past=True)


def live(table: TagTable, machine: str, minutes: int) -> None:
    times = np.arange(LIVE, LIVE + minutes * MINUTE + 1, MINUTE // 60)
    table.write(table.add(machine, "Vib"), times, np.full(len(times), 2.0))


def test_history_fills_the_first_window_and_closes_none_before() -> None:
    """Three live minutes after 48 h of history give three requests of full quality, whose rows reach back."""
    table, windower, ledger = a_line()
    remember(table, "M1")
    windower.begin("M1", LIVE)
    live(table, "M1", 3)
    requests = windower.close({"M1": LIVE + 3 * MINUTE})
    assert [r.end_us - LIVE for r in requests] == [MINUTE // 2, MINUTE * 3 // 2, MINUTE * 5 // 2]
    assert min(r.quality for r in requests) > 0.98
    assert requests[0].values[1, 0] < requests[0].values[-2, 0]
    assert [r["kind"] for r in requests[0].records["events"]] == ["failure"]
    assert {r.cause for r in requests} == {"period"}
    assert ledger.task("condition").windows.received == 3
    assert ledger.balanced


def test_without_history_the_same_minutes_are_a_poor_window() -> None:
    """The same live minutes alone fill almost nothing of two days, and periods begin at the first sample."""
    table, windower, ledger = a_line()
    live(table, "M1", 3)
    assert windower.close({"M1": LIVE + 3 * MINUTE}) == []
    assert ledger.task("condition").windows.dropped == {"poor_window": 3}


def test_history_of_a_late_machine_leaves_the_others_alone() -> None:
    """While M2 comes up with two days behind it, M1 goes on by the minute, and each closes its own periods once."""
    table, windower, ledger = a_line()
    remember(table, "M1")
    windower.begin("M1", LIVE)
    live(table, "M1", 20)
    first = windower.close({"M1": LIVE + 10 * MINUTE})
    remember(table, "M2")
    windower.begin("M2", LIVE)
    live(table, "M2", 20)
    second = windower.close({"M1": LIVE + 20 * MINUTE, "M2": LIVE + 20 * MINUTE})
    for machine in ("M1", "M2"):
        ends = [r.end_us for r in first + second if r.equipment_id == machine]
        assert ends == [LIVE + MINUTE // 2 + k * MINUTE for k in range(20)]
    assert min(r.quality for r in first + second) > 0.98
    assert ledger.balanced


def test_a_change_after_the_history_is_one() -> None:
    """A state that differs from the last one in the history makes a window due; the same state does not."""
    for state, causes in ((1.0, ["period"]), (7.0, ["State", "period"])):
        table, windower, ledger = a_line()
        remember(table, "M1")
        windower.begin("M1", LIVE)
        live(table, "M1", 1)
        table.write(table.add("M1", "State"), [LIVE + 5], [state])
        requests = windower.close({"M1": LIVE + MINUTE})
        assert [r.cause for r in requests] == causes
        assert ledger.balanced
