"""The guard's answer to one recommendation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lineside_gateway.guard.effects import Effect, Write
from lineside_gateway.guard.refusal import Refusal, Refused


@dataclass(frozen=True, slots=True)
class Decision:
    """``effects`` is empty unless allowed; all times are event time, ``write_by`` bounds the last write.

    ``rules`` numbers the ``write:`` rule of each effect, ``decided`` is when it was allowed.
    """

    allowed: bool
    task: str
    equipment_id: str
    key: str
    refused: Refused | None = None
    effects: tuple[Effect, ...] = ()
    write_by: datetime | None = None
    answer_by: datetime | None = None
    rules: tuple[int, ...] = ()
    decided: datetime | None = None

    @property
    def writes(self) -> tuple[Write, ...]:
        """All writes in the order they are to be sent."""
        return tuple(w for e in self.effects for w in e.writes)

    @property
    def reason(self) -> Refusal | None:
        """The code of the refusal; None where allowed."""
        return None if self.refused is None else self.refused.code
