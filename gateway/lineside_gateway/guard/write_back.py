"""Carries allowed decisions to the plant: in order, once, read back, and followed until the plant has answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lineside_gateway.errors import LinesideError
from lineside_gateway.guard.acknowledge import Request, Requests
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.effects import Acknowledgement, Effect, JobOrderUpdate, TagWrite
from lineside_gateway.guard.journal import FencedError, Journal, NoJournal, Remembered
from lineside_gateway.guard.refusal import Refusal, Refused
from lineside_gateway.guard.sending import RETRY_FIRST_S, Evidence, Sender, Terms, not_held, same
from lineside_gateway.guard.steps import Fate, PlantWriter, Step, StepReport
from lineside_plugins.types import Scalar

HANDSHAKE_S = 2.0  # wall clock; two PLC scans of 1 Hz
COUNTED_WITHIN_S = 10.0  # wall clock; a session is taken up again within some seconds
_FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True, eq=False)
class _Progress:
    """Where a decision stands. ``open`` holds its unanswered requests, ``sent`` is True when all its writes are.

    ``requests`` has one entry per effect, None where the plant offers no acknowledgement.
    """

    decision: Decision
    requests: list[Request | None] = field(default_factory=list)
    open: list[Request] = field(default_factory=list)
    sent: bool = False
    answers: int = 0
    told: list[str] = field(default_factory=list)
    same: bool = True
    read_back: bool = False


class WriteBack:
    """Executes decisions. One lane per task and equipment, so that the writes of two decisions never mix.

    ``clock()`` is the plant's event time. ``settle`` tells the guard that a request is answered or given up.
    ``on_step`` hears every step in order; it must not block. ``held(equipment_id)`` says why nothing may be written
    there at present, ``silent(equipment_id)`` why its PLC is not to be relied on.
    ``journal`` has each decision before its first write goes out.
    """

    def __init__(
        self,
        writer: PlantWriter,
        *,
        clock: Callable[[], datetime],
        on_step: Callable[[StepReport], None],
        settle: Callable[[Decision], None] = lambda _decision: None,
        latest: Callable[[str, str], Scalar] = lambda _equipment, _tag: None,
        handshake_s: float = HANDSHAKE_S,
        journal: Journal | None = None,
        held: Callable[[str], Refused | None] = not_held,
        silent: Callable[[str], str] = lambda _equipment: "",
    ) -> None:
        self._writer = writer
        self._sender = Sender(writer, clock, held, silent)
        self._journal: Journal = journal or NoJournal()
        self._on_step = on_step
        self._settle = settle
        self._requests = Requests(latest)
        self._handshake_s = handshake_s
        self._lanes: dict[tuple[str, str], asyncio.Lock] = {}
        self._progress: dict[Request, _Progress] = {}

    async def execute(self, decision: Decision) -> None:
        """Send the writes of an allowed decision; returns when they are sent, not when the plant has answered.

        Raises:
            ValueError: The decision is not an allowed one.
        """
        if not decision.allowed:
            raise ValueError(
                f"decision on {decision.key} is refused ({decision.reason}); only allowed ones are written"
            )
        progress = _Progress(decision)
        async with self._lane(decision):
            await self._expect(progress)
            try:
                await self._journal.begin(
                    decision, tuple(None if r is None else r.answered_at for r in progress.requests)
                )
            except LinesideError as e:
                code = e.refusal if isinstance(e, FencedError) else Refusal.JOURNAL
                self._report(progress, Step.REFUSED, code, e.sentence)
                self._give_up(progress)
                return
            await self._carry_out(progress, self._terms(decision))

    async def resume(self, remembered: Remembered, *, again: bool = True) -> None:
        """Take up a decision of an earlier run where it stood: what may have been written is looked for first.

        Without ``again`` what is not found is refused, not sent: another gateway had begun it.
        """
        progress = _Progress(remembered.decision)
        async with self._lane(remembered.decision):
            await self._expect(progress, remembered.answered_at)
            if remembered.sent:
                progress.sent = True
                self._finish(progress)
                return
            await self._carry_out(progress, self._terms(remembered.decision, doubt=True, again=again))

    def on_tag(self, equipment_id: str, tag: str, value: object) -> None:
        """Take a new value of a tag: acknowledge counters and flags that fall back."""
        for request in self._requests.on_tag(equipment_id, tag, value):
            progress = self._progress.pop(request)
            progress.open.remove(request)
            progress.answers += 1
            self._finish(progress)

    def tick(self, now: datetime) -> None:
        """Give up the requests that event time ``now`` has left behind."""
        for request in self._requests.overdue(now):
            progress = self._progress.pop(request, None)
            if progress is None:  # another request of the same decision was given up a moment ago
                continue
            progress.open.remove(request)
            text = "the plant let the request fall without acting on it" if request.fallen else "no acknowledgement"
            self._give_up(progress)
            self._report(progress, Step.EXPIRED, Refusal.UNANSWERED, text)

    @property
    def waiting(self) -> int:
        """Requests the plant has not answered yet."""
        return len(self._requests)

    def _lane(self, decision: Decision) -> asyncio.Lock:
        return self._lanes.setdefault((decision.task, decision.equipment_id), asyncio.Lock())

    async def _expect(self, progress: _Progress, answered_at: Sequence[int | None] = ()) -> None:
        """Wait for the answers to all effects before the first write goes out."""
        decision = progress.decision
        for i, effect in enumerate(decision.effects):
            counter = effect.acknowledge
            if counter is not None and not answered_at and not self._requests.knows(counter):
                self._requests.note(counter, await self._counted(counter))
            earlier = answered_at[i] if i < len(answered_at) else None
            request = self._requests.expect(effect, decision.answer_by or _FOR_EVER, earlier)
            progress.requests.append(request)
            if request is not None and request.answered.is_set():
                progress.answers += 1
            elif request is not None:
                self._progress[request] = progress
                progress.open.append(request)

    def _terms(self, decision: Decision, *, doubt: bool = False, again: bool = True) -> Terms:
        return Terms(decision.equipment_id, decision.write_by, doubt, again)

    async def _counted(self, counter: Acknowledgement) -> Scalar:
        """What ``counter`` reads before the first write: without it nobody could tell, were the answer lost.

        None where the plant does not say within the time of a reconnect.
        """
        until = time.monotonic() + COUNTED_WITHIN_S
        while (value := await self._writer.read(counter.equipment_id, counter.tag)) is None:
            if time.monotonic() >= until:
                return None
            await asyncio.sleep(RETRY_FIRST_S)
        return value

    async def _carry_out(self, progress: _Progress, terms: Terms) -> None:
        for effect, request in zip(progress.decision.effects, progress.requests, strict=True):
            if not await self._apply(effect, request, progress, terms):
                self._give_up(progress)
                return
        progress.sent = True
        self._journal.sent(progress.decision.key)
        self._report(progress, Step.WRITTEN, text=", ".join(progress.told))
        if progress.same:
            self._report_read_back(progress)
        self._finish(progress)
        await self._handshake(progress)

    async def _apply(self, effect: Effect, request: Request | None, progress: _Progress, terms: Terms) -> bool:
        """Send one effect; False where it did not get through and the decision ends here."""
        sent, acted = 0, self._evidence(effect, request)
        for write in effect.writes:
            outcome = await self._sender.send(write, terms, acted)
            if isinstance(outcome, Refused):
                self._report(progress, Step.REFUSED, outcome.code, outcome.text)
                return False
            if outcome.good:
                sent += 1
                progress.same &= not effect.read_back or same(write, outcome.read_back)
                if outcome.detail:
                    progress.told.append(f"{_named(write)}: {outcome.detail}")
                continue
            why = {Fate.PASSING: "still refused at its deadline", Fate.UNKNOWN: "no answer until its deadline"}
            told = f"{_named(write)}: {outcome.status} {why.get(outcome.fate, '')} {outcome.detail}"
            progress.told.append(" ".join(told.split()))
            if isinstance(write, TagWrite):
                break
            if request is not None:
                self._spare(request, progress)
        if sent and (sent == len(effect.writes) or isinstance(effect.writes[0], JobOrderUpdate)):
            return True
        self._report(progress, Step.REFUSED, Refusal.WRITE, ", ".join(progress.told))
        return False

    def _evidence(self, effect: Effect, request: Request | None) -> Evidence:
        """How to tell, after an answer was lost, whether the plant has acted; without a counter it has not."""
        counter = effect.acknowledge

        async def acted() -> bool | None:
            if counter is None or request is None:
                return False
            return request.acted(await self._writer.read(counter.equipment_id, counter.tag))

        return acted

    def _spare(self, request: Request, progress: _Progress) -> None:
        """A refused job order does not stop the rest, and is not waited for."""
        self._requests.spare(request)
        if request.need <= 0 and request in progress.open:
            progress.open.remove(request)
            self._progress.pop(request, None)

    def _finish(self, progress: _Progress) -> None:
        """Close the decision when all is sent and the plant has answered all it was going to."""
        if not progress.sent or progress.open:
            return
        self._settled(progress)
        if progress.answers:
            self._report_read_back(progress)
            self._report(progress, Step.ACTED_ON)
        elif not progress.same:
            self._report(progress, Step.REFUSED, Refusal.READ_BACK, "the node holds another value than was written")

    def _give_up(self, progress: _Progress) -> None:
        for request in progress.open:
            self._requests.withdraw(request)
            self._progress.pop(request, None)
        progress.open.clear()
        self._settled(progress)

    def _settled(self, progress: _Progress) -> None:
        self._journal.settled(progress.decision.key)
        self._settle(progress.decision)

    async def _handshake(self, progress: _Progress) -> None:
        """Hold the lane until the PLC has taken a multi-tag request, or its scan time has passed.

        The next request overwrites the first tags (a serial number) that the PLC has yet to look at.
        """
        for request in tuple(progress.open):
            if len(request.effect.writes) > 1 and isinstance(request.effect.writes[0], TagWrite):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._handshake_s):
                        await request.answered.wait()

    def _report_read_back(self, progress: _Progress) -> None:
        if not progress.read_back and any(effect.read_back for effect in progress.decision.effects):
            progress.read_back = True
            self._report(progress, Step.READ_BACK)

    def _report(self, progress: _Progress, step: Step, reason: Refusal | None = None, text: str = "") -> None:
        decision = progress.decision
        self._on_step(StepReport(decision.task, decision.equipment_id, decision.key, step, reason, text))


def _named(write: TagWrite | JobOrderUpdate) -> str:
    return write.job_order_id if isinstance(write, JobOrderUpdate) else f"{write.equipment_id}.{write.tag}"
