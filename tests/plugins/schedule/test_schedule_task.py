from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from lineside_plugins.registry import create
from lineside_plugins.types import Advice, WindowBatch

Make = Callable[..., dict[str, object]]
MakeBatch = Callable[..., WindowBatch]


def solve(batch: WindowBatch, **config: object) -> Advice:
    task = create("schedule", config)
    task.load(None, "cpu")
    (advice,) = task.recommend(batch)
    assert advice is not None
    return advice


def order_of(advice: Advice, equipment: str) -> list[str]:
    rows = advice.value["sequence"]
    assert isinstance(rows, tuple)
    mine = [r for r in rows if r["equipment_id"] == equipment]
    return [str(r["job_order_id"]) for r in sorted(mine, key=lambda r: -float(r["priority"] or 0))]


def test_each_mill_gets_the_families_it_is_set_up_for(make_order: Make, make_batch: MakeBatch) -> None:
    """With loose due times each mill stays in the family it is set up for."""
    orders = [make_order(i, f, 30) for i, f in enumerate(["F0", "F3", "F0", "F3", "F0", "F3"])]
    advice = solve(make_batch(orders, {"A1": 0, "A2": 3}))
    assert set(order_of(advice, "A1")) == {"JO-000000", "JO-000002", "JO-000004"}
    assert set(order_of(advice, "A2")) == {"JO-000001", "JO-000003", "JO-000005"}


def test_an_order_about_to_be_late_jumps_the_campaign(make_order: Make, make_batch: MakeBatch) -> None:
    """An order of another family goes first when the campaign would make it late."""
    orders = [make_order(i, "F0", 30) for i in range(8)] + [make_order(8, "F1", 4)]
    advice = solve(make_batch(orders, {"A1": 0, "A2": 0}))
    assert "JO-000008" in {order_of(advice, m)[0] for m in ("A1", "A2")}
    late = {r["job_order_id"]: r["tardiness_min"] for r in advice.value["sequence"]}  # type: ignore[union-attr,index]
    assert late["JO-000008"] == 0


def test_what_the_mes_has_already_is_not_flagged(make_order: Make, make_batch: MakeBatch, now: datetime) -> None:
    """The proposal written back to the MES and looked at anew changes nothing."""
    orders = [make_order(i, f"F{i % 4}", 8 + 2 * i) for i in range(12)]
    first = solve(make_batch(orders, {"A1": 0, "A2": 2}))
    assert first.value["flag"] is True
    taken = {r["job_order_id"]: r for r in first.value["sequence"]}  # type: ignore[union-attr]
    written = [o | {"priority": taken[o["job_order_id"]]["priority"],
                    "equipment": taken[o["job_order_id"]]["equipment_id"]} for o in orders]  # fmt: skip
    second = solve(make_batch(written, {"A1": 0, "A2": 2}, at=now + timedelta(minutes=1)))
    assert second.value["flag"] is False
    assert second.value["changed"] == 0


def test_nothing_is_said_while_nothing_changed(make_order: Make, make_batch: MakeBatch, now: datetime) -> None:
    """A second window with the same job orders and states is answered with None until the schedule is an hour old."""
    task = create("schedule")
    task.load(None, "cpu")
    orders = [make_order(i, f"F{i % 4}", 20) for i in range(6)]
    answers = [
        task.recommend(make_batch(orders, {"A1": 0, "A2": 2}, at=now + timedelta(minutes=m)))[0] for m in (0, 1, 61)
    ]
    assert [a is not None for a in answers] == [True, False, True]


@pytest.mark.parametrize("equipment", [{"State": 5.0}, {"State": 6.0}])
def test_a_mill_that_is_down_gets_no_urgent_order(
    make_order: Make, make_batch: MakeBatch, equipment: dict[str, object]
) -> None:
    """Orders due soon go to the mill that works."""
    orders = [make_order(0, "F0", 4), make_order(1, "F0", 4), make_order(2, "F2", 40), make_order(3, "F2", 40)]
    advice = solve(make_batch(orders, {"A1": 0, "A2": 0}, equipment={"A1": equipment}))
    assert {"JO-000000", "JO-000001"} <= set(order_of(advice, "A2"))
