"""One recommendation as a condition: when it is raised, acknowledged, confirmed, and what its event says. No I/O.

Source: OPC UA Part 9, 5.5 (ConditionType) and 5.7 (AcknowledgeableConditionType).
"""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from lineside_gateway.publish.fields import State
from lineside_plugins.types import Recommendation

EVENTS_KEPT = 16  # event ids of one condition that a client may still acknowledge or comment
_OPEN = {State.PROPOSED, State.ACCEPTED, State.WRITTEN}
_SEVERITY = {True: (400, 800), False: (100, 100)}  # Part 5, 6.4.2: 1 lowest, 1000 highest


@dataclass(slots=True)
class Condition:
    """State of one condition; times are wall time, UTC. Only the hosted server's loop touches it."""

    name: str
    raised: bool = False
    acked: bool = True
    confirmed: bool = True
    state: State = State.PROPOSED
    comment: str = ""
    commented_at: datetime | None = None
    user: str = ""
    severity: int = 1
    last_severity: int = 1
    message: str = ""
    time: datetime | None = None
    event_id: bytes = b""
    _known: deque[bytes] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))

    def show(self, rec: Recommendation, *, flagged: bool, state: State, now: datetime) -> bool:
        """Take a recommendation; True where an event is due: it asks for something, or no longer does.

        A flag that stands is not to be acknowledged again each time the same advice is given anew.
        """
        before, self.raised = self.raised, flagged
        if flagged and (not before or self.state not in _OPEN):
            self.acked = self.confirmed = False
        self.state = state
        low, high = _SEVERITY[flagged]
        self.last_severity, self.severity = self.severity, round(low + (high - low) * min(max(rec.confidence, 0), 1))
        if not flagged and not before:
            return False
        reasons = "; ".join(r.text for r in rec.reasons)
        self.message = f"{rec.equipment_id}: {reasons or rec.task}" if flagged else f"{rec.equipment_id}: withdrawn"
        self._event(now)
        return True

    def alarm(self, *, active: bool, message: str, severity: int, now: datetime) -> bool:
        """Raise or end an alarm; True where an event is due: it began, ended, or is told in other words.

        An alarm that stands is not to be acknowledged again for being told in other words.
        """
        if (active, message) == (self.raised, self.message) or not (active or self.raised):
            return False
        if active and not self.raised:
            self.acked = self.confirmed = False
        self.raised, self.message = active, message
        self.last_severity, self.severity = self.severity, severity
        self._event(now)
        return True

    def move(self, state: State, now: datetime) -> bool:
        """Follow the recommendation's state; True where an event is due."""
        if not self.raised or state is self.state:
            return False
        self.state = state
        self._event(now)
        return True

    def acknowledge(self, comment: str, user: str, now: datetime) -> bool:
        """True; False where it was acknowledged before."""
        if self.acked:
            return False
        self.acked = True
        self._note(comment, user, now)
        return True

    def confirm(self, comment: str, user: str, now: datetime) -> bool:
        """True; False where it was confirmed before. Confirming acknowledges."""
        if self.confirmed:
            return False
        self.acked = self.confirmed = True
        self._note(comment, user, now)
        return True

    def add_comment(self, comment: str, user: str, now: datetime) -> None:
        """Keep a comment."""
        self._note(comment, user, now)

    def knows(self, event_id: bytes) -> bool:
        """Whether the event is one of this condition's newest."""
        return event_id in self._known

    @property
    def retain(self) -> bool:
        """Whether ConditionRefresh shows it: it asks for something, or somebody still has to confirm it."""
        return bool(self.event_id) and ((self.raised and self.state in _OPEN) or not self.confirmed)

    def _note(self, comment: str, user: str, now: datetime) -> None:
        if comment:  # Part 9, 5.7.3: an empty comment leaves the earlier one
            self.comment, self.commented_at = comment, now
        self.user = user
        self._event(now)

    def _event(self, now: datetime) -> None:
        self.time = now
        self.event_id = uuid.uuid4().bytes
        self._known.append(self.event_id)
