"""How a contestant is measured: closed and open loops, CPU of all its processes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import psutil

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Loop:
    """One run: calls per second, CPU seconds per call over all processes, and each call's latency in seconds."""

    per_s: float
    cpu_s: float
    latency_s: tuple[float, ...]

    def latency_ms(self, percent: float) -> float:
        """A percentile of the latencies, nearest rank."""
        ordered = sorted(self.latency_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """User and system time of the processes and all their descendants, and of this one."""
    rows = {psutil.Process()}
    for process in processes:
        rows |= {process, *process.children(recursive=True)}
    total = 0.0
    for row in rows:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = row.cpu_times()
            total += times.user + times.system
    return total


async def closed_loop(call: Call, calls: int, in_flight: int, processes: Iterable[psutil.Process] = ()) -> Loop:
    """``calls`` calls, ``in_flight`` at a time, each started when one before it has ended."""
    latency: list[float] = []
    numbers = iter(range(calls))

    async def lane() -> None:
        for _ in numbers:
            started = time.perf_counter()
            await call()
            latency.append(time.perf_counter() - started)

    processes = tuple(processes)
    cpu, started = cpu_s(processes), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(lane())
    took = time.perf_counter() - started
    return Loop(calls / took, (cpu_s(processes) - cpu) / calls, tuple(latency))


async def open_loop(call: Call, per_s: float, seconds: float, processes: Iterable[psutil.Process] = ()) -> Loop:
    """Calls at a fixed rate whether or not the ones before have ended; latency counts from when each was due."""
    latency: list[float] = []

    async def one(due: float) -> None:
        await call()
        latency.append(time.perf_counter() - due)

    processes = tuple(processes)
    count = round(per_s * seconds)
    cpu, started = cpu_s(processes), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for i in range(count):
            due = started + i / per_s
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            group.create_task(one(due))
    took = time.perf_counter() - started
    return Loop(count / took, (cpu_s(processes) - cpu) / count, tuple(latency))
