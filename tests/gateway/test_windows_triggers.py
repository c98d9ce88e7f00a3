"""When windows close and what a request carries."""

from __future__ import annotations

import numpy as np
import pytest

from lineside_gateway.ingest import Binding, BindingError, Request, TagError, TagTable, Windower
from lineside_gateway.ingest.records import iso
from lineside_gateway.ledger import Ledger
from lineside_plugins.contract import Channel, Inputs, RecordSpec, Scope, Trigger, WindowSpec
from lineside_plugins.types import Record

START = int(np.datetime64("2026-01-05T06:00:00", "us").astype(np.int64))
SECOND = 1_000_000


def at(second: float) -> int:
    return START + round(second * SECOND)


def seconds(requests: list[Request]) -> list[float]:
    return [(r.end_us - START) / SECOND for r in requests]


def event(second: float, equipment_id: str, kind: str, number: int = 0) -> Record:
    return {"time": iso(at(second)), "equipment_id": equipment_id, "kind": kind, "n": number}


def a_line(*bindings: Binding) -> tuple[TagTable, Windower, Ledger]:
    ledger = Ledger()
    table = TagTable(ledger.values)
    for machine in ("M1", "M2"):
        for tag in ("State", "Vib", "CycleTime"):
            table.add(machine, tag)
        for tag in ("SerialNo", "ForceCurve"):
            table.declare(machine, tag)
    return table, Windower(table, bindings, ledger), ledger


PART = Inputs(Trigger(on_change=("SerialNo",)), 5.0, snapshot=("SerialNo", "ForceCurve", "CycleTime"))


def test_each_part_has_its_own_request() -> None:
    """Two parts between two watermarks give two requests, each with the values that were written for it."""
    table, windower, ledger = a_line(Binding("part", PART, ("M1",)))
    for second, serial in ((10.2, "P-1"), (50.9, "P-2")):
        table.put("M1", "ForceCurve", at(second), np.full(4, second, np.float32))
        table.put("M1", "CycleTime", at(second), second)
        table.put("M1", "SerialNo", at(second), serial)
    requests = windower.close(at(60))
    assert seconds(requests) == [10.2, 50.9]
    assert [r.snapshot["SerialNo"] for r in requests] == ["P-1", "P-2"]
    assert [r.snapshot["CycleTime"] for r in requests] == [10.2, 50.9]
    assert [float(np.asarray(r.snapshot["ForceCurve"])[0]) for r in requests] == pytest.approx([10.2, 50.9])
    assert [r.id for r in requests] == [1, 2]
    assert [r.deadline_us - r.end_us for r in requests] == [5 * SECOND] * 2
    assert [r.cause for r in requests] == ["SerialNo"] * 2
    assert requests[0].values.shape == (0, 0)
    assert ledger.balanced


def test_values_that_are_not_good_are_not_shown() -> None:
    """A snapshot tag that is Bad, Uncertain or missing is None, and lowers the request's quality."""
    table, windower, _ = a_line(Binding("part", PART, ("M1",)))
    table.put("M1", "ForceCurve", at(1), np.zeros(4, np.float32), good=False)
    table.put("M1", "SerialNo", at(1), "P-1")
    (request,) = windower.close(at(2))
    assert dict(request.snapshot) == {"SerialNo": "P-1", "ForceCurve": None, "CycleTime": None}
    assert request.quality == pytest.approx(1 / 3)


def test_a_change_inside_a_base_cell_shows_whole_cells_only() -> None:
    """A request ends at the exact time of its change; its grid ends with the last whole base cell before."""
    window = WindowSpec((Channel("Vib"),), 2, 60.0)
    inputs = Inputs(Trigger(on_change=("SerialNo",)), 5.0, window=window)
    table, windower, _ = a_line(Binding("part", inputs, ("M1",)))
    table.write(0 + 1, [at(s) for s in range(1, 151)], np.repeat([1.0, 2.0, 3.0], (60, 60, 30)))
    table.put("M1", "SerialNo", at(149), "P-1")
    (request,) = windower.close(at(150))
    assert seconds([request]) == [149]
    assert request.values[:, 0].tolist() == [1.0, 2.0]


def test_a_late_change_still_closes_its_window() -> None:
    """A serial number that arrives after the watermark passed its time gives a request with its own end."""
    table, windower, ledger = a_line(Binding("part", PART, ("M1",)))
    table.put("M1", "SerialNo", at(1), "P-1")
    assert seconds(windower.close(at(10))) == [1]
    table.put("M1", "SerialNo", at(8), "P-2")
    table.put("M1", "SerialNo", at(9), "P-3")
    requests = windower.close(at(20))
    assert seconds(requests) == [8, 9]
    assert [r.snapshot["SerialNo"] for r in requests] == ["P-2", "P-3"]
    assert ledger.balanced


LINE = Inputs(
    Trigger(on_change=("State",), on_records=("job_orders", "recommendations/maintenance"), min_interval_s=60.0),
    30.0,
    records=(
        RecordSpec("job_orders"),
        RecordSpec("equipment", tags=("State", "SerialNo")),
        RecordSpec("recommendations/maintenance", limit=2, whole_line=True),
    ),
    scope=Scope.LINE,
)


def test_bursts_merge_into_one_window_of_the_line() -> None:
    """The first change closes a window at once, the burst after it one more when the interval is over."""
    table, windower, ledger = a_line(Binding("plan", LINE, ("M1", "M2")))
    table.write(0, [at(s) for s in (10, 20, 30)], [1, 2, 3])
    table.write(3, [at(25)], [4])
    early = windower.close(at(40))
    assert (seconds(early), early[0].cause, early[0].equipment_id) == ([10], "State", "line")
    assert ledger.task("plan").windows.pending == 1
    late = windower.close(at(80))
    assert seconds(late) == [70]
    assert seconds(windower.close(at(400))) == []
    rows = {r["equipment_id"]: r for r in late[0].records["equipment"]}
    assert rows["M1"]["State"] == 3.0
    assert rows["M2"]["State"] == 4.0
    assert rows["M1"]["SerialNo"] is None
    assert ledger.balanced


def test_records_added_after_a_close_are_served_by_calling_it_again() -> None:
    """A recommendation of another task reaches the line's window at the same watermark; one interval apart."""
    table, windower, _ = a_line(Binding("plan", LINE, ("M1", "M2")))
    table.set_records("job_orders", [{"job_order_id": "JO-1", "equipment_id": "M1"}], at(5))
    assert seconds(windower.close(at(60))) == [5]
    for number in range(3):
        table.add_record("recommendations/maintenance", event(60, "M1", "maintenance", number))
    assert windower.close(at(60)) == []
    (request,) = windower.close(at(65))
    assert seconds([request]) == [65]
    assert [r["n"] for r in request.records["recommendations/maintenance"]] == [1, 2]
    table.set_records("job_orders", [{"job_order_id": "JO-1", "equipment_id": "M1"}], at(100))
    assert windower.close(at(300)) == []  # the same list again is no change


def test_records_are_shown_as_of_the_window() -> None:
    """A request shows its own machine's newest rows of the kinds asked for, none newer than its end."""
    inputs = Inputs(
        Trigger(on_records=("events",)), 5.0, records=(RecordSpec("events", limit=2, kinds=("trip", "repair")),)
    )
    table, windower, _ = a_line(Binding("watch", inputs, ("M1", "M2")))
    rows = [(1, "M1", "trip"), (2, "M2", "trip"), (3, "M1", "failure"), (4, "M1", "repair"), (6, "M1", "trip")]
    for n, (second, machine, kind) in reversed(list(enumerate(rows))):
        table.add_record("events", event(second, machine, kind, n))
    requests = windower.close(at(10))
    shown = [
        (s, r.equipment_id, [x["n"] for x in r.records["events"]])
        for s, r in zip(seconds(requests), requests, strict=True)
    ]
    assert shown == [(1, "M1", [0]), (2, "M2", [1]), (4, "M1", [0, 3]), (6, "M1", [3, 4])]


def test_a_late_record_closes_a_window_at_the_watermark() -> None:
    """An event whose time has passed is not lost: its window ends where the watermark stood."""
    inputs = Inputs(Trigger(on_records=("events",)), 5.0, records=(RecordSpec("events"),))
    table, windower, _ = a_line(Binding("watch", inputs, ("M1",)))
    assert windower.close(at(50)) == []
    table.add_record("events", event(20, "M1", "trip"))
    requests = windower.close(at(60))
    assert seconds(requests) == [50]
    assert len(requests[0].records["events"]) == 1


def test_a_silent_server_holds_up_its_own_machines_only() -> None:
    """Watermarks are per machine; the line follows the one that is furthest."""
    every = Inputs(Trigger(every_s=60.0), 5.0, window=WindowSpec((Channel("Vib"),), 2, 60.0))
    table, windower, _ = a_line(Binding("tick", every, ("M1", "M2")), Binding("plan", LINE, ("M1", "M2")))
    table.write_block([0, 1], [at(s) for s in range(1, 181)], np.ones((2, 180)))
    table.write_block([3, 4], [at(s) for s in range(1, 181)], np.ones((2, 180)))
    first = windower.close({"M1": at(130), "MES": at(135)})
    assert [(r.task, r.equipment_id, s) for r, s in zip(first, seconds(first), strict=True)] == [
        ("plan", "line", 1),
        ("tick", "M1", 60),
        ("tick", "M1", 120),
    ]
    second = windower.close({"M2": at(125)})
    assert [(r.equipment_id, s) for r, s in zip(second, seconds(second), strict=True)] == [
        ("M2", 60),
        ("M2", 120),
        ("line", 135),  # M2's state came late for the line: shown where the line stood
    ]


def test_machines_that_come_up_later_are_bound_then() -> None:
    """A machine bound while running gets windows from then on; the line keeps the window that waited for it."""
    every = Inputs(Trigger(every_s=60.0), 5.0, window=WindowSpec((Channel("Vib"),), 2, 60.0))
    ledger = Ledger()
    table = TagTable(ledger.values)
    first = [table.add("M1", tag) for tag in ("State", "Vib")]
    windower = Windower(table, [Binding("tick", every, ("M1",)), Binding("plan", LINE, ("M1",))], ledger)
    seconds_of_m1 = np.arange(1, 91)
    table.write_block(first, [at(s) for s in seconds_of_m1], np.stack((seconds_of_m1 > 20, np.ones(90))))
    assert seconds(windower.close(at(60))) == [1, 60]
    second = [table.add("M2", tag) for tag in ("State", "Vib")]
    windower.bind(Binding("tick", every, ("M2",)))
    windower.bind(Binding("plan", LINE, ("M1", "M2")))
    assert ledger.task("plan").windows.pending == 1
    table.write_block(second, [at(s) for s in range(61, 121)], np.ones((2, 60)))
    got = windower.close(at(120))
    assert [(r.task, r.equipment_id, s) for r, s in zip(got, seconds(got), strict=True)] == [
        ("plan", "line", 61),
        ("tick", "M1", 120),
        ("tick", "M2", 120),
    ]
    assert [r["State"] for r in got[0].records["equipment"]] == [1.0, 1.0]
    assert windower.bound == {"tick": ("M1", "M2"), "plan": ("M1", "M2")}
    assert ledger.balanced


def test_machines_without_the_required_tags_are_not_bound() -> None:
    """A task applies to the machines that have what it requires; the others are listed with what they lack."""
    window = WindowSpec((Channel("Vib"), Channel("Torque", optional=True)), 2, 60.0)
    needs = Inputs(Trigger(every_s=60.0), 5.0, window=window, requires=("SerialNo",))
    ledger = Ledger()
    table = TagTable(ledger.values)
    for machine in ("M1", "M2", "M3"):
        table.add(machine, "Vib")
    table.declare("M1", "SerialNo")
    windower = Windower(table, [Binding("tick", needs, ("M1", "M2", "M4"))], ledger)
    assert windower.bound == {"tick": ("M1",)}
    assert windower.unbound == [("tick", "M2", ("SerialNo",)), ("tick", "M4", ("SerialNo", "Vib"))]
    for index in range(3):
        table.write(index, [at(30)], [1.0])
    (request,) = windower.close(at(60))
    assert request.equipment_id == "M1"
    assert request.tags == ("Vib", "Torque")
    assert np.isnan(request.values[:, 1]).all()
    assert request.quality == 0.5


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (Inputs(Trigger(), 5.0), "has no trigger"),
        (Inputs(Trigger(every_s=0.0), 5.0), "every_s is 0.0"),
        (Inputs(Trigger(every_s=1.0), 5.0, snapshot=("A",), scope=Scope.LINE), "use records"),
        (Inputs(Trigger(every_s=1.0), 5.0, records=(RecordSpec("events"), RecordSpec("events"))), "twice"),
        (Inputs(Trigger(every_s=1.0), 5.0, window=WindowSpec((), 2, 60.0)), "needs channels"),
    ],
)
def test_contradictory_inputs_are_refused(inputs: Inputs, words: str) -> None:
    """Inputs that could only ever give silence are an error at start, in words that name the task."""
    with pytest.raises(BindingError, match=words) as caught:
        Binding("odd", inputs, ("M1",))
    assert "'odd'" in str(caught.value)


def test_a_record_without_a_time_is_refused() -> None:
    """A row that cannot be placed in time is an error that shows the value and the form expected."""
    with pytest.raises(TagError, match=r"has time 'soon'.*ISO 8601"):
        TagTable().add_record("events", {"time": "soon", "equipment_id": "M1"})
