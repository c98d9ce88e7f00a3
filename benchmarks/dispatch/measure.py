"""How a contestant is measured: closed and open loops, CPU of all its processes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import psutil

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Loop:
    """One run: calls per second, CPU seconds per call over all processes, and each call's latency in seconds."""

    per_s: float
    cpu_s: float
    latency_s: tuple[float, ...]


def percentile_ms(latency_s: Sequence[float], percent: float) -> float:
    """A percentile of latencies, nearest rank, in ms."""
    ordered = sorted(latency_s)
    return 1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def tree(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """``processes`` and all their descendants.

    Raises:
        RuntimeError: One has ended; its descendants may go on, and would be left out.
    """
    rows: set[psutil.Process] = set()
    for process in processes:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError(f"process {process.pid} has ended")
            rows |= {process, *process.children(recursive=True)}
        except psutil.NoSuchProcess as e:
            raise RuntimeError(f"process {e.pid} has ended") from e
    return rows


def cpu_s(rows: Iterable[psutil.Process]) -> float:
    """User and system time of ``rows``, in ticks of 10 ms each, and of this process."""
    total = time.process_time()
    for row in rows:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = row.cpu_times()
            total += times.user + times.system
    return total


async def closed_loop(call: Call, calls: int, in_flight: int, processes: Iterable[psutil.Process] = ()) -> Loop:
    """``calls`` calls, ``in_flight`` at a time, each started when one before it has ended; raises what one does."""
    latency: list[float] = []
    numbers = iter(range(calls))

    async def lane() -> None:
        for _ in numbers:
            started = time.perf_counter()
            await call()
            latency.append(time.perf_counter() - started)

    processes = tuple(processes)
    rows = tree(processes)
    cpu, started = cpu_s(rows), time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(lane())
    except ExceptionGroup as e:
        raise e.exceptions[0] from e
    took, spent = time.perf_counter() - started, cpu_s(rows) - cpu
    tree(processes)
    return Loop(calls / took, spent / calls, tuple(latency))


async def open_loop(call: Call, per_s: float, seconds: float) -> tuple[float, ...]:
    """Latencies of calls at a fixed rate, whether or not those before have ended; each counts from when it was due."""
    latency: list[float] = []

    async def one(due: float) -> None:
        await call()
        latency.append(time.perf_counter() - due)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for i in range(round(per_s * seconds)):
            due = started + i / per_s
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            group.create_task(one(due))
    return tuple(latency)
