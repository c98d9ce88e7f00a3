"""What write-back needs of the client side, and the words in which it tells what became of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from lineside_gateway.guard.refusal import Refusal
from lineside_plugins.types import Scalar


class Fate(StrEnum):
    """What is known of one write after its answer, or without one."""

    TAKEN = "taken"
    REFUSED = "refused"  # the same write will be refused again
    PASSING = "passing"  # not taken now; the same write may succeed later
    UNKNOWN = "unknown"  # no answer: look at the plant before writing again


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of one write: the name of its StatusCode, and the value the node held right after."""

    status: str
    read_back: Scalar = None
    detail: str = ""
    fate: Fate = Fate.REFUSED

    @property
    def good(self) -> bool:
        """True where the server took the value."""
        return self.fate is Fate.TAKEN


def taken(read_back: Scalar, status: str = "Good", detail: str = "") -> WriteOutcome:
    """The outcome of a write the server took."""
    return WriteOutcome(status, read_back, detail, Fate.TAKEN)


class PlantWriter(Protocol):
    """What write-back needs of the client side. A refusal or a lost connection is an outcome, not an exception."""

    async def write(self, equipment_id: str, tag: str, value: Scalar) -> WriteOutcome:
        """Write one tag and read it back."""

    async def read(self, equipment_id: str, tag: str) -> Scalar:
        """What a tag holds now, None where it cannot be told."""

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
