from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from lineside_plugins.registry import TaskError, create
from lineside_plugins.tasks import schedule
from lineside_plugins.tasks.schedule.config import ScheduleConfig
from lineside_plugins.types import Advice, WindowBatch

CASES = sorted(p for p in (Path(__file__).parent / "testcases").iterdir() if p.is_dir())
Make = Callable[..., dict[str, object]]
MakeBatch = Callable[..., WindowBatch]
BOTH_RUN = [
    {"equipment_id": "A1", "State": 1, "ActiveFamily": 0, "PartCount": 10, "CycleTime": 48.0},
    {"equipment_id": "A2", "State": 1, "ActiveFamily": 2, "PartCount": 10, "CycleTime": 69.0},
]


def solve(batch: WindowBatch, config: Mapping[str, object] | None = None) -> Advice:
    task = create("schedule", config)
    task.load(None, "cpu")
    (advice,) = task.recommend(batch)
    assert advice is not None
    return advice


def rows_of(advice: Advice) -> dict[str, dict[str, Any]]:
    sequence = advice.value["sequence"]
    assert isinstance(sequence, tuple)
    return {str(r["job_order_id"]): dict(r) for r in sequence}


def assigned(advice: Advice) -> dict[str, list[str]]:
    """Job orders by machine, in the sequence the MES will take them."""
    out: dict[str, list[str]] = {}
    for name, row in sorted(rows_of(advice).items(), key=lambda r: -r[1]["priority"]):
        out.setdefault(row["equipment_id"], []).append(name)
    return out


def table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def batch_of(case: Path, make_order: Make, make_batch: MakeBatch, now: datetime) -> WindowBatch:
    orders = [
        make_order(
            r["job_order_id"],
            r["family"],
            float(r["due_h"]),
            remaining=int(r["remaining"]),
            priority=int(r["priority"] or 0),
            equipment=r["equipment"],
            state=r["state"],
        )
        for r in table(case / "job_orders.csv")
    ]
    equipment = [
        {k: v if k == "equipment_id" else float(v) for k, v in r.items()} for r in table(case / "equipment.csv")
    ]
    forecasts = tuple(
        {
            "equipment_id": r["equipment_id"],
            "flag": r["flag"] == "true",
            "predicted_time": (now + timedelta(hours=float(r["predicted_h"] or 0))).isoformat(),
            "time": now.isoformat(),
        }
        for r in table(case / "forecasts.csv")
    )
    return make_batch(orders, equipment, forecasts=forecasts)


def hours(row: Mapping[str, Any], now: datetime) -> float:
    return (datetime.fromisoformat(row["start"]) - now) / timedelta(hours=1)


CHECKS: dict[str, Callable[[Advice, Any, datetime], bool]] = {
    "assigned": lambda a, want, _: {m: sorted(s) for m, s in assigned(a).items()} == want,
    "assigned_at_least": lambda a, want, _: all(set(s) <= set(assigned(a).get(m, ())) for m, s in want.items()),
    "first_on_some_mill": lambda a, want, _: want in {s[0] for s in assigned(a).values()},
    "sequenced": lambda a, want, _: sorted(rows_of(a)) == want,
    "changed": lambda a, want, _: sorted(n for n, r in rows_of(a).items() if r["changed"]) == want,
    "late": lambda a, want, _: sorted(n for n, r in rows_of(a).items() if r["tardiness_min"] > 0) == want,
    "flag": lambda a, want, _: a.value["flag"] is want,
    "says": lambda a, want, _: want in str(a.value["summary"]),
    "never_says": lambda a, want, _: want not in str(a.value["summary"]),
    "starts_within_h": lambda a, want, now: all(hours(rows_of(a)[n], now) <= h for n, h in want.items()),
    "starts_after_h": lambda a, want, now: all(hours(rows_of(a)[n], now) >= h for n, h in want.items()),
}


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.name)
def test_case(case: Path, make_order: Make, make_batch: MakeBatch, now: datetime) -> None:
    """The advice for the records of a case is what its expected.json says."""
    advice = solve(batch_of(case, make_order, make_batch, now), yaml.safe_load((case / "config.yaml").read_text()))
    expected = json.loads((case / "expected.json").read_text())
    wrong = {k: v for k, v in expected.items() if not CHECKS[k](advice, v, now)}
    assert not wrong, f"{wrong} does not hold for {assigned(advice)}: {advice.value['summary']}"


@pytest.fixture
def pool(make_order: Make) -> list[dict[str, object]]:
    """A full pool of mixed families, some of them urgent."""
    return [make_order(f"JO-{i:02d}", f"F{(i * 7) % 4}", 5 + 2 * ((i * 5) % 12)) for i in range(12)]


def test_a_proposal_the_mes_has_taken_is_not_flagged_again(
    pool: list[dict[str, object]], make_batch: MakeBatch, now: datetime
) -> None:
    """Written to the MES and looked at anew by a fresh worker, the proposal changes nothing."""
    first = solve(make_batch(pool, BOTH_RUN))
    assert first.value["flag"] is True
    taken = rows_of(first)
    ours = [taken[str(o["job_order_id"])] for o in pool]
    written = [o | {"priority": r["priority"], "equipment": r["equipment_id"]} for o, r in zip(pool, ours, strict=True)]
    second = solve(make_batch(written, BOTH_RUN, at=now + timedelta(minutes=1)), {"prices": {"change": 50.0}})
    assert second.value["flag"] is False
    assert second.value["changed"] == 0


def test_the_order_of_records_does_not_matter(pool: list[dict[str, object]], make_batch: MakeBatch) -> None:
    """Job orders and equipment listed backwards get the same advice."""
    assert solve(make_batch(pool, BOTH_RUN)) == solve(make_batch(pool[::-1], BOTH_RUN[::-1]))


def test_a_plan_costs_no_more_than_the_best_rule(pool: list[dict[str, object]], make_batch: MakeBatch) -> None:
    """More effort never costs more than the dispatching rule it starts from, and here it costs less."""
    advice = solve(make_batch(pool, BOTH_RUN), {"effort": 10})
    objective, by_rule = advice.value["objective"], advice.value["rule_objective"]
    assert isinstance(objective, float)
    assert isinstance(by_rule, float)
    assert objective < by_rule


def test_nothing_is_said_while_nothing_changed(
    pool: list[dict[str, object]], make_batch: MakeBatch, now: datetime
) -> None:
    """A window that shows nothing new is answered with None until the schedule is an hour old."""
    task = create("schedule", {"effort": 0})
    task.load(None, "cpu")
    answers = [task.recommend(make_batch(pool, BOTH_RUN, at=now + timedelta(minutes=m)))[0] for m in (0, 1, 59, 61)]
    assert [a is not None for a in answers] == [True, False, False, True]


def test_a_mill_that_fails_is_a_reason_to_schedule_anew(
    pool: list[dict[str, object]], make_batch: MakeBatch, now: datetime
) -> None:
    """A change of State that takes a mill out of service is answered, a blocked mill is not."""
    task = create("schedule", {"effort": 0})
    task.load(None, "cpu")
    states = (1, 3, 5)
    answers = [
        task.recommend(make_batch(pool, [BOTH_RUN[0] | {"State": s}, BOTH_RUN[1]], at=now + timedelta(minutes=m)))[0]
        for m, s in enumerate(states)
    ]
    assert [a is not None for a in answers] == [True, False, True]


def test_shown_cycle_times_replace_the_nominal_ones(make_order: Make, make_batch: MakeBatch, now: datetime) -> None:
    """A mill that shows 72 s a part where 48 s are nominal makes the plan longer by half."""
    task = create("schedule", {"effort": 0, "refresh_s": 60})
    task.load(None, "cpu")
    orders, ends = [make_order("JO-1", "F0", 30)], []
    for m in range(8):
        mill = BOTH_RUN[0] | {"PartCount": 10 + m, "CycleTime": 72.0}
        (advice,) = task.recommend(make_batch(orders, [mill, BOTH_RUN[1]], at=now + timedelta(minutes=m)))
        assert advice is not None
        row = rows_of(advice)["JO-1"]
        ends.append((datetime.fromisoformat(row["end"]) - datetime.fromisoformat(row["start"])) / timedelta(minutes=1))
    assert ends[-1] - 43 == pytest.approx(1.5 * (ends[0] - 43), rel=0.02)


def test_the_sample_states_the_defaults() -> None:
    """sample.yaml is a valid binding and its configuration is the default one."""
    path = Path(str(schedule.__file__)).parent / "sample.yaml"
    (binding,) = yaml.safe_load(path.read_text())["tasks"]
    assert binding["task"] == "schedule"
    assert ScheduleConfig.model_validate(binding["config"]) == ScheduleConfig()
    assert set(binding["config"]) == set(ScheduleConfig.model_fields)


def test_a_setup_matrix_that_misses_a_family_is_refused() -> None:
    """Master data that does not fit together is refused at start, with what to give instead."""
    with pytest.raises(TaskError, match="one entry, row and column for each"):
        create("schedule", {"families": ["F0", "F1"]})


def test_lines_are_kept_apart(pool: list[dict[str, object]], make_batch: MakeBatch) -> None:
    """A worker that serves two gateways answers each line's first window, even when both show the same."""
    task = create("schedule", {"effort": 0})
    task.load(None, "cpu")
    answers = [
        task.recommend(dataclasses.replace(make_batch(pool, BOTH_RUN), equipment_ids=(line,)))[0]
        for line in ("north", "south", "north")
    ]
    assert [a is not None for a in answers] == [True, True, False]
