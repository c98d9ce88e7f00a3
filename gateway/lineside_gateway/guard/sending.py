"""Sends one write until the plant has taken it, refused it for good, or its time is over.

A write without an answer is in doubt: the plant is asked before anything is sent again, so that a write in flight
across a reconnect or a restart is neither lost nor doubled.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from lineside_gateway.guard.effects import JobOrderUpdate, TagWrite, Write
from lineside_gateway.guard.envelope import instant
from lineside_gateway.guard.refusal import Refusal, Refused
from lineside_gateway.guard.steps import Fate, PlantWriter, WriteOutcome, taken
from lineside_plugins.types import Scalar

RETRY_FIRST_S = 0.1  # wall clock, doubled up to RETRY_MOST_S
RETRY_MOST_S = 2.0
PATIENCE_MOST_S = 600.0  # wall clock; event time stands still while a server is away, so it cannot end the wait alone
REAL_TOLERANCE = 1e-6  # relative; a Float node keeps 24 bits of a Double

Evidence = Callable[[], Awaitable[bool | None]]
"""Whether the plant has already acted on the effect: True, False, or None where it cannot be told now."""


def not_held(_equipment_id: str) -> Refused | None:
    """Nothing holds writes back."""
    return None


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms the writes of a decision are sent.

    ``write_by`` is event time. ``doubt``: they may have been sent before. ``again``: if the plant shows nothing of
    them then, they are sent (again); else they are refused, for whoever began them may still be sending.
    """

    equipment_id: str
    write_by: datetime | None
    doubt: bool = False
    again: bool = True


@dataclass(frozen=True, slots=True)
class Sender:
    """``clock()`` is the plant's event time; ``held(equipment_id)`` says why nothing may be written at present.

    ``silent(equipment_id)`` says why its PLC is not to be relied on: a tag of it is not written until it is again.
    """

    writer: PlantWriter
    clock: Callable[[], datetime]
    held: Callable[[str], Refused | None] = not_held
    silent: Callable[[str], str] = lambda _equipment: ""

    async def send(self, write: Write, terms: Terms, acted: Evidence) -> WriteOutcome | Refused:
        """The last outcome of ``write``, or why it was not sent (any more)."""
        pause, until = RETRY_FIRST_S, time.monotonic() + self._patience_s(terms.write_by)
        outcome = WriteOutcome("BadNoCommunication", fate=Fate.UNKNOWN if terms.doubt else Fate.PASSING)
        while True:
            stopped = self._stopped(write, terms)
            if stopped is not None:
                return stopped
            if outcome.fate is Fate.UNKNOWN:
                found = await self._found(write, acted)
                if isinstance(found, WriteOutcome):
                    return found
                outcome = WriteOutcome(outcome.status, detail=outcome.detail, fate=found)
                stopped = self._stopped(write, terms)  # looking took its time
                if stopped is None and found is Fate.PASSING and not terms.again:
                    stopped = Refused(
                        Refusal.IN_DOUBT, "begun by a gateway that was lost; the plant shows nothing of it"
                    )
                if stopped is not None:
                    return stopped
            silence = self._silence(write)
            if outcome.fate is Fate.PASSING and not silence:
                outcome = await self._once(write)
            if outcome.fate in {Fate.TAKEN, Fate.REFUSED} or time.monotonic() >= until:
                return Refused(Refusal.SILENT, silence) if silence else outcome
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_MOST_S)

    def _silence(self, write: Write) -> str:
        return self.silent(write.equipment_id) if isinstance(write, TagWrite) else ""

    def _stopped(self, write: Write, terms: Terms) -> Refused | None:
        now, held, write_by = self.clock(), self.held(terms.equipment_id), terms.write_by
        if held is not None:
            return held
        if write_by is None or now <= write_by:
            return None
        late_s, silence = (now - write_by).total_seconds(), self._silence(write)
        if silence:
            return Refused(Refusal.SILENT, f"{silence}; its deadline {write_by.isoformat()} has passed")
        return Refused(Refusal.LATE, f"{late_s:.1f} s after its deadline {write_by.isoformat()}")

    def _patience_s(self, write_by: datetime | None) -> float:
        if write_by is None:
            return 0.0
        return min(max(0.0, (write_by - self.clock()).total_seconds()), PATIENCE_MOST_S)

    async def _once(self, write: Write) -> WriteOutcome:
        if isinstance(write, JobOrderUpdate):
            return await self.writer.update_job_order(write.job_order_id, write.priority, write.equipment_id)
        return await self.writer.write(write.equipment_id, write.tag, write.value)

    async def _found(self, write: Write, acted: Evidence) -> WriteOutcome | Fate:
        """The outcome where the plant shows that the write arrived; PASSING where it did not, UNKNOWN where unsure."""
        if isinstance(write, JobOrderUpdate):
            return Fate.PASSING  # the same priority and assignment twice is the same as once
        held = await self.writer.read(write.equipment_id, write.tag)
        if held is None:
            return Fate.UNKNOWN
        if same(write, held):
            return taken(held, detail="found at the plant after the answer was lost")
        acted_on = await acted()
        if acted_on is None:
            return Fate.UNKNOWN
        return taken(held, detail="acted on while the answer was lost") if acted_on else Fate.PASSING


def same(write: TagWrite | JobOrderUpdate, held: Scalar) -> bool:
    """True where the node holds what was written; an accepted job order update is its own proof."""
    if isinstance(write, JobOrderUpdate):
        return True
    wanted = write.value
    if isinstance(wanted, float) and isinstance(held, int | float) and not isinstance(held, bool):
        return math.isclose(held, wanted, rel_tol=REAL_TOLERANCE)
    at = instant(wanted)
    if at is not None:
        return instant(held) == at
    return type(held) is type(wanted) and held == wanted
