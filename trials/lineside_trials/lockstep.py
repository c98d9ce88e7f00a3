"""Lineside in lock-step with a plant: the gateway's windows, the installed tasks and the guard, without a wall clock.

Each tick the plant runs ``tick_s`` of event time, all its samples are in the tag table, windows close, the tasks
answer, and what the guard allows is written before the plant runs on. The plant stands still while Lineside thinks,
so an answer comes up to one tick after its window closed; a part spends longer than that between the press and the
end-of-line check (one grinding cycle and 60 s of conveyor).

Several plants run side by side and share their batches: most of what a task costs is per batch, not per window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from lineside_gateway.batching import join
from lineside_gateway.guard.guard import Guard
from lineside_gateway.guard.steps import PlantWriter, Step, StepReport
from lineside_gateway.guard.write_back import WriteBack
from lineside_gateway.ingest import Request, TagTable, Windower
from lineside_gateway.ledger import Effect, Ledger, Outcome
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.runtime.policies import orders_now, policy
from lineside_gateway.runtime.recommendations import recommendation_record, stream_of
from lineside_gateway.runtime.tasks import BoundTask
from lineside_gateway.settings import Settings
from lineside_plant import PLANT_EPOCH, time_us
from lineside_plugins.types import Recommendation, Record, Scalar
from lineside_workers.hosting.runner import Runner

TICK_S = 60.0

_EFFECTS = {Step.WRITTEN: Effect.WRITTEN, Step.READ_BACK: Effect.READ_BACK, Step.ACTED_ON: Effect.ACTED_ON}


class PlantLink(PlantWriter, Protocol):
    """A plant that runs only when told, whose samples end up in the tag table."""

    on_tag: Callable[[str, str, Scalar], None]
    """Hears the counters by which the plant acknowledges, and written flags."""

    async def advance(self, to_s: float) -> None:
        """Run to plant time ``to_s`` (s); all samples up to then are in the table, all counters were reported."""

    async def kpis(self) -> Mapping[str, float]:
        """The plant's KPIs so far."""

    def job_orders(self) -> Iterable[Record]:
        """The MES's list as of now."""


@dataclass(slots=True)
class LockStep:
    """Everything of Lineside but OPC UA and the broker. One per replication; drives one ``link``."""

    link: PlantLink
    table: TagTable
    tasks: Mapping[str, BoundTask]
    runners: Mapping[str, Runner]
    windower: Windower
    guard: Guard
    ledger: Ledger
    write_back: WriteBack
    now: datetime = PLANT_EPOCH
    refused: Counter[str] = field(default_factory=Counter)

    async def run(
        self, horizon_s: float, progress: Callable[[float], None] | None = None, *, from_s: float = 0.0
    ) -> None:
        """Run alone; see ``run_together``."""
        await run_together([self], horizon_s, progress, from_s=from_s)

    async def observe(self, at_s: float) -> list[Request]:
        """Run the plant to ``at_s``; the requests whose windows have closed by then, in the order of their ends."""
        self.now = PLANT_EPOCH + timedelta(seconds=at_s)
        await self.link.advance(at_s)
        self.write_back.tick(self.now)
        return self.windower.close(time_us(at_s))

    async def take(self, request: Request, rec: Recommendation | None) -> None:
        """Take a task's answer: put it on record and write to the plant what the guard allows."""
        ledger = self.ledger.task(request.task)
        ledger.send()
        ledger.answer()
        ledger.settle(request.id, Outcome.NOTHING_TO_SAY if rec is None else Outcome.PUBLISHED)
        if rec is not None:
            await self._act(rec)

    async def _act(self, rec: Recommendation) -> None:
        self.table.add_record(stream_of(rec.task), recommendation_record(rec))
        decision = self.guard.decide(rec, self.now)
        if decision.allowed:
            await self.write_back.execute(decision)
        elif decision.reason is not None:
            self.refused[f"{rec.task}: {decision.reason.value}"] += 1


async def run_together(
    loops: Sequence[LockStep], horizon_s: float, progress: Callable[[float], None] | None = None, *, from_s: float = 0.0
) -> None:
    """Run each loop from plant time ``from_s`` to the horizon in ticks, in step with the others and as if alone.

    ``progress`` hears the plant time (s) after each plant hour.
    """
    at_s = told_s = from_s
    while at_s < horizon_s:
        at_s = min(at_s + TICK_S, horizon_s)
        due = [(loop, request) for loop in loops for request in await loop.observe(at_s)]
        for (loop, request), rec in zip(due, _answers(due), strict=True):
            await loop.take(request, rec)
        if progress is not None and at_s - told_s >= 3600.0:
            told_s = at_s
            progress(at_s)


def _answers(due: Sequence[tuple[LockStep, Request]]) -> list[Recommendation | None]:
    """What the tasks say, request by request: everything due for one runner is one batch."""
    batches: dict[Runner, list[int]] = {}
    for i, (loop, request) in enumerate(due):
        batches.setdefault(loop.runners[request.task], []).append(i)
    answers: list[Recommendation | None] = [None] * len(due)
    for runner, places in batches.items():
        for i, rec in zip(places, runner.run(join([due[i][1] for i in places])), strict=True):
            answers[i] = rec
    return answers


def build(
    link: PlantLink,
    table: TagTable,
    equipment: Sequence[Equipment],
    tasks: Mapping[str, BoundTask],
    runners: Mapping[str, Runner],
    settings: Settings,
) -> LockStep:
    """Put the pieces together over ``link``, whose tags are registered in ``table`` by now."""
    ledger = Ledger()
    ledger.values = table.tally

    def on_step(report: StepReport) -> None:
        task = ledger.task(report.task)
        if report.step in _EFFECTS:
            task.effect(_EFFECTS[report.step])
        elif report.reason is not None:
            task.withhold(report.reason.value)

    def current(equipment_id: str, tag: str) -> Scalar:
        found = table.latest(equipment_id, tag)
        return found.value if found is not None and isinstance(found.value, bool | int | float | str) else None

    line_id, receiver = settings.gateway.id, settings.job_control.server if settings.job_control else ""
    policies = [policy(t, equipment, line_id, receiver) for t in tasks.values()]
    guard = Guard(policies, current=current, orders=lambda: orders_now(link.job_orders()))
    write_back = WriteBack(
        link, clock=lambda: loop.now, on_step=on_step, settle=guard.settle, latest=current, handshake_s=0.0
    )
    link.on_tag = write_back.on_tag
    windower = Windower(table, [t.binding(equipment, line_id) for t in tasks.values()], ledger)
    loop = LockStep(link, table, tasks, runners, windower, guard, ledger, write_back)
    return loop
