"""Intervals for units met for the first time: what one unit calibrates is too narrow where units differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_workers.condition import rehearsal
from lineside_workers.condition.heads import PROBLEMS, Costs, Problem
from lineside_workers.condition.windows import Rows
from lineside_workers.recorded.splitting import stretch_of

COSTS = Costs()


def _units(count: int, seed: int, apart: float) -> Rows:
    """Sixty rows of each unit whose values scatter by 1 about a level of the unit's own; units lie ``apart``."""
    rng = np.random.default_rng(seed)
    unit = np.repeat([f"U{i}" for i in range(count)], 60)
    value = 100.0 + np.repeat(rng.normal(0.0, apart, count), 60) + rng.normal(0.0, 1.0, len(unit))
    none, n = np.zeros((len(unit), 0)), len(unit)
    return Rows(none, np.arange(n), unit, unit, np.full(n, -1), none, value, none)


def _naive(problem: Problem, fit: Rows, _choose: Rows):
    return problem.naive(fit)


def _casts(rows: Rows, held: int) -> Iterator[rehearsal.Cast]:
    return rehearsal.casts(np.unique(rows.unit).tolist(), held, 0)


@pytest.mark.parametrize("head", [Head.REGRESSION, Head.QUANTILES])
def test_rehearsed_intervals_cover_units_that_are_met_for_the_first_time(head: Head) -> None:
    """With one unit that calibrates, intervals miss too much of others; moved out as rehearsed they cover 90 %."""
    task, known, new = ConditionConfig(head=head), _units(12, 0, apart=2.0), _units(200, 1, apart=2.0)
    make = partial(PROBLEMS[head], task, costs=COSTS)

    problem, one = make(known), known.of(["U3"])
    score = problem.naive(known)
    by = rehearsal.rehearse(make, _naive, known, _casts(known, 1), coverage=0.9)
    assert by is not None
    plain = problem.calibrate(score(one.x), one)
    enough = 1.0 if head is Head.REGRESSION else 0.0  # as wide, or so much further out
    answers = [problem.answer(learned) for learned in (plain, problem.moved_out(plain, by))]
    before, after = [(problem.short(answer, score(new.x), new) <= enough).mean() for answer in answers]
    assert before < 0.75
    assert 0.82 < after < 0.98


def test_units_that_are_alike_move_nothing_and_two_units_tell_nothing() -> None:
    """A factor near 1 where units do not differ; None where nobody is left to be met."""
    make = partial(PROBLEMS[Head.REGRESSION], ConditionConfig(head=Head.REGRESSION), costs=COSTS)

    many, two = _units(12, 0, apart=0.0), _units(2, 0, apart=0.0)
    (by,) = rehearsal.rehearse(make, _naive, many, _casts(many, 3), coverage=0.9)
    assert 1.0 <= by < 1.1
    assert rehearsal.rehearse(make, _naive, two, _casts(two, 1), coverage=0.9) is None


def test_stretches_of_time_are_rehearsed_in_their_order() -> None:
    """Whoever teaches lies before those who calibrate, and these before those who are met, on every machine."""
    units = [f"{machine} part {n:02d}" for machine in "AB" for n in range(1, 11)]
    found = list(rehearsal.later_casts(units, ["A part 09", "A part 10", "B part 09", "B part 10"]))
    assert len(found) == 5
    for cast in found:
        times = [{stretch_of(unit) for unit in side} for side in cast]
        assert max(times[0]) < min(times[1])
        assert max(times[1]) < min(times[2])
        assert [len(side) for side in cast[1:]] == [4, 4]


def test_units_of_which_nothing_is_known_move_nothing() -> None:
    """Where no row of a unit met has a truth, there is nothing to learn from, and no figure is made up."""
    make = partial(PROBLEMS[Head.REGRESSION], ConditionConfig(head=Head.REGRESSION), costs=COSTS)
    known = _units(12, 0, apart=1.0)
    met = {f"U{i}" for i in range(6, 12)}
    value = np.where(np.isin(known.unit, sorted(met)), np.nan, known.value)
    cast = [(("U0", "U1"), ("U2", "U3"), tuple(sorted(met)))]
    assert rehearsal.rehearse(make, _naive, replace(known, value=value), cast, coverage=0.9) is None
