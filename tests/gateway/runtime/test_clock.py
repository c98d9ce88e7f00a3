"""Event time against wall time when clocks differ or are set."""

from __future__ import annotations

import pytest

from lineside_gateway.runtime.clock import EventClock, ServerClock

S = 1_000_000
HOUR = 3600 * S
START = 1_767_596_400 * S


def observed(rate: float = 1.0, seconds: int = 10) -> EventClock:
    clock = EventClock()
    for i in range(seconds * 10):
        clock.observe(START + round(rate * i * S / 10), START + i * S // 10)
    return clock


@pytest.mark.parametrize("rate", [1.0, 60.0])
def test_event_time_runs_at_its_own_rate(rate: float) -> None:
    """A deadline in event time becomes one in wall time, and back."""
    clock = observed(rate)
    assert clock.rate == pytest.approx(rate)
    at = START + round(9.9 * S)
    assert clock.wall_us(START + round(rate * 19.9 * S), 0) == pytest.approx(at + 10 * S, abs=10)
    assert clock.event_us(at + S) == pytest.approx(START + round(rate * 10.9 * S), abs=100)


def test_values_that_servers_kept_do_not_hurry_the_clock() -> None:
    """What was an hour old at connecting, and newer values server by server after it, shorten no deadline."""
    clock = EventClock()
    for i in range(30):
        kept = {0: HOUR, 1: 1800 * S, 3: 60 * S}.get(i, 0)
        clock.observe(START + i * S // 10 - kept, START + i * S // 10)
        assert clock.rate <= 1.05


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_wall_clock_that_is_set_costs_one_observation(step: int) -> None:
    """After a step of an hour, forward or back, deadlines are as far ahead as they were."""
    clock = observed()
    event, wall = START + 10 * S, START + 10 * S + step
    clock.observe(event, wall)
    assert clock.wall_us(event + 30 * S, 0) == wall + 30 * S
    assert clock.event_us(wall + S) == event + S


def test_silence_is_no_step() -> None:
    """Both clocks run on while a server says nothing; a delayed message moves nothing."""
    clock = observed()
    clock.observe(START + HOUR, START + HOUR + S)
    assert clock.wall_us(START + HOUR + 30 * S, 0) == pytest.approx(START + HOUR + 31 * S, abs=S // 10)
    before = clock.wall_us(START + HOUR, 0)
    clock.observe(START + 5 * S, START + HOUR + 2 * S)
    assert clock.wall_us(START + HOUR, 0) == before


def test_the_clock_of_a_server_may_be_hours_off() -> None:
    """Times of a server are told by this machine's clock: least delay counts, and a step of either starts anew."""
    server = ServerClock()
    assert server.here_us(START, START + HOUR) == START + HOUR
    assert server.here_us(START + S, START + HOUR + S + 300_000) == START + HOUR + S
    assert server.here_us(START + 2 * S, START + 2 * S) == START + 2 * S
    assert server.here_us(START + 3 * S, START + 3 * S + HOUR) == START + 3 * S + HOUR


def test_an_age_is_told_once_the_rate_is_known() -> None:
    """At sixty times real time an hour ago is a minute ago; until the rate can be told nobody knows."""
    assert observed(60.0, seconds=1).age_s(START - HOUR, START) is None
    clock, now = observed(60.0), START + round(9.9 * S)
    assert clock.age_s(START + round(60 * 9.9 * S) - HOUR, now) == pytest.approx(60.0)
