"""What the plant writes down: events for the MES, changes of tags, and the journal that holds them until drained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from numpy import float32
from numpy.typing import NDArray

PLANT_EPOCH = datetime(2026, 1, 5, 6, 0, 0, tzinfo=UTC)
"""Plant time 0 s."""
EPOCH_US = int(PLANT_EPOCH.timestamp()) * 1_000_000

TagValue: TypeAlias = float | int | bool | str | NDArray[float32] | Callable[[], bytes]


def time_us(plant_s: float) -> int:
    """Microseconds since 1970-01-01 UTC of plant time ``plant_s``."""
    return EPOCH_US + round(plant_s * 1e6)


class EventKind(StrEnum):
    """The ``Kind`` field of a plant event."""

    FAILURE = "failure"
    REPAIR = "repair"
    MAINTENANCE = "maintenance"
    TRIP = "trip"
    TOOL_BREAK = "tool_break"
    TOOL_CHANGE = "tool_change"
    INSPECTION = "inspection"
    JOB_ORDER_STARTED = "job_order_started"
    JOB_ORDER_ENDED = "job_order_ended"


@dataclass(frozen=True, slots=True)
class PlantEvent:
    """Something that happened, as the MES reports it. ``time`` is microseconds since 1970, UTC.

    ``value`` is the measured deviation in um for an inspection, the duration in h for repair, maintenance and trip,
    the quantity for a job order; ``mode`` is what the crew found (bearing, lubrication or nothing). An inspection
    names the mill that made the part; a job-order event carries the order's id in ``text``.
    """

    time: int
    kind: EventKind
    equipment_id: str
    serial_no: str = ""
    mode: str = ""
    value: float = 0.0
    porous: bool = False
    defect: bool = False
    text: str = ""


class TagChange(NamedTuple):
    """A tag of one machine took a new value. ``time`` is microseconds since 1970, UTC.

    A callable value (SurfaceImage) renders the bytes when called; calling it again gives the same bytes.
    """

    time: int
    tag: str
    value: TagValue


class Journal:
    """Holds events and tag changes until they are drained. Tag changes are kept only while ``observing``."""

    def __init__(self, machines: tuple[str, ...]) -> None:
        self.observing = False
        self.events: list[PlantEvent] = []
        self.changes: dict[str, list[TagChange]] = {m: [] for m in machines}
        self.job_orders_changed = True

    def change(self, machine: str, at_s: float, tag: str, value: TagValue) -> None:
        """Note a new value of ``tag`` at plant time ``at_s``."""
        if self.observing:
            self.changes[machine].append(TagChange(time_us(at_s), tag, value))

    def take_changes(self, machine: str, until_us: int) -> list[TagChange]:
        """Hand out and forget the changes up to ``until_us``, in time order."""
        changes = self.changes[machine]
        changes.sort(key=_change_time)
        cut = len(changes)
        while cut and changes[cut - 1].time > until_us:
            cut -= 1
        self.changes[machine] = changes[cut:]
        return changes[:cut]

    def take_events(self) -> list[PlantEvent]:
        """Hand out and forget the events."""
        events, self.events = self.events, []
        return events


def _change_time(change: TagChange) -> int:
    return change.time
