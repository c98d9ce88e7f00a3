from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from lineside_plugins.tasks.schedule.setups import SetupTimes

NOMINAL = ((3.0, 20.0), (40.0, 3.0))
RUNNING, SETUP, FAILED = 1, 2, 5


def watch(times: SetupTimes, now: datetime, glances: list[tuple[float, int, int]]) -> None:
    """Show machine A1 as (minute, state, family)."""
    for minute, state, family in glances:
        times.observe("A1", now + timedelta(minutes=minute), state, family)


def test_a_setup_that_is_seen_replaces_the_nominal_time(now: datetime) -> None:
    """A setup seen from its first to its last minute counts as long as it took."""
    times = SetupTimes(NOMINAL)
    watch(times, now, [(0, RUNNING, 0), *((m, SETUP, 1) for m in range(1, 6)), (6, RUNNING, 1)])
    assert times.matrix()[0][1] == pytest.approx(5.0)


def test_setups_not_seen_yet_follow_those_that_were(now: datetime) -> None:
    """When one setup takes a quarter of its nominal time, the others between families are expected to as well."""
    times = SetupTimes(NOMINAL)
    watch(times, now, [(0, RUNNING, 0), *((m, SETUP, 1) for m in range(1, 6)), (6, RUNNING, 1)])
    assert times.matrix() == ((3.0, pytest.approx(5.0)), (pytest.approx(10.0), 3.0))


@pytest.mark.parametrize(
    "glances",
    [
        [(0, SETUP, 1), (1, RUNNING, 1)],  # its beginning was not seen
        [(0, RUNNING, 0), (1, SETUP, 1), (9, RUNNING, 1)],  # nobody looked for eight minutes
        [(0, RUNNING, 0), (1, SETUP, 1), (2, FAILED, 1), (3, RUNNING, 1)],  # something else came between
        [(0, RUNNING, -1), (1, SETUP, 1), (2, SETUP, 1), (3, RUNNING, 1)],  # from no family
    ],
)
def test_a_setup_seen_in_part_teaches_nothing(now: datetime, glances: list[tuple[float, int, int]]) -> None:
    """Only setups whose beginning and end were both seen count."""
    times = SetupTimes(NOMINAL)
    watch(times, now, glances)
    assert times.matrix() == NOMINAL
