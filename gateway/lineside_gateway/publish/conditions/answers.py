"""What an operator answers to a recommendation, and who takes the answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from lineside_plugins.types import Recommendation


class Verdict(StrEnum):
    """The operator's word."""

    ACCEPT = "accept"
    REJECT = "reject"
    ACKNOWLEDGE = "acknowledge"
    CONFIRM = "confirm"
    COMMENT = "comment"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; ``at`` is wall time, UTC. ``comment`` says why."""

    verdict: Verdict
    rec: Recommendation
    user: str
    comment: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AlarmAnswer:
    """One answer to a drift alarm; there is no advice to accept."""

    verdict: Verdict
    task: str
    equipment_id: str
    tag: str
    user: str
    comment: str


class Answers(Protocol):
    """Takes operators' answers: the gateway's runtime."""

    def note(self, answer: AlarmAnswer) -> str:
        """Note an answer to an alarm; a sentence where it cannot be, "" where it was."""

    def take(self, answer: Answer) -> str:
        """Note the answer and act on it; a sentence where it cannot be acted on, "" where it was."""

    async def hold(self, demoted: bool, user: str, why: str) -> None:
        """Throw the plant-wide switch; it is on disk when this returns."""


class NoAnswers:
    """Where no runtime stands behind the nodes, as in an export of the model."""

    def note(self, answer: AlarmAnswer) -> str:
        """Turn every answer down."""
        return f"nobody takes '{answer.verdict.value}' here"

    def take(self, answer: Answer) -> str:
        """Turn every answer down."""
        return f"nobody takes '{answer.verdict.value}' here"

    async def hold(self, demoted: bool, user: str, why: str) -> None:
        """Do nothing."""
