from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside_plugins.tasks.schedule.priorities import renumber
from lineside_plugins.tasks.schedule.problem import Machine, Order, Problem, Schedule, Weights, timetable
from lineside_plugins.tasks.schedule.rules import best_by_rule, candidates
from lineside_plugins.tasks.schedule.solver import Limits, improve

SETUP = ((3, 20, 30, 40), (15, 3, 22, 32), (25, 18, 3, 20), (36, 28, 15, 3))
WEIGHTS = Weights(setup=100, margin=3, margin_minutes=300, late=4000, tardy=5, idle=30, boundary=10, change=100)
SHORT = Limits(deterministic_s=0.005, wall_s=30.0)
LONG = Limits(deterministic_s=5.0, wall_s=60.0)


@st.composite
def problems(draw: st.DrawFn, most: int = 8) -> Problem:
    count = draw(st.integers(1, most))
    orders = tuple(
        Order(f"JO-{i:03d}", draw(st.integers(0, 3)), draw(st.integers(40, 260)), draw(st.integers(-200, 1800)))
        for i in range(count)
    )
    windows = st.none() | st.tuples(st.integers(0, 600), st.integers(30, 180))
    machines = tuple(
        Machine(name, draw(st.none() | st.integers(0, 3)), draw(st.integers(0, 300)), draw(windows))
        for name in ("A1", "A2")
    )
    shuffled = draw(st.permutations(range(count)))
    cut = sorted(draw(st.lists(st.integers(0, count), min_size=2, max_size=2)))
    agreed = (tuple(shuffled[: cut[0]]), tuple(shuffled[cut[0] : cut[1]]))
    return Problem(orders, machines, SETUP, 12, agreed, WEIGHTS)


def every_order_once(schedule: Schedule, problem: Problem) -> bool:
    return sorted(i for s in schedule.sequences for i in s) == list(range(len(problem.orders)))


def cheapest(problem: Problem) -> int:
    """Cost of the best of all sequences, by trying them."""
    count = len(problem.orders)
    return min(
        timetable(problem, (order[:cut], order[cut:])).cost
        for order in itertools.permutations(range(count))
        for cut in range(count + 1)
    )


@given(problems())
@settings(max_examples=40, deadline=None)
def test_every_rule_places_every_order_once(problem: Problem) -> None:
    """Each rule's schedule is a permutation of the job orders."""
    for _, sequences in candidates(problem):
        assert every_order_once(timetable(problem, sequences), problem)


@given(problems())
@settings(max_examples=25, deadline=None)
def test_the_solver_is_never_worse_than_the_best_rule(problem: Problem) -> None:
    """CP-SAT returns a permutation that costs no more than the rule it starts from."""
    _, rule = best_by_rule(problem)
    found = improve(problem, rule, SHORT)
    assert every_order_once(found, problem)
    assert found.cost <= rule.cost
    assert found == timetable(problem, found.sequences)


@given(problems(most=4))
@settings(max_examples=10, deadline=None)
def test_the_solver_finds_the_optimum_of_small_problems(problem: Problem) -> None:
    """Without maintenance windows, the model's optimum is the cheapest of all sequences."""
    problem = replace(problem, machines=tuple(replace(m, window=None) for m in problem.machines))
    _, rule = best_by_rule(problem)
    assert improve(problem, rule, LONG).cost == cheapest(problem)


@given(problems())
@settings(max_examples=10, deadline=None)
def test_equal_problems_get_equal_schedules(problem: Problem) -> None:
    """The search is bounded by deterministic time, so solving twice gives the same schedule."""
    _, rule = best_by_rule(problem)
    assert improve(problem, rule, SHORT) == improve(problem, rule, SHORT)


def test_a_small_gain_does_not_move_what_is_agreed() -> None:
    """An agreed sequence is kept when leaving it would save less than the price of the change."""
    orders = (Order("JO-1", 0, 60, 5000), Order("JO-2", 1, 60, 5000), Order("JO-3", 0, 60, 5000))
    machines = (Machine("A1", 0, 0), Machine("A2", 2, 10_000))
    dear = replace(WEIGHTS, change=10_000)
    problem = Problem(orders, machines, SETUP, 12, ((0, 1, 2), ()), dear)
    _, rule = best_by_rule(problem)
    assert improve(problem, rule, LONG).sequences == ((0, 1, 2), ())
    cheap = replace(problem, weights=replace(WEIGHTS, change=1))
    _, rule = best_by_rule(cheap)
    assert improve(cheap, rule, LONG).sequences[0] in {(0, 2, 1), (2, 0, 1)}


def test_due_maintenance_is_taken_at_the_boundary_before_a_setup() -> None:
    """A job order that would begin inside the window begins after the maintenance; one that runs is not cut."""
    orders = (Order("JO-1", 0, 60, 5000), Order("JO-2", 0, 60, 5000))
    problem = Problem(orders, (Machine("A1", 0, 0, (30, 120)),), SETUP, 12, ((),), WEIGHTS)
    first, second = timetable(problem, ((0, 1),)).placements
    assert (first.begin, first.end) == (0, 63)
    assert (second.begin, second.end) == (63 + 120, 63 + 120 + 63)


@given(st.lists(st.none() | st.integers(0, 32767), max_size=12))
def test_priorities_fall_strictly_and_fit_the_mes(have: list[int | None]) -> None:
    """Whatever the MES holds, the new priorities fall along the sequence and fit an Int16 above 0."""
    new = renumber(have)
    assert all(a > b for a, b in itertools.pairwise(new))
    assert all(1 <= p <= 32767 for p in new)


@pytest.mark.parametrize(
    ("have", "kept"),
    [([900, 800, None, 700], [0, 1, 3]), ([None, 800, 700], [1, 2]), ([500, 900, 400], [0, 2]), ([None, None], [])],
)
def test_priorities_that_fit_are_kept(have: list[int | None], kept: list[int]) -> None:
    """A new job order is slotted in between without touching its neighbours."""
    new = renumber(have)
    assert [p for p, v in enumerate(have) if v == new[p]] == kept
