"""Carries allowed decisions to the plant: in order, once, read back, and followed until the plant has answered."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from lineside_gateway.guard.acknowledge import Request, Requests
from lineside_gateway.guard.effects import Effect, JobOrderUpdate, TagWrite
from lineside_gateway.guard.guard import Decision
from lineside_gateway.guard.refusal import Refusal
from lineside_plugins.types import Scalar

HANDSHAKE_S = 2.0  # wall clock; two PLC scans of 1 Hz
REAL_TOLERANCE = 1e-6  # relative; a Float node keeps 24 bits of a Double


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of one write: the name of its StatusCode, and the value the node held right after."""

    status: str
    read_back: Scalar = None
    detail: str = ""

    @property
    def good(self) -> bool:
        """True where the server took the value."""
        return self.status.startswith("Good")


class PlantWriter(Protocol):
    """What write-back needs of the client side. A refusal or a lost connection is an outcome, not an exception."""

    async def write(self, equipment_id: str, tag: str, value: Scalar) -> WriteOutcome:
        """Write one tag and read it back."""

    async def update_job_order(self, job_order_id: str, priority: int, equipment_id: str | None) -> WriteOutcome:
        """Call the job order receiver's Update for one order."""


class Step(StrEnum):
    """What happened to an allowed decision."""

    WRITTEN = "written"
    READ_BACK = "read_back"
    ACTED_ON = "acted_on"
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step of one decision; ``reason`` and ``text`` say why for refused and expired."""

    task: str
    equipment_id: str
    key: str
    step: Step
    reason: Refusal | None = None
    text: str = ""


@dataclass(slots=True, eq=False)
class _Progress:
    """Where a decision stands. ``open`` holds its unanswered requests, ``sent`` is True when all its writes are."""

    decision: Decision
    open: list[Request] = field(default_factory=list)
    sent: bool = False
    answers: int = 0
    turned_down: list[str] = field(default_factory=list)
    same: bool = True
    read_back: bool = False


class WriteBack:
    """Executes decisions. One lane per task and equipment, so that the writes of two decisions never mix.

    ``clock()`` is the plant's event time. ``settle`` tells the guard that a request is answered or given up.
    ``on_step`` hears every step in order; it must not block.
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
    ) -> None:
        self._writer = writer
        self._clock = clock
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
        async with self._lanes.setdefault((decision.task, decision.equipment_id), asyncio.Lock()):
            for effect in decision.effects:
                if not await self._apply(effect, progress):
                    self._give_up(progress)
                    return
            progress.sent = True
            self._report(progress, Step.WRITTEN, text=", ".join(progress.turned_down))
            if progress.same:
                self._report_read_back(progress)
            self._finish(progress)
            await self._handshake(progress)

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

    async def _apply(self, effect: Effect, progress: _Progress) -> bool:
        """Send one effect; False where it did not get through and the decision ends here."""
        request = self._requests.expect(effect, progress.decision.answer_by or datetime.max.replace(tzinfo=UTC))
        if request is not None:
            self._progress[request] = progress
            progress.open.append(request)
        sent = 0
        for write in effect.writes:
            if self._too_late(progress):
                return False
            if isinstance(write, JobOrderUpdate):
                outcome = await self._writer.update_job_order(write.job_order_id, write.priority, write.equipment_id)
            else:
                outcome = await self._writer.write(write.equipment_id, write.tag, write.value)
            if outcome.good:
                sent += 1
                progress.same &= not effect.read_back or _same(write, outcome.read_back)
                continue
            progress.turned_down.append(f"{_named(write)}: {outcome.status} {outcome.detail}".rstrip())
            if isinstance(write, TagWrite):
                break
            if request is not None:
                self._spare(request, progress)
        if sent and (sent == len(effect.writes) or isinstance(effect.writes[0], JobOrderUpdate)):
            return True
        self._report(progress, Step.REFUSED, Refusal.WRITE, ", ".join(progress.turned_down))
        return False

    def _spare(self, request: Request, progress: _Progress) -> None:
        """A refused job order does not stop the rest, and is not waited for."""
        self._requests.spare(request)
        if request.need <= 0 and request in progress.open:
            progress.open.remove(request)
            self._progress.pop(request, None)

    def _too_late(self, progress: _Progress) -> bool:
        by, now = progress.decision.write_by, self._clock()
        if by is None or now <= by:
            return False
        text = f"{(now - by).total_seconds():.1f} s after its deadline {by.isoformat()}"
        self._report(progress, Step.REFUSED, Refusal.LATE, text)
        return True

    def _finish(self, progress: _Progress) -> None:
        """Close the decision when all is sent and the plant has answered all it was going to."""
        if not progress.sent or progress.open:
            return
        self._settle(progress.decision)
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
        self._settle(progress.decision)

    async def _handshake(self, progress: _Progress) -> None:
        """Hold the lane until the PLC has taken a multi-tag request, or its scan time has passed.

        The next request overwrites the first tags (a serial number) that the PLC has yet to look at.
        """
        for request in tuple(progress.open):
            if len(request.effect.writes) > 1 and isinstance(request.effect.writes[0], TagWrite):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(request.answered.wait(), self._handshake_s)

    def _report_read_back(self, progress: _Progress) -> None:
        if not progress.read_back and any(effect.read_back for effect in progress.decision.effects):
            progress.read_back = True
            self._report(progress, Step.READ_BACK)

    def _report(self, progress: _Progress, step: Step, reason: Refusal | None = None, text: str = "") -> None:
        decision = progress.decision
        self._on_step(StepReport(decision.task, decision.equipment_id, decision.key, step, reason, text))


def _named(write: TagWrite | JobOrderUpdate) -> str:
    return write.job_order_id if isinstance(write, JobOrderUpdate) else f"{write.equipment_id}.{write.tag}"


def _same(write: TagWrite | JobOrderUpdate, held: Scalar) -> bool:
    """True where the node holds what was written; an accepted job order update is its own proof."""
    if isinstance(write, JobOrderUpdate):
        return True
    wanted = write.value
    if isinstance(wanted, float) and isinstance(held, int | float) and not isinstance(held, bool):
        return math.isclose(held, wanted, rel_tol=REAL_TOLERANCE)
    return type(held) is type(wanted) and held == wanted
