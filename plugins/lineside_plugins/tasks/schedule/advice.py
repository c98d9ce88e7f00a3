"""From schedules to advice: priorities for the MES, reasons in words, and how sure the gain is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from lineside_plugins.tasks.schedule.config import ScheduleConfig
from lineside_plugins.tasks.schedule.priorities import renumber
from lineside_plugins.tasks.schedule.problem import Order, Placement, Problem, Schedule, timetable
from lineside_plugins.tasks.schedule.situation import number
from lineside_plugins.types import Advice, Reason, Record

SCENARIOS = 32
STOP_RATE_PER_H = 1 / 30  # PLANT.md: trips once in 30 running hours; failures are rarer and last longer
STOP_MEAN_MIN = 45.0  # trips of 0.4 h and failures of 8 h, weighted by how often they happen
SPREAD = 0.05  # of the net work of one job order
SEED = 11
MAX_REASONS = 4


@dataclass(frozen=True, slots=True)
class Proposal:
    """A solved problem: its records, the sequence that holds without us, the best rule's and the best schedule."""

    now: datetime
    problem: Problem
    rows: tuple[Record, ...]
    agreed: Sequence[Sequence[int]]
    rule: str
    by_rule: Schedule
    best: Schedule


def write_advice(proposal: Proposal, config: ScheduleConfig) -> Advice:
    """The advice for one window. Deterministic: the scenarios are drawn with a fixed seed."""
    rows, changed = _sequence(proposal, config)
    confidence, interval = _replay(proposal)
    reasons = _reasons(proposal, config)
    unit = proposal.problem.weights.setup
    return Advice(
        value={
            "flag": changed > 0,
            "sequence": rows,
            "objective": proposal.best.cost / unit,
            "rule_objective": proposal.by_rule.cost / unit,
            "rule": proposal.rule,
            "changed": changed,
            "summary": _summary(reasons, rows),
        },
        confidence=confidence,
        interval=interval,
        reasons=reasons,
        valid_for_s=2 * config.refresh_s,
    )


def _sequence(proposal: Proposal, config: ScheduleConfig) -> tuple[tuple[Record, ...], int]:
    """A record per job order in order of start, and how many of them the MES has otherwise."""
    problem = proposal.problem
    priority: dict[int, int] = {}
    for k, sequence in enumerate(proposal.best.sequences):
        held = [
            round(number(row.get("priority"), 0)) if row.get("equipment") == problem.machines[k].id else None
            for row in (proposal.rows[i] for i in sequence)
        ]
        priority.update(zip(sequence, renumber(held), strict=True))
    rows: list[Record] = []
    for p in proposal.best.placements:
        row, machine = proposal.rows[p.order], problem.machines[p.machine].id
        rows.append(
            {
                "job_order_id": problem.orders[p.order].id,
                "equipment_id": machine,
                "priority": priority[p.order],
                "start": (proposal.now + timedelta(minutes=p.begin)).isoformat(),
                "end": (proposal.now + timedelta(minutes=p.end + config.downstream_min)).isoformat(),
                "setup_min": float(p.setup),
                "tardiness_min": float(p.tardiness),
                "changed": row.get("equipment") != machine or number(row.get("priority"), 0) != priority[p.order],
            }
        )
    return tuple(rows), sum(bool(r["changed"]) for r in rows)


def _replay(proposal: Proposal) -> tuple[float, tuple[float, float]]:
    """Share of random scenarios in which the schedule costs no more than leaving the MES alone, and its 90 % cost.

    A scenario stretches each job order by its own spread and stops; both schedules run through the same ones. The cost
    is in minutes of setup; the price of changing anything is left out, it is no cost to the plant.
    """
    problem = replace(proposal.problem, agreed=((),) * len(proposal.problem.machines))
    rng = np.random.default_rng(SEED)
    work = np.array([o.minutes for o in problem.orders], float)
    stops = rng.poisson(work / 60 * STOP_RATE_PER_H, (SCENARIOS, len(work)))
    drawn = work * rng.normal(1, SPREAD, stops.shape).clip(0.5) + stops * rng.exponential(STOP_MEAN_MIN, stops.shape)
    wins, costs = 0, []
    for row in np.rint(drawn).astype(int).tolist():
        orders = tuple(Order(o.id, o.family, max(1, m), o.due) for o, m in zip(problem.orders, row, strict=True))
        scenario = replace(problem, orders=orders)
        cost = timetable(scenario, proposal.best.sequences).cost
        wins += cost <= timetable(scenario, proposal.agreed).cost
        costs.append(cost / problem.weights.setup)
    low, high = np.quantile(costs, (0.05, 0.95))
    return wins / SCENARIOS, (float(low), float(high))


def _reasons(proposal: Proposal, config: ScheduleConfig) -> tuple[Reason, ...]:
    """What the schedule wins against leaving the MES alone, largest part first, in the operator's words."""
    problem, weights = proposal.problem, proposal.problem.weights
    old, new = timetable(problem, proposal.agreed), proposal.best
    found: list[tuple[float, str, str]] = []
    saved = old.setup_total - new.setup_total
    if saved > 0:
        found.append((weights.setup * saved, "job_orders", f"{_moved(problem, old, new)}: saves {saved} min setup"))
    before = {p.order: p for p in old.placements}
    for p in new.placements:
        gain = before[p.order].tardiness - p.tardiness
        if gain > 0:
            found.append(
                (
                    _late_points(problem, before[p.order]) - _late_points(problem, p),
                    "due",
                    _rescued(problem, before[p.order], p),
                )
            )
    for k, machine in enumerate(problem.machines):
        if machine.window is not None and any(p.machine == k for p in new.placements):
            found.append((float(weights.boundary), "recommendations/maintenance", _boundary(proposal, k, config)))
    found.sort(key=lambda f: -f[0])
    total = sum(f[0] for f in found) or 1.0
    return tuple(Reason(tag, points / total, text) for points, tag, text in found[:MAX_REASONS])


def _late_points(problem: Problem, placement: Placement) -> float:
    weights = problem.weights
    return weights.tardy * placement.tardiness + (weights.late if placement.tardiness else 0)


def _moved(problem: Problem, old: Schedule, new: Schedule) -> str:
    """The first job order that comes sooner than before, and before which one."""
    for k, sequence in enumerate(new.sequences):
        was = old.sequences[k]
        for p, i in enumerate(sequence):
            if p < len(was) and was[p] != i:
                return f"{problem.orders[i].id} before {problem.orders[was[p]].id} on {problem.machines[k].id}"
    return "another sequence"


def _rescued(problem: Problem, old: Placement, new: Placement) -> str:
    name, machine = problem.orders[new.order].id, problem.machines[new.machine].id
    rest = f", {new.tardiness} min late now" if new.tardiness else ""
    return f"{name} sooner on {machine}: would be {old.tardiness} min late otherwise{rest}"


def _boundary(proposal: Proposal, machine: int, config: ScheduleConfig) -> str:
    m = proposal.problem.machines[machine]
    start, length = m.window if m.window is not None else (0, 0)
    due = (proposal.now + timedelta(minutes=start)).strftime("%H:%M")
    ends = [p for p in proposal.best.placements if p.machine == machine and p.begin < start]
    last = f"after {proposal.problem.orders[ends[-1].order].id}" if ends else "at the next boundary"
    return f"{config.machines[machine]} is due for {length} min of maintenance at {due}: taken {last}"


def _summary(reasons: tuple[Reason, ...], rows: Sequence[Record]) -> str:
    moved = [str(r["job_order_id"]) for r in rows if r["changed"]]
    if not moved:
        return "the MES has this sequence already"
    count = "1 job order changes" if len(moved) == 1 else f"{len(moved)} job orders change"
    return f"{count}: " + ("; ".join(r.text for r in reasons) or f"{', '.join(moved)} slotted in at no extra cost")
