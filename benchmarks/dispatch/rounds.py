"""Who is measured when. In a round all contestants start anew, and then take many short turns one after the other.

A machine whose memory and caches others use too is slower by a third for seconds at a time: a contestant is compared
with another by what both did within the same few seconds, turn by turn. Who is not on turn rests.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.dispatch.contestant import Contestant
from benchmarks.dispatch.measure import closed_loop, open_loop, percentile_ms
from benchmarks.dispatch.model import WINDOWS

IN_FLIGHT = 3
WARM_UP, SETTLE, BATCHES = 60, 10, 60  # batches after the start; before each turn's; of each turn
SINGLES, SINGLES_IN_FLIGHT = 1500, 64
OPEN_PER_S, OPEN_S = 1000, 5
NEVER_FAIL = ("bare", "lineside")


@dataclass(slots=True)
class Seen:
    """What was measured of one contestant: of batches by turn, of single windows by round."""

    windows_per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)
    singles_per_s: list[float] = field(default_factory=list)
    open_p50_ms: list[float] = field(default_factory=list)
    open_p99_ms: list[float] = field(default_factory=list)


class Rounds:
    """Runs them; ``seen`` by short name, ``skipped`` with why."""

    def __init__(self, makers: Mapping[str, Callable[[], Contestant]]) -> None:
        self.seen = {name: Seen() for name in makers}
        self.skipped: dict[str, str] = {}
        self._makers = makers

    async def run(self, rounds: int, turns: int) -> None:
        """``rounds`` starts of all, ``turns`` of each after a start; the order is turned around every time."""
        for number in range(rounds):
            running: dict[str, Contestant] = {}
            try:
                for name in self._left():
                    running[name] = self._makers[name]()
                    await self._try(name, running, self._start)
                for turn in range(turns):
                    for name in sorted(running, key=list(running).index, reverse=turn % 2 == 1):
                        await self._try(name, running, self._turn)
                for name in list(running):
                    await self._try(name, running, self._singles)
            finally:
                for contestant in running.values():
                    await contestant.stop()
            self._say(f"round {number + 1}/{rounds}", turns)

    def _left(self) -> list[str]:
        return [name for name in self._makers if name not in self.skipped]

    async def _try(
        self, name: str, running: dict[str, Contestant], step: Callable[[str, Contestant], Awaitable[None]]
    ) -> None:
        """Leave out whoever fails, with all that was seen of it."""
        try:
            await step(name, running[name])
        except (RuntimeError, OSError, AssertionError) as e:
            if name in NEVER_FAIL:
                raise
            self.skipped[name] = str(e)
            del self.seen[name]
            await running.pop(name).stop()

    async def _start(self, _name: str, contestant: Contestant) -> None:
        await contestant.start()
        await closed_loop(contestant.batch, WARM_UP, IN_FLIGHT)
        await contestant.rest()

    async def _turn(self, name: str, contestant: Contestant) -> None:
        await contestant.wake()
        await closed_loop(contestant.batch, SETTLE, IN_FLIGHT)
        batches = await closed_loop(contestant.batch, BATCHES, IN_FLIGHT, contestant.processes)
        await contestant.rest()
        seen = self.seen[name]
        seen.windows_per_s.append(batches.per_s * WINDOWS)
        seen.cpu_ms.append(batches.cpu_s * 1e3)
        seen.latency_s += batches.latency_s

    async def _singles(self, name: str, contestant: Contestant) -> None:
        """One window at a time, of Lineside and of a task per request."""
        if name not in {"lineside", "task_per_request"}:
            return
        seen = self.seen[name]
        await closed_loop(contestant.single, SINGLES // 8, SINGLES_IN_FLIGHT)
        seen.singles_per_s.append((await closed_loop(contestant.single, SINGLES, SINGLES_IN_FLIGHT)).per_s)
        if name == "lineside":  # a task per request cannot keep up with the open loop: its queue would only grow
            paced = await open_loop(contestant.single, OPEN_PER_S, OPEN_S)
            seen.open_p50_ms.append(percentile_ms(paced, 50))
            seen.open_p99_ms.append(percentile_ms(paced, 99))

    def _say(self, when: str, turns: int) -> None:
        for name, seen in self.seen.items():
            speed, cpu = (statistics.median(figures[-turns:]) for figures in (seen.windows_per_s, seen.cpu_ms))
            print(f"{when} {name}: {speed:,.0f} windows/s, {cpu:.2f} ms CPU per batch", file=sys.stderr, flush=True)
