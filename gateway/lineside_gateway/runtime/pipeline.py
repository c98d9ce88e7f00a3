"""From due windows to effects: batches out, answers in, nodes published, writes guarded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from lineside_gateway.batching import Batch, MicroBatcher
from lineside_gateway.dispatch import MAX_IN_FLIGHT, Dispatcher
from lineside_gateway.fleet import Leading, Sole, Standby
from lineside_gateway.ingest import Request, Windower
from lineside_gateway.ledger import Ledger, Outcome
from lineside_gateway.publish import Fault, HostedServer, PublishError
from lineside_gateway.runtime.clock import moment
from lineside_gateway.runtime.drift import DriftAlarm
from lineside_gateway.runtime.effects import Effects
from lineside_gateway.runtime.feed import Feed
from lineside_gateway.runtime.recommendations import recommendation_record, stream_of
from lineside_gateway.runtime.tape import Tape
from lineside_gateway.runtime.tasks import BoundTask
from lineside_gateway.runtime.traces import Traces, Travel
from lineside_gateway.store import Kept, NoStore, Store
from lineside_plugins.contract import Scope
from lineside_plugins.types import Recommendation
from lineside_plugins.wire import BatchResult, Refusal, Status

logger = logging.getLogger(__name__)

GOOD_LEAST_S = 2.0  # a burst of late samples makes the plant's clock look fast for a moment
ANSWERS_REMEMBERED = 8
IDLE_S = 0.25  # longest pause between two looks at what is due when no server sends anything
STANDBY_LOOK_S = 0.2  # between two looks at what is held for another gateway
ANSWERED_ELSEWHERE = "another gateway leads"


@dataclass(slots=True)
class Parts:
    """What the pipeline stands between."""

    feed: Feed
    windower: Windower
    dispatcher: Dispatcher
    hosted: HostedServer
    effects: Effects
    ledger: Ledger
    store: Store = field(default_factory=NoStore)
    fleet: Leading = field(default_factory=Sole)
    tape: Tape = field(default_factory=Tape)
    drift: DriftAlarm | None = None
    traces: Traces | None = None


class Pipeline:
    """Runs on one event loop. ``flushed`` wakes it; batches are answered in their own tasks.

    What can no longer be answered in time, going by the quickest of the last answers, is dropped before it takes a
    worker's time from what can: a line that was held up catches up with its newest windows, not with its oldest.
    A task has at most ``MAX_IN_FLIGHT`` batches with the workers; what is due beyond that goes on waiting for company.
    Of more than ``max_waiting`` windows the oldest are dropped. ``kept`` is what an earlier run left in the store: it
    joins the others once its equipment is bound and the plant's time is known, unless it expires before. Windows of
    equipment that another gateway of the fleet leads are held until their deadline, and join if that one is lost.
    """

    def __init__(self, parts: Parts, tasks: Mapping[str, BoundTask], kept: Sequence[Kept] = ()) -> None:
        self.parts = parts
        self.batches = 0
        self.last: dict[str, str] = {}
        self._unanswered_tasks: set[str] = set()
        self._tasks = tasks
        self._wake = asyncio.Event()
        self._batchers = {n: MicroBatcher(t.settings.max_batch_size, t.settings.max_wait_s) for n, t in tasks.items()}
        self._in_flight: Counter[str] = Counter()
        self._took_s: dict[str, deque[float]] = {n: deque(maxlen=ANSWERS_REMEMBERED) for n in tasks}
        self._kept = list(kept)
        self._standby = Standby(lambda task: tasks[task].settings.max_waiting)
        self._standby_look_s = 0.0
        for found in kept:
            parts.ledger.task(found.request.task).resume(found.request.id)

    def flushed(self) -> None:
        """A server has sent something: look at what is due."""
        self._wake.set()

    def waiting(self, now_s: float) -> dict[str, tuple[int, float]]:
        """Windows that wait for a worker and the age of the oldest in seconds, by task; ``now_s`` is monotonic."""
        return {name: (len(b), b.oldest_s(now_s)) for name, b in self._batchers.items()}

    @property
    def now(self) -> datetime:
        """The plant's event time."""
        return moment(self.parts.feed.clock.event_us(time.time_ns() // 1000))

    async def run(self) -> None:
        """Close windows and send batches until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                pause = self._pause_s()
                if pause > 0:
                    # Not wait_for: in Python 3.11 it forgets a cancellation that comes together with the wake-up.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
                self._wake.clear()
                self._collect()
                self._take_up()
                self._stand_by(time.monotonic())
                for name, batcher in self._batchers.items():
                    too_late = batcher.expired(time.monotonic() + self._least_s(name))
                    self._drop(too_late, "waited for a worker beyond its deadline")
                    self._drop(batcher.shed(self._tasks[name].settings.max_waiting), "too many windows were waiting")
                    for batch in batcher.due(time.monotonic(), self._free(name)):
                        self._in_flight[name] += 1
                        group.create_task(self._run(batch))
                await asyncio.sleep(0)

    def _pause_s(self) -> float:
        waiting = [b for name, b in self._batchers.items() if self._free(name)]
        due = [d for b in waiting if (d := b.next_due_s()) is not None]
        return min([IDLE_S, *(d - time.monotonic() for d in due)])

    def _least_s(self, task: str) -> float:
        """What an answer takes at the least, as of late; never more than half of what there is."""
        return min([0.5 * self._deadline_s(task), *self._took_s[task]]) if self._took_s[task] else 0.0

    def _free(self, task: str) -> int:
        return MAX_IN_FLIGHT - self._in_flight[task]

    def _collect(self) -> None:
        now = time.monotonic()
        ahead_us = time.time_ns() // 1000
        for request in self.parts.windower.close(self.parts.feed.watermarks()):
            wait_s = (self.parts.feed.clock.wall_us(request.deadline_us, ahead_us) - ahead_us) / 1e6
            if self.parts.fleet.leads(request.equipment_id):
                self._batchers[request.task].add(request, now, now + wait_s)
                self.parts.store.put(request, ahead_us / 1e6 + wait_s)
            else:
                self._standby.hold(request, ahead_us / 1e6 + wait_s)

    def _stand_by(self, now_s: float) -> None:
        """Answer what has become this gateway's to answer; what another had until its deadline is over."""
        if not len(self._standby) or now_s < self._standby_look_s:
            return
        self._standby_look_s = now_s + STANDBY_LOOK_S
        now = time.time()
        mine, over = self._standby.sort(now, self.parts.fleet.leads)
        for held in mine:
            self._batchers[held.request.task].add(held.request, now_s, now_s + held.expires_at - now)
            self.parts.store.put(held.request, held.expires_at)
        for request in over:
            self._settle(request, Outcome.ELSEWHERE, ANSWERED_ELSEWHERE)

    async def adopt(self, kept: Sequence[Kept]) -> None:
        """Take over requests of another gateway as if an earlier run had kept them; on disk when this returns."""
        for found in kept:
            self.parts.ledger.task(found.request.task).resume(found.request.id)
            self.parts.store.put(found.request, found.expires_at)
        self._kept += kept
        await self.parts.store.durable()

    def _take_up(self) -> None:
        """Of what an earlier run kept, let what can be answered join, and end what has expired."""
        if not self._kept:
            return
        now, bound, left = time.time(), self.parts.windower.bound, []
        for found in self._kept:
            request = found.request
            if now >= found.expires_at or request.task not in self._tasks:
                self._settle(request, Outcome.EXPIRED, "the gateway was away")
            elif self.parts.fleet.led_by_other(request.equipment_id):
                self.parts.fleet.hand_over(found, partial(self._settle, request, Outcome.ELSEWHERE, "handed over"))
            elif self._may_join(request, bound.get(request.task, ())):
                ahead_s = found.expires_at - now
                self._batchers[request.task].add(request, time.monotonic(), time.monotonic() + ahead_s)
            else:
                left.append(found)
        self._kept = left

    def _may_join(self, request: Request, equipment_ids: Sequence[str]) -> bool:
        if not (self.parts.feed.clock.known and self.parts.fleet.leads(request.equipment_id)):
            return False
        whole_line = self._tasks[request.task].inputs.scope is Scope.LINE
        return bool(equipment_ids) if whole_line else request.equipment_id in equipment_ids

    def _drop(self, requests: list[Request], why: str) -> None:
        for request in requests:
            self._settle(request, Outcome.EXPIRED, why)

    async def _run(self, batch: Batch) -> None:
        try:
            await self.parts.store.durable()  # what a worker may answer, a restart must know
            await self._answer(batch)
        finally:
            self._in_flight[batch.task] -= 1
            self._wake.set()

    async def _answer(self, batch: Batch) -> None:
        ledger, now_us = self.parts.ledger.task(batch.task), time.time_ns() // 1000
        deadline = max(r.deadline_us for r in batch.requests)
        wall = moment(self.parts.feed.clock.wall_us(deadline, now_us + round(1e6 * self._deadline_s(batch.task))))
        ledger.send(len(batch))
        self.batches += 1
        sent, sent_ns = time.monotonic(), time.time_ns()
        result = await self.parts.dispatcher.submit(
            batch.windows, batch.task, wall, self._tasks[batch.task].settings.config
        )
        took_s, answered_ns = time.monotonic() - sent, time.time_ns()
        if result.status is Status.ANSWERED:
            await self._answered(batch, result, took_s)
        else:
            await self._unanswered(batch, result)
        if self.parts.traces is not None:
            ended_us = self.parts.feed.clock.wall_us(min(r.end_us for r in batch.requests), now_us)
            self.parts.traces.batch(
                Travel(batch.task, result.status.value, batch.windows.equipment_ids, 1000 * ended_us, sent_ns,
                       answered_ns, time.time_ns(), result.meta)
            )  # fmt: skip

    async def _answered(self, batch: Batch, result: BatchResult, took_s: float) -> None:
        self.parts.ledger.task(batch.task).answer(len(batch))
        self._took_s[batch.task].append(took_s)
        if batch.task in self._unanswered_tasks:
            self._unanswered_tasks.discard(batch.task)
            logger.warning("task_answered_again task=%s", batch.task)
        self.parts.tape.said(batch, result)
        if self.parts.drift is not None:
            await self.parts.drift.take(batch.task, batch.windows.equipment_ids, result)
        why = {r.index: r for r in result.refused}
        for place, (request, rec) in enumerate(zip(batch.requests, result.recommendations, strict=True)):
            if rec is None and place in why:
                await self._withheld(request, why[place])
            elif rec is None:
                self._settle(request, Outcome.NOTHING_TO_SAY)
            else:
                await self._publish(request, rec)

    async def _withheld(self, request: Request, refusal: Refusal) -> None:
        if refusal.abstained:
            if self._settle(request, Outcome.REFUSED, "abstained"):
                await self.parts.hosted.fault(request.task, request.equipment_id, refusal.why, Fault.ABSTAINED)
            return
        logger.warning("advice_refused task=%s equipment=%s why=%s", request.task, request.equipment_id, refusal.why)
        self._settle(request, Outcome.REFUSED, "contract")

    def _deadline_s(self, task: str) -> float:
        return self._tasks[task].inputs.deadline_s

    async def _unanswered(self, batch: Batch, result: BatchResult) -> None:
        expired = result.status is Status.EXPIRED
        outcome = Outcome.EXPIRED if expired else Outcome.PARKED if result.status is Status.PARKED else Outcome.REFUSED
        if batch.task not in self._unanswered_tasks:
            self._unanswered_tasks.add(batch.task)
            logger.warning("task_unanswered task=%s status=%s why=%s", batch.task, result.status.value, result.error)
        for request in batch.requests:
            self._settle(request, outcome, result.status.value)
        await self.parts.hosted.fault(batch.task, None, result.error, Fault.WORKER)

    async def _publish(self, request: Request, rec: Recommendation) -> None:
        parts = self.parts
        if self.now > rec.valid_until:
            self._settle(request, Outcome.EXPIRED, "answered after its deadline")
            return
        if not parts.ledger.task(request.task).settle(request.id, Outcome.PUBLISHED):
            parts.store.settle(request)
            return
        parts.feed.table.add_record(stream_of(rec.task), recommendation_record(rec))
        try:
            await parts.hosted.publish(rec, good_for_s=self._good_for_s(rec))
        except PublishError as e:
            logger.warning("not_published task=%s equipment=%s why=%s", rec.task, rec.equipment_id, e)
        if (age_s := parts.feed.clock.age_s(request.end_us, time.time_ns() // 1000)) is not None:
            parts.ledger.task(rec.task).latency(age_s)
        self._decide(request, rec)

    def _good_for_s(self, rec: Recommendation) -> float:
        """Wall time until ``rec`` is no longer valid, as the plant's clock runs now."""
        now_us = time.time_ns() // 1000
        end_us = round(rec.valid_until.timestamp() * 1e6)
        return max(GOOD_LEAST_S, (self.parts.feed.clock.wall_us(end_us, now_us) - now_us) / 1e6)

    def _decide(self, request: Request, rec: Recommendation) -> None:
        decision = self.parts.effects.decide(rec, lambda: self.parts.store.settle(request))
        if decision.allowed or (rec.task not in self.last and rec.reasons):
            self.last[rec.task] = self._words(rec)

    def _words(self, rec: Recommendation) -> str:
        """The two main reasons; a task of the whole line names its machines itself."""
        text = "; ".join(r.text for r in rec.reasons[:2])
        whole_line = self._tasks[rec.task].inputs.scope is Scope.LINE
        return text if whole_line else f"{rec.equipment_id}: {text}"

    def _settle(self, request: Request, outcome: Outcome, reason: str = "") -> bool:
        self.parts.store.settle(request)
        return self.parts.ledger.task(request.task).settle(request.id, outcome, reason)
