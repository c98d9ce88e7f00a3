"""What a killed or stopped worker held is answered by another one, soon: what it was at, and what it had besides.

LINESIDE_REDELIVERY_KILLS is how often a worker is killed for each kind of batch; ten times unless told.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from lineside_gateway.dispatch import CeleryDispatcher, EmbeddedBroker, shared_memory
from lineside_plugins import WindowBatch
from lineside_plugins.wire import Status
from tests.faults.dispatch.rig import VISIBILITY_S
from tests.workers.conftest import Worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("LINESIDE_REDELIVERY_KILLS", "10"))
IN_FLIGHT = 3
DEADLINE_S = 120.0  # far off: nothing here ends by time
STOPPED_S = 20.0
BATCHES_BETWEEN = 12  # kills; both workers have been at work by then


@dataclass(slots=True)
class Load:
    """Batches in flight without a pause. ``waiting`` holds when each open one was sent."""

    dispatcher: CeleryDispatcher
    batch: WindowBatch
    waiting: dict[int, float] = field(default_factory=dict)
    answered: dict[int, tuple[float, int]] = field(default_factory=dict)  # when, and at which attempt
    by: Counter[str] = field(default_factory=Counter)  # batches of each worker
    closing: bool = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for first in range(IN_FLIGHT):
                group.create_task(self._one_after_another(first))

    async def _one_after_another(self, number: int) -> None:
        while not self.closing:
            self.waiting[number] = time.monotonic()
            deadline = datetime.now(UTC) + timedelta(seconds=DEADLINE_S)
            result = await self.dispatcher.submit(self.batch, "tiny", deadline)
            assert result.status is Status.ANSWERED, result
            self.answered[number] = (time.monotonic(), int(str(result.meta["attempts"])))
            self.by[str(result.meta["worker"])] += 1
            del self.waiting[number]
            number += IN_FLIGHT


async def until(holds: Callable[[], object], within_s: float = 120.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "wedged"
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("inference_s", "shared_from_bytes"),
    [(0.15, shared_memory.SMALLEST_BYTES), (0.01, 1)],
    ids=["long batches by the broker", "short batches in shared memory"],
)
async def test_what_a_killed_worker_held_is_answered_within_one_and_a_half_visibility_timeouts(
    broker: EmbeddedBroker, start_worker: Callable[..., Worker], make_batch: Callable[..., WindowBatch],
    row: Callable[..., None], monkeypatch: pytest.MonkeyPatch, inference_s: float, shared_from_bytes: int,
) -> None:  # fmt: skip
    """From the kill to the answer, for every batch that was open then; at its second attempt if it had begun."""
    monkeypatch.setattr(shared_memory, "SMALLEST_BYTES", shared_from_bytes)
    chance, took, begun, taken = random.Random(8), list[float](), 0, 0
    workers = [start_worker(LINESIDE_REDELIVER_AFTER_S=str(VISIBILITY_S)) for _ in range(2)]
    async with CeleryDispatcher("redelivery", broker.url, max_in_flight=IN_FLIGHT) as dispatcher:
        load = Load(dispatcher, make_batch((-3000.0, inference_s)))
        running = asyncio.create_task(load.run())
        for kill in range(KILLS):
            wanted = len(load.answered) + BATCHES_BETWEEN
            await until(lambda: len(load.answered) >= wanted)  # noqa: B023 - called before the next turn
            await asyncio.sleep(chance.uniform(0, 2 * inference_s))
            killed_at, caught = time.monotonic(), tuple(load.waiting)
            workers[kill % 2].end(signal.SIGKILL)
            await until(lambda: load.answered.keys() >= set(caught))  # noqa: B023 - as above
            waits = {number: load.answered[number][0] - killed_at for number in caught}
            took.append(max(waits.values()))
            again = {number for number in caught if load.answered[number][1] > 1}
            begun += len(again)
            taken += sum(wait > VISIBILITY_S / 2 for number, wait in waits.items() if number not in again)
            workers[kill % 2] = start_worker(wait=False, LINESIDE_REDELIVER_AFTER_S=str(VISIBILITY_S))
            await asyncio.to_thread(workers[kill % 2].ready)
        load.closing = True
        await running
        assert dispatcher.counts["submitted"] == dispatcher.counts["answered"] == len(load.answered)
    held = [t for t in took if t > VISIBILITY_S / 2]
    figures = {"median_s": f"{statistics.median(held):.2f}", "longest_s": f"{max(took):.2f}"}
    counts = {"held_a_begun_one": begun, "held_another": taken, "answered": len(load.answered)}
    row("redelivery after SIGKILL of a worker", batches_of_s=inference_s, kills=KILLS, **figures, **counts)
    assert begun > 0, "no kill met a worker in a batch"
    assert max(took) <= 1.5 * VISIBILITY_S, took


async def test_a_worker_that_is_stopped_for_a_while_holds_up_nobody(
    broker: EmbeddedBroker, start_worker: Callable[..., Worker], make_batch: Callable[..., WindowBatch],
    row: Callable[..., None],
) -> None:  # fmt: skip
    """Two others go on, also with what it held; when it wakes it works again, and nothing is answered twice."""
    workers = [start_worker(wait=False, LINESIDE_REDELIVER_AFTER_S=str(VISIBILITY_S)) for _ in range(3)]
    nodes = [str((await asyncio.to_thread(worker.ready))["node"]) for worker in workers]
    async with CeleryDispatcher("starved", broker.url, max_in_flight=IN_FLIGHT) as dispatcher:
        load = Load(dispatcher, make_batch((-3000.0, 0.15)))
        running = asyncio.create_task(load.run())
        await until(lambda: all(load.by[node] for node in nodes))
        stopped_at, caught, before = time.monotonic(), tuple(load.waiting), load.by.copy()
        workers[0].process.send_signal(signal.SIGSTOP)
        await until(lambda: load.answered.keys() >= set(caught))
        longest = max(load.answered[number][0] for number in caught) - stopped_at
        await asyncio.sleep(max(0.0, stopped_at + STOPPED_S - time.monotonic()))
        meanwhile = load.by - before
        workers[0].process.send_signal(signal.SIGCONT)
        woken = load.by[nodes[0]]
        await until(lambda: load.by[nodes[0]] > woken)
        load.closing = True
        await running
        assert dispatcher.counts["submitted"] == dispatcher.counts["answered"] == len(load.answered)
    by_others = {f"by_worker_{n}": meanwhile[node] for n, node in enumerate(nodes[1:], start=2)}
    row("a worker stopped for 20 s, two others", longest_s=f"{longest:.2f}", **by_others)
    assert all(meanwhile[node] for node in nodes[1:])
    assert longest <= 1.5 * VISIBILITY_S
