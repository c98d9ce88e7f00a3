"""The second thread of a worker, by what the first can tell of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from lineside_workers.requests.beside import Beside

Waited = Callable[[float], bool]


def test_an_errand_works_again_and_again_until_it_is_ended() -> None:
    """After ``end`` nothing is touched, however soon the next errand begins."""
    beside, touched, threads = Beside(), [], threading.active_count()

    def errand(name: str) -> Callable[[Waited], None]:
        def work(waited: Waited) -> None:
            while waited(0.0005):
                touched.append(name)

        return work

    for number in range(200):
        before = len(touched)
        beside.start(errand(f"{number}"))
        until = time.monotonic() + 5
        while len(touched) == before and time.monotonic() < until:
            time.sleep(0.0005)
        beside.end()
        mine, count = touched[before:], len(touched)
        assert set(mine) == {f"{number}"}
        time.sleep(0.0007 if number % 2 else 0)
        assert len(touched) == count
    assert threading.active_count() == threads + 1


def test_the_end_waits_for_one_that_is_at_work_and_for_no_other() -> None:
    """Not for one that sleeps, even for long."""
    beside, at_work, done = Beside(), threading.Event(), []

    def slow(waited: Waited) -> None:
        assert waited(0)
        at_work.set()
        time.sleep(0.1)
        done.append("slow")
        assert not waited(30)

    beside.start(slow)
    assert at_work.wait(5)
    beside.end()
    assert done == ["slow"]

    started = time.monotonic()
    for _ in range(50):
        beside.start(lambda waited: waited(30))
        beside.end()
    assert time.monotonic() - started < 5


def test_an_errand_that_sleeps_gives_way_to_the_next() -> None:
    """It is woken by the start of the other, not by its time."""
    beside, begun = Beside(), threading.Event()
    beside.start(lambda waited: waited(30))
    time.sleep(0.01)
    beside.end()
    beside.start(lambda waited: waited(0.001) and begun.set())
    assert begun.wait(5)
    beside.end()


def test_the_time_is_waited_for_though_a_call_was_left_over() -> None:
    """The second thread found the next errand by itself, before it heard that it was called."""
    beside, at_work, begun, waits = Beside(), threading.Event(), threading.Event(), []

    def first(waited: Waited) -> None:
        assert waited(0)
        at_work.set()
        assert not waited(0.05)
        assert begun.wait(5)

    def second(waited: Waited) -> None:
        started = time.monotonic()
        waits.append((waited(0.05), time.monotonic() - started))

    beside.start(first)
    assert at_work.wait(5)
    beside.end()
    time.sleep(0.1)  # ended, and not gone yet
    beside.start(second)
    begun.set()
    until = time.monotonic() + 5
    while not waits and time.monotonic() < until:
        time.sleep(0.001)
    beside.end()
    ((whole, took),) = waits
    assert whole
    assert took >= 0.0499


def test_what_an_errand_raises_is_raised_by_its_end_once() -> None:
    """And the thread serves the next one."""
    beside, done = Beside(), threading.Event()

    def failing(waited: Waited) -> None:
        waited(0)
        raise ConnectionError("the broker is lost")

    beside.start(failing)
    time.sleep(0.05)
    with pytest.raises(ConnectionError, match="the broker is lost"):
        beside.end()
    beside.end()
    beside.start(lambda waited: waited(0) and done.set())
    assert done.wait(5)
    beside.end()
