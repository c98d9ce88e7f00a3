"""The same samples give the same requests, bit for bit, however they arrive and however the watermark moves."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside_gateway.ingest import Binding, Request, TagTable, Windower
from lineside_gateway.ingest.records import iso
from lineside_gateway.ledger import Ledger
from lineside_plugins.contract import Aggregate, Channel, Inputs, RecordSpec, Scope, Trigger, WindowSpec

START = int(np.datetime64("2026-01-05T06:00:00", "us").astype(np.int64))
SECOND = 1_000_000
LATENESS_S = 20
MACHINES = ("M1", "M2")


@dataclass(frozen=True)
class Arrival:
    """One value or record, and how it is written."""

    time_us: int
    write: Callable[[TagTable], None]


def bindings() -> list[Binding]:
    window = WindowSpec((Channel("Vib"), Channel("State", aggregate=Aggregate.LAST, optional=True)), 5, 120.0, 0.0)
    return [
        Binding("periodic", Inputs(Trigger(every_s=60.0), 30.0, window=window), MACHINES),
        Binding(
            "part",
            Inputs(
                Trigger(on_change=("SerialNo",)),
                10.0,
                window=WindowSpec((Channel("Vib"),), 3, 60.0, 0.0),
                snapshot=("SerialNo", "CycleTime"),
                records=(RecordSpec("events", limit=3),),
            ),
            MACHINES,
        ),
        Binding(
            "plan",
            Inputs(
                Trigger(on_change=("State",), on_records=("events", "job_orders"), min_interval_s=45.0),
                60.0,
                records=(RecordSpec("equipment", tags=("State", "SerialNo")), RecordSpec("job_orders")),
                scope=Scope.LINE,
            ),
            MACHINES,
        ),
    ]


def a_shift(seed: int, seconds: int) -> list[Arrival]:
    """A plant's output in time order: noise each second, parts with serial numbers, state changes, records."""
    rng = random.Random(seed)
    out: list[Arrival] = []

    def number(machine: str, tag: str, time: int, value: float) -> None:
        out.append(Arrival(time, lambda t: t.put(machine, tag, time, value)))

    for machine in MACHINES:
        state, part = 1, 0
        for s in range(1, seconds + 1):
            time = START + s * SECOND
            if rng.random() < 0.9:
                number(machine, "Vib", time, rng.gauss(3.0, 1e3))
            if rng.random() < 0.02:
                state = rng.randint(0, 6)
            number(machine, "State", time, state)
            if rng.random() < 0.03:
                part += 1
                number(machine, "CycleTime", time, rng.random())
                serial = f"{machine}-{part:07d}"
                out.append(Arrival(time, lambda t, m=machine, x=time, v=serial: t.put(m, "SerialNo", x, v)))
            if rng.random() < 0.01:
                row = {"time": iso(time), "equipment_id": machine, "kind": "trip", "n": s}
                out.append(Arrival(time, lambda t, r=row: t.add_record("events", r)))
        for s in range(300, seconds, 300):
            rows = ({"job_order_id": f"JO-{s}", "equipment_id": ""},)
            out.append(
                Arrival(START + s * SECOND, lambda t, r=rows, x=s: t.set_records("job_orders", r, START + x * SECOND))
            )
    return sorted(out, key=lambda a: a.time_us)


def run(arrivals: list[Arrival], cuts: list[int]) -> tuple[list[Request], Ledger]:
    """Write ``arrivals`` in their order; whenever one passes a cut, close LATENESS_S before the cut."""
    ledger = Ledger()
    table = TagTable(ledger.values)
    for machine in MACHINES:
        for tag in ("Vib", "State", "CycleTime"):
            table.add(machine, tag)
        table.declare(machine, "SerialNo")
    windower = Windower(table, bindings(), ledger)
    requests: list[Request] = []
    waiting = sorted(cuts)
    newest = START
    for arrival in arrivals:
        newest = max(newest, arrival.time_us)
        while waiting and START + waiting[0] * SECOND < newest:
            requests += windower.close(START + (waiting.pop(0) - LATENESS_S) * SECOND)
            assert ledger.balanced
        arrival.write(table)
    requests += windower.close(newest)
    return requests, ledger


def facts(requests: list[Request]) -> list[tuple[object, ...]]:
    return [
        (
            *(r.id, r.task, r.equipment_id, r.end_us, r.deadline_us, r.values.tobytes(), r.good.tobytes(), r.quality),
            *(dict(r.snapshot), dict(r.records), sorted(r.cause.split("+"))),
        )
        for r in requests
    ]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(1, 800), max_size=40),
    shuffle=st.integers(0, 10_000),
)
def test_requests_do_not_depend_on_arrival(seed: int, cuts: list[int], shuffle: int) -> None:
    """One pass in time order and any slicing, with samples up to the lateness out of order, give equal requests."""
    arrivals = a_shift(seed, 700)
    rng = random.Random(shuffle)
    delayed = sorted(arrivals, key=lambda a: a.time_us + rng.random() * LATENESS_S * 0.99 * SECOND)
    straight, ledger = run(arrivals, [])
    sliced, other = run(delayed, cuts)
    assert len(straight) > 30
    assert {r.task for r in straight} == {"periodic", "part", "plan"}
    assert facts(sliced) == facts(straight)
    assert other.values.dropped == ledger.values.dropped == {}
    assert ledger.balanced
    assert other.balanced
