"""What the rest of the gateway asks of the fleet, and the answers where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lineside_gateway.store import Kept


class Leading(Protocol):
    """Whether this gateway may act for a piece of equipment (or the line, by the gateway's id). Never blocks."""

    def leads(self, equipment_id: str) -> bool:
        """Whether it may write now, by its own clock."""

    def why_not(self, equipment_id: str) -> str:
        """Why it may not, in words; "" where it may."""

    def led_by_other(self, equipment_id: str) -> bool:
        """Whether another member is known to lead."""

    def hand_over(self, kept: Kept, done: Callable[[], object]) -> None:
        """Give a request of an earlier run to the member that leads; ``done`` is called when the broker has it."""


class Sole:
    """A gateway without a fleet: it leads everything, and needs no lease."""

    def leads(self, _equipment_id: str) -> bool:
        """Always."""
        return True

    def why_not(self, _equipment_id: str) -> str:
        """Nothing."""
        return ""

    def led_by_other(self, _equipment_id: str) -> bool:
        """Never."""
        return False

    def hand_over(self, kept: Kept, _done: Callable[[], object]) -> None:
        """Nobody would take it."""
        raise AssertionError(f"no fleet to hand {kept.request.equipment_id} to")
