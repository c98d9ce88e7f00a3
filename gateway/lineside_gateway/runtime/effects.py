"""What a published recommendation does to the plant: decided by the guard, audited, carried out, shown on its nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import datetime
from typing import Any

from lineside_gateway.audit import AuditError, AuditLog
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.guard import Guard
from lineside_gateway.guard.journal import Remembered
from lineside_gateway.guard.refusal import Refusal, Refused
from lineside_gateway.guard.steps import Step, StepReport
from lineside_gateway.guard.write_back import WriteBack
from lineside_gateway.ledger import Effect, Ledger
from lineside_gateway.publish import HostedServer, State
from lineside_plugins.types import Recommendation

logger = logging.getLogger(__name__)

CANCEL_AGAIN_S = 1.0

_EFFECTS = {Step.WRITTEN: Effect.WRITTEN, Step.READ_BACK: Effect.READ_BACK, Step.ACTED_ON: Effect.ACTED_ON}
_STATES = {
    Step.WRITTEN: State.WRITTEN,
    Step.ACTED_ON: State.ACKNOWLEDGED,
    Step.REFUSED: State.REFUSED,
    Step.EXPIRED: State.EXPIRED,
}
_STAYS_PROPOSED = {Refusal.MODE, Refusal.NO_EFFECT, Refusal.OPERATOR, Refusal.DEMOTED, Refusal.LEASE}
"""Refusals after which a recommendation is still a proposal to people; all others turn its state to refused."""


class Effects:
    """Between pipeline and plant, on the event loop. ``clock()`` is the plant's event time."""

    def __init__(
        self,
        guard: Guard,
        hosted: HostedServer,
        ledger: Ledger,
        audit: AuditLog,
        clock: Callable[[], datetime],
    ) -> None:
        self.write_back: WriteBack | None = None
        self.on_effect: Callable[[StepReport], object] = lambda _report: None
        self._guard = guard
        self._hosted = hosted
        self._ledger = ledger
        self._audit = audit
        self._clock = clock
        self._running: set[asyncio.Task[object]] = set()

    def decide(self, rec: Recommendation, then: Callable[[], None] = lambda: None) -> Decision:
        """Ask the guard about ``rec``, note its answer, and start what it allows.

        ``then`` is called when the guard's journal holds what is allowed, or nothing is.
        """
        return self._follow(rec, self._guard.decide(rec, self._clock()), then)

    def resume(self, remembered: Remembered, *, again: bool = True) -> None:
        """Take up what an earlier run, or another gateway, had begun; ``again`` as in ``WriteBack.resume``."""
        assert self.write_back is not None  # noqa: S101 - the gateway sets it before anything runs
        decision = remembered.decision
        self.note("resumed", task=decision.task, equipment_id=decision.equipment_id, key=decision.key)
        self._start(self.write_back.resume(remembered, again=again), f"resume {decision.key}")

    @property
    def busy(self) -> int:
        """Decisions and states that are being carried out."""
        return len(self._running)

    async def run(self) -> None:
        """Until cancelled; then what is under way ends before the connections it would open again are closed."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.cancel()

    async def cancel(self) -> None:
        """Stop where it stands; what was begun is resumed by the next run."""
        while running := {task for task in self._running if not task.done()}:
            for task in running:
                task.cancel()
            # Python 3.11's wait_for, which the client side uses, may swallow a cancellation: ask again.
            await asyncio.wait(running, timeout=CANCEL_AGAIN_S)

    def accept(self, rec: Recommendation, comment: str) -> str:
        """An operator's yes: in mode confirm it is written, through the guard; a sentence where it comes to nothing."""
        self._show(rec.key, State.ACCEPTED, comment, only=State.PROPOSED)
        if not self._guard.waits(rec.task):
            return ""  # in the other modes an answer is noted, and changes nothing at the plant
        decision = self._guard.accept(rec.key, self._clock())
        if decision is None:
            return f"{rec.key} does not wait for an answer"
        followed = self._follow(rec, decision)
        return "" if followed.refused is None else followed.refused.text

    def reject(self, rec: Recommendation, comment: str) -> None:
        """An operator's no."""
        self._guard.reject(rec.key)
        self._show(rec.key, State.REJECTED, comment, only=State.PROPOSED)

    def note(self, event: str, **fields: object) -> bool:
        """Write one audit line; False, and an error in the log, where the disk takes none."""
        try:
            self._audit.append(event, **fields)
        except AuditError as e:
            logger.error("audit_fails %s", e.sentence)  # noqa: TRY400 - the sentence says all
            return False
        return True

    def on_step(self, report: StepReport) -> None:
        """A step of an allowed decision: audited, counted, shown on its nodes."""
        ledger = self._ledger.task(report.task)
        self.note("step", **asdict(report))
        self.on_effect(report)
        if report.step in _EFFECTS:
            ledger.effect(_EFFECTS[report.step])
        elif report.reason is not None:
            ledger.withhold(report.reason.value)
            logger.warning("effect_%s key=%s why=%s", report.step.value, report.key, report.text)
        if report.step in _STATES:
            self._show(report.key, _STATES[report.step], report.text if report.reason else "")

    def _follow(self, rec: Recommendation, decision: Decision, then: Callable[[], None] = lambda: None) -> Decision:
        refused = decision.refused
        if refused is None and not self._note_decision(decision):
            refused = Refused(Refusal.JOURNAL, "the audit log takes no line; free the disk")
        elif refused is not None and (refused.code is not Refusal.MODE or self._guard.asks(rec)):
            self._note_decision(decision)
        if refused is None:
            assert self.write_back is not None  # noqa: S101 - the gateway sets it before anything runs
            self._start(self._execute(self.write_back, decision, then), f"write {rec.key}")
            return decision
        then()
        if refused.code not in {Refusal.MODE, Refusal.NO_EFFECT}:
            self._ledger.task(rec.task).withhold(refused.code.value)
        if refused.code is Refusal.STANDING:
            self._show(rec.key, State.WRITTEN, refused.text)
        elif refused.code not in _STAYS_PROPOSED:
            self._show(rec.key, State.REFUSED, refused.text)
        return decision

    async def _execute(self, write_back: WriteBack, decision: Decision, then: Callable[[], None]) -> None:
        await write_back.execute(decision)
        then()

    def _note_decision(self, decision: Decision) -> bool:
        """One line for every decision; none for advice that asks nothing of a binding that may not write anyway."""
        refused = decision.refused
        return self.note(
            "decision",
            task=decision.task,
            equipment_id=decision.equipment_id,
            key=decision.key,
            plant_time=self._clock(),
            allowed=decision.allowed,
            reason=refused.code.value if refused else "",
            text=refused.text if refused else "",
            writes=[asdict(w) for w in decision.writes],
        )

    def _show(self, key: str, state: State, why: str, *, only: State | None = None) -> None:
        self._start(self._hosted.set_state(key, state, why, only=only), f"state {key}")

    def _start(self, work: Coroutine[Any, Any, object], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
