"""What the plant was asked for and has not answered yet. No I/O: tag values and event time are passed in."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lineside_gateway.guard.effects import Acknowledgement, Effect, TagWrite
from lineside_plugins.types import Scalar

FALL_GRACE_S = (
    60.0  # event time in which the counter may follow a flag that has fallen: a PLC writes both within a scan
)


@dataclass(slots=True, eq=False)
class Request:
    """One effect sent to the plant. ``need`` counts the steps of the counter still to come.

    ``answered_at`` is the count at which the plant has acted on it, None where the counter is not known.
    """

    effect: Effect
    answer_by: datetime
    need: int
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    fallen: bool = False
    give_up: datetime | None = None
    answered_at: int | None = None

    def acted(self, count: object) -> bool | None:
        """Whether the plant has acted, judged by what the counter reads; None where that cannot be told."""
        if self.answered.is_set():
            return True
        known = _counter(count)
        if known is None or self.answered_at is None:
            return None
        echoed = self.effect.acknowledge is not None and self.effect.acknowledge.command_id is not None
        return known == self.answered_at if echoed else known >= self.answered_at


class Requests:
    """Open requests by the counter that answers them, oldest first.

    ``latest(equipment_id, tag)`` gives the value a tag holds now, None where not known.
    """

    def __init__(self, latest: Callable[[str, str], Scalar]) -> None:
        self._latest = latest
        self._open: dict[Acknowledgement, deque[Request]] = {}
        self._counters: dict[Acknowledgement, int] = {}

    def knows(self, counter: Acknowledgement) -> bool:
        """Whether a request can wait for it already: a counter has been read, and an echoed id needs no reading."""
        return (
            counter.command_id is not None
            or counter in self._counters
            or _counter(self._latest(counter.equipment_id, counter.tag)) is not None
        )

    def note(self, counter: Acknowledgement, value: object) -> None:
        """Take what a counter reads before the first request that waits for it."""
        count = _counter(value)
        if count is not None:
            self._counters.setdefault(counter, count)

    def expect(self, effect: Effect, answer_by: datetime, answered_at: int | None = None) -> Request | None:
        """Start to wait for ``effect``, before its first write; None where the plant offers no acknowledgement.

        ``answered_at`` is given for an effect of an earlier run: the count that was waited for then.
        """
        if effect.acknowledge is None:
            return None
        request = Request(effect, answer_by, need=1 if isinstance(effect.writes[0], TagWrite) else len(effect.writes))
        waiting = self._open.setdefault(effect.acknowledge, deque())
        if effect.acknowledge.command_id is not None:
            request.need, request.answered_at = 1, effect.acknowledge.command_id
            waiting.append(request)
            return request
        self.note(effect.acknowledge, self._latest(effect.acknowledge.equipment_id, effect.acknowledge.tag))
        if answered_at is not None:
            self._counters.setdefault(effect.acknowledge, answered_at - request.need)
            request.answered_at = answered_at
            # What the plant did between the two runs is in the counter already, and will not be told again.
            done = self._counters[effect.acknowledge] - (answered_at - request.need)
            request.need -= min(max(done, 0), request.need)
            if request.need == 0:
                request.answered.set()
                return request
        elif effect.acknowledge in self._counters:
            ahead = sum(r.need for r in waiting) + request.need
            request.answered_at = self._counters[effect.acknowledge] + ahead
        waiting.append(request)
        return request

    def withdraw(self, request: Request) -> None:
        """Stop waiting: the writes did not get through."""
        if request.effect.acknowledge is not None and request in self._open.get(request.effect.acknowledge, ()):
            self._open[request.effect.acknowledge].remove(request)

    def spare(self, request: Request) -> None:
        """One step fewer to come: one of the writes was refused."""
        request.need -= 1
        if request.answered_at is not None:
            request.answered_at -= 1
        if request.need <= 0:
            self.withdraw(request)
            request.answered.set()

    def on_tag(self, equipment_id: str, tag: str, value: object) -> list[Request]:
        """Take a new value of an acknowledge counter or a written flag; the requests it answers, oldest first."""
        self._note_fall(equipment_id, tag, value)
        counter, count = Acknowledgement(equipment_id, tag), _counter(value)
        if count is None:
            return []
        done = self._echoed(Acknowledgement(equipment_id, tag, count))
        before = self._counters.get(counter)
        self._counters[counter] = count
        # A counter that is lower than before belongs to a PLC that has restarted: it starts over and answers nothing.
        return done + self._credit(counter, max(0, count - before) if before is not None else 0)

    def overdue(self, now: datetime) -> list[Request]:
        """Requests whose bound has passed, or whose flag the plant let fall a while ago; they are not waited for."""
        gone: list[Request] = []
        for waiting in self._open.values():
            for request in list(waiting):
                if request.fallen and request.give_up is None:
                    request.give_up = now + timedelta(seconds=FALL_GRACE_S)
                if now > request.answer_by or (request.give_up is not None and now > request.give_up):
                    waiting.remove(request)
                    gone.append(request)
        # A counter is waited for again and again, a command's id once.
        self._open = {answer: left for answer, left in self._open.items() if left or answer.command_id is None}
        return gone

    def __len__(self) -> int:
        """Requests that are open."""
        return sum(len(waiting) for waiting in self._open.values())

    def _credit(self, counter: Acknowledgement, steps: int) -> list[Request]:
        waiting, done = self._open.get(counter, deque()), []
        while waiting and steps:
            taken = min(steps, waiting[0].need)
            waiting[0].need -= taken
            steps -= taken
            if waiting[0].need == 0:
                done.append(waiting.popleft())
                done[-1].answered.set()
        return done

    def _echoed(self, answer: Acknowledgement) -> list[Request]:
        done = list(self._open.pop(answer, ()))
        for request in done:
            request.need = 0
            request.answered.set()
        return done

    def _note_fall(self, equipment_id: str, tag: str, value: object) -> None:
        """A raised flag that reads False: taken, or turned down. The counter tells which, so it gets a grace."""
        if value is not False:
            return
        for waiting in self._open.values():
            for request in waiting:
                if TagWrite(equipment_id, tag, True) in request.effect.writes:
                    request.fallen = True


def _counter(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value)
