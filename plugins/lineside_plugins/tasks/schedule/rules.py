"""Dispatching rules: the sequences a planner would write down without a solver, and the best of them by cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from lineside_plugins.tasks.schedule.problem import NOBODY, Problem, Schedule, timetable

Priority = Callable[[int, int, int, int], tuple[float, ...]]
"""(machine, now, predecessor, order) -> key; the smallest key is dispatched next."""

ATCS_LOOKAHEAD = (0.5, 1.0, 2.0, 4.0)
ATCS_SETUP = (0.1, 0.3, 1.0)
"""Grids of k1 and k2. Source: Lee, Bhaskaran, Pinedo (1997), IIE Transactions 29, 45-52, who scale both by the mean."""
URGENT_MARGIN_MINUTES = (0, 120, 360)
"""Slack below which family-first lets a job order jump the campaign."""


def best_by_rule(problem: Problem) -> tuple[str, Schedule]:
    """Name and schedule of the cheapest rule; the earlier rule wins a tie."""
    schedules = ((name, timetable(problem, sequences)) for name, sequences in candidates(problem))
    return min(schedules, key=lambda found: found[1].cost)


def keep_agreed(problem: Problem) -> list[list[int]]:
    """What the MES does if nobody interferes: the agreed sequences, then the other orders by due time."""
    return dispatch(problem, _edd(problem), keep_agreed=True)


def candidates(problem: Problem) -> Iterator[tuple[str, list[list[int]]]]:
    """Every rule's sequences, the agreed one first."""
    yield "agreed", keep_agreed(problem)
    yield "edd", dispatch(problem, _edd(problem))
    for margin in URGENT_MARGIN_MINUTES:
        yield f"family-first {margin} min", dispatch(problem, _family_first(problem, margin))
    for k1 in ATCS_LOOKAHEAD:
        for k2 in ATCS_SETUP:
            yield f"atcs {k1:g}/{k2:g}", dispatch(problem, _atcs(problem, k1, k2))


def dispatch(problem: Problem, priority: Priority, *, keep_agreed: bool = False) -> list[list[int]]:
    """Give the machine that is free first the order of smallest key, until none is left.

    With ``keep_agreed`` the machines first work off what is agreed, and only the other orders are chosen by key.
    """
    free = [m.free for m in problem.machines]
    windows = [m.window for m in problem.machines]
    sequences: list[list[int]] = [[] for _ in problem.machines]
    agreed = [list(s) if keep_agreed else [] for s in problem.agreed]
    promised = {i for s in agreed for i in s}
    left = [i for i in range(len(problem.orders)) if i not in promised]
    while left or any(agreed):
        k = min((k for k in range(len(free)) if left or agreed[k]), key=lambda k: (free[k], k))
        before = sequences[k][-1] if sequences[k] else NOBODY
        if agreed[k]:
            chosen = agreed[k].pop(0)
        else:
            chosen = min(left, key=lambda i: (*priority(k, free[k], before, i), problem.orders[i].id))
            left.remove(chosen)
        window = windows[k]
        if window is not None and free[k] >= window[0]:
            free[k], windows[k] = free[k] + window[1], None
        free[k] += problem.setup_minutes(k, before, chosen) + problem.orders[chosen].minutes
        sequences[k].append(chosen)
    return sequences


def _edd(problem: Problem) -> Priority:
    return lambda _machine, _now, _before, order: (problem.orders[order].due,)


def _family_first(problem: Problem, margin: int) -> Priority:
    """Least setup first, by due time within a family, except that an order about to be late goes first."""

    def key(machine: int, now: int, before: int, order: int) -> tuple[float, ...]:
        o = problem.orders[order]
        setup = problem.setup_minutes(machine, before, order)
        return (0 if o.due - now - setup - o.minutes < margin else 1 + setup, o.due)

    return key


def _atcs(problem: Problem, k1: float, k2: float) -> Priority:
    """Apparent tardiness cost with setups, orders weighted alike."""
    work = sum(o.minutes for o in problem.orders) / len(problem.orders)
    setup_mean = max(1.0, sum(map(sum, problem.setup)) / sum(map(len, problem.setup)))
    weight = [math.log(max(1, o.minutes)) for o in problem.orders]
    slack_scale, setup_scale = k1 * work, k2 * setup_mean

    def key(machine: int, now: int, before: int, order: int) -> tuple[float, ...]:
        o = problem.orders[order]
        slack = o.due - o.minutes - now
        setup = problem.setup_minutes(machine, before, order)
        return (weight[order] + (slack / slack_scale if slack > 0 else 0.0) + setup / setup_scale, o.due)

    return key
