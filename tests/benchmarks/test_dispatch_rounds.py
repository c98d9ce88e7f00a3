"""Rounds of the dispatch benchmark, on contestants that take the time they are told to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from benchmarks.dispatch import rounds as under_test
from benchmarks.dispatch.__main__ import paired, summary, table
from benchmarks.dispatch.contestant import Contestant
from benchmarks.dispatch.measure import closed_loop
from benchmarks.dispatch.rounds import Rounds

ROUNDS, TURNS = 2, 3


class Busy(Contestant):
    """Computes for ``seconds`` per batch; ``log`` has what it was asked for, calls left out."""

    def __init__(self, name: str, seconds: float, log: list[str], fails_after: float = float("inf")) -> None:
        self.name, self._seconds, self._log, self._left = name, seconds, log, fails_after

    async def start(self) -> None:
        self._log.append(f"{self.name} start")

    async def batch(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("out of order")
        until = time.process_time() + self._seconds
        while time.process_time() < until:
            pass
        await asyncio.sleep(0)

    async def single(self) -> None:
        await self.batch()

    async def stop(self) -> None:
        self._log.append(f"{self.name} stop")

    async def rest(self) -> None:
        self._log.append(f"{self.name} rest")

    async def wake(self) -> None:
        self._log.append(f"{self.name} wake")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few calls of each kind."""
    for name, value in {"WARM_UP": 3, "SETTLE": 3, "BATCHES": 6, "SINGLES": 8, "OPEN_S": 0.02}.items():
        monkeypatch.setattr(under_test, name, value)


async def measured(**seconds: float) -> tuple[Rounds, list[str]]:
    """Rounds of contestants with these seconds per batch; "mosec" fails in its second turn."""
    log: list[str] = []

    def maker(name: str) -> Callable[[], Contestant]:
        return lambda: Busy(name, seconds[name], log, 3 + 9 if name == "mosec" else float("inf"))

    rounds = Rounds({name: maker(name) for name in seconds})
    await rounds.run(ROUNDS, TURNS)
    return rounds, log


async def test_contestants_are_compared_turn_by_turn() -> None:
    """One ratio for each turn; a contestant three times as slow has three times the CPU, whatever the machine does."""
    rounds, _ = await measured(bare=0.0005, lineside=0.0015)
    ratios = paired(rounds, "bare", "cpu_ms")
    assert len(ratios) == ROUNDS * TURNS
    said = summary(rounds)
    assert isinstance(said["cpu_vs_bare"], float)
    assert 2.4 < said["cpu_vs_bare"] < 3.6
    assert len(rounds.seen["lineside"].open_p99_ms) == ROUNDS
    assert table(rounds).row_count == 2


async def test_only_one_is_awake_at_a_time_and_the_order_is_turned_around() -> None:
    """Between a wake and the next stands the rest of the same contestant."""
    _, log = await measured(bare=0.0001, lineside=0.0001)
    steps = [entry for entry in log if entry.endswith(("wake", "rest"))]
    awake = [entry.split()[0] for entry in steps if entry.endswith("wake")]
    assert awake == ["bare", "lineside", "lineside", "bare", "bare", "lineside"] * ROUNDS
    for woken, entry in zip([None, *steps], steps, strict=False):
        if woken is not None and woken.endswith("wake"):
            assert entry == woken.replace("wake", "rest")


async def test_who_fails_is_left_out_with_all_that_was_seen_of_it() -> None:
    """The others go on; it was ended, and is not started again."""
    rounds, log = await measured(bare=0.0001, lineside=0.0001, mosec=0.0001)
    assert rounds.skipped == {"mosec": "out of order"}
    assert set(rounds.seen) == {"bare", "lineside"}
    assert [entry for entry in log if entry.startswith("mosec st")] == ["mosec start", "mosec stop"]
    assert summary(rounds)["throughput_vs"] == dict.fromkeys(
        ("ray", "litserve", "litserve_tuned", "mosec", "mosec_tuned", "task_per_request")
    )


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing until it is ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


async def test_a_server_whose_first_process_has_ended_is_found_out(server: subprocess.Popen[bytes]) -> None:
    """Those it started may go on answering, and nobody would see what they use."""

    async def call() -> None:
        server.kill()
        await asyncio.to_thread(os.waitid, os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)

    for _ in range(2):  # during the call, and before it
        with pytest.raises(RuntimeError, match=f"process {server.pid} has ended"):
            await closed_loop(call, 1, 1, (psutil.Process(server.pid),))


async def test_lineside_itself_must_not_fail() -> None:
    """Nothing is printed that would look like a result."""
    log: list[str] = []
    rounds = Rounds({"lineside": lambda: Busy("lineside", 0.0001, log, 5)})
    with pytest.raises(RuntimeError, match="out of order"):
        await rounds.run(1, 1)
    assert log[-1] == "lineside stop"
