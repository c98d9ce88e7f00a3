"""From records to a Problem: what the gateway sees of the line at the end of a window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from lineside_plugins.tasks.schedule.config import ScheduleConfig
from lineside_plugins.tasks.schedule.problem import Machine, Order, Problem
from lineside_plugins.types import Record

CLOSED = frozenset({"Running", "Ended", "Aborted", "NotAllowedToStart"})
"""States of OPC 10031-4 in which a job order is not ours to move."""
FORECAST_VALID = timedelta(minutes=30)
MINUTES_LEFT_SHARE = 0.25  # of a stop that has outlasted its mean: lognormal repairs have a long tail


class State(IntEnum):
    """Values of the State tag that say when a machine is free."""

    IDLE = 0
    RUNNING = 1
    SETUP = 2
    BLOCKED = 3
    TRIPPED = 4
    FAILED = 5
    MAINTENANCE = 6
    TOOL_CHANGE = 7


@dataclass(frozen=True, slots=True)
class View:
    """The records of one window, by what they describe. Times are aware, UTC."""

    now: datetime
    orders: tuple[Record, ...]
    equipment: Mapping[str, Record]
    forecasts: Mapping[str, Record]
    stopped_since: Mapping[str, datetime]

    @classmethod
    def of(cls, now: datetime, records: Mapping[str, tuple[Record, ...]]) -> View:
        """Sort the rows of each stream; of several rows for one piece of equipment the newest counts."""
        stops: dict[str, datetime] = {}
        for row in records.get("events", ()):
            if row.get("kind") in {"failure", "tool_break", "trip"}:
                stops[str(row.get("equipment_id"))] = parse_time(row.get("time"), now)
        return cls(
            now=now,
            orders=records.get("job_orders", ()),
            equipment={str(r.get("equipment_id")): r for r in records.get("equipment", ())},
            forecasts={str(r.get("equipment_id")): r for r in records.get("recommendations/maintenance", ())},
            stopped_since=stops,
        )

    def state(self, machine: str) -> int:
        """The State tag, IDLE when it is missing."""
        return round(number(self.equipment.get(machine, {}).get("State"), State.IDLE))

    def open_orders(self) -> list[Record]:
        """Job orders that can still be moved, by id."""
        rows = [r for r in self.orders if str(r.get("state")) not in CLOSED]
        return sorted(rows, key=lambda r: str(r.get("job_order_id")))

    def agreed(self, machines: Iterable[str]) -> tuple[tuple[str, ...], ...]:
        """Ids of the open job orders the MES will run on each machine by priority, in sequence."""
        rows = self.open_orders()
        return tuple(tuple(str(rows[i].get("job_order_id")) for i in agreed_sequence(rows, m)) for m in machines)

    def running(self, machine: str) -> Record | None:
        """The job order that runs on ``machine``."""
        rows = (r for r in self.orders if str(r.get("state")) == "Running" and r.get("equipment") == machine)
        return max(rows, key=lambda r: str(r.get("time")), default=None)


@dataclass(frozen=True, slots=True)
class Line:
    """The plant's constants as far as known now: configuration, with cycle and setup times as the machines showed them.

    ``parts_since`` is how many parts each machine has made since its running job order was listed.
    """

    config: ScheduleConfig
    cycle_min: tuple[float, ...]
    setup_min: tuple[tuple[float, ...], ...]
    parts_since: Mapping[str, float]

    def problem(self, view: View) -> tuple[Problem, tuple[Record, ...]]:
        """The Problem and its job orders' records, index by index; job orders of an unknown family are left out."""
        rows = tuple(r for r in view.open_orders() if self.family(r.get("family")) is not None)
        orders = tuple(self._order(r, view.now) for r in rows)
        agreed = tuple(agreed_sequence(rows, machine) for machine in self.config.machines)
        machines = [self._machine(m, view) for m in self.config.machines]
        last = sum(o.minutes for o in orders) + max(m.free for m in machines)
        return (
            Problem(
                orders=orders,
                machines=tuple(m if m.window and m.window[0] <= last else replace(m, window=None) for m in machines),
                setup=tuple(tuple(round(x) for x in row) for row in self.setup_min),
                first_setup=round(self.config.first_setup_min),
                agreed=agreed,
                weights=self.config.prices.weights(),
            ),
            rows,
        )

    def family(self, value: object) -> int | None:
        """Index of a family given by its work master or its ActiveFamily number; None if neither is known."""
        if isinstance(value, str):
            return self.config.families.index(value) if value in self.config.families else None
        at = round(number(value, -1))
        return at if 0 <= at < len(self.config.families) else None

    def _order(self, row: Record, now: datetime) -> Order:
        family = self.family(row.get("family")) or 0
        parts = number(row.get("remaining"), number(row.get("quantity"), 0))
        due = minutes(parse_time(row.get("due"), now) - now) - self.config.downstream_min
        return Order(str(row.get("job_order_id")), family, max(1, self._work(parts, family)), math.floor(due))

    def _work(self, parts: float, family: int) -> int:
        return math.ceil(parts * self.cycle_min[family] / self.config.availability)

    def _machine(self, name: str, view: View) -> Machine:
        row, config = view.equipment.get(name, {}), self.config
        running, free = view.running(name), 0.0
        family = self.family(row.get("ActiveFamily"))
        if running is not None:
            family = self.family(running.get("family")) if family is None else family
            left = max(0.0, number(running.get("remaining"), 0) - self.parts_since.get(name, 0.0))
            free = self._work(left, family or 0)
            free += config.first_setup_min / 2 if view.state(name) == State.SETUP else 0.0
        free += self._stop_minutes(name, view)
        free += max((share * self._stop_minutes(m, view) for m, share in config.line_stops.items()), default=0.0)
        return Machine(name, family, math.ceil(free), self._window(name, view))

    def _stop_minutes(self, name: str, view: View) -> float:
        """Expected minutes until ``name`` works again."""
        config, state = self.config, view.state(name)
        mean = {
            State.FAILED: 60 * config.repair_h,
            State.MAINTENANCE: 60 * config.maintenance_h,
            State.TRIPPED: 60 * config.short_stop_h,
        }.get(State(state) if state in set(State) else State.IDLE)
        if mean is None:
            return 0.0
        since = view.stopped_since.get(name) if state != State.MAINTENANCE else None
        elapsed = minutes(view.now - since) if since is not None else 0.0
        return max(mean - elapsed, MINUTES_LEFT_SHARE * mean)

    def _window(self, name: str, view: View) -> tuple[int, int] | None:
        """When maintenance of ``name`` is asked for, minutes from now, and how long it takes."""
        row = view.forecasts.get(name)
        if row is None or view.state(name) in {State.FAILED, State.MAINTENANCE}:
            return None
        if view.now - parse_time(row.get("time"), view.now) > FORECAST_VALID:
            return None
        length = round(60 * self.config.maintenance_h)
        if row.get("flag"):
            return 0, length
        if not row.get("predicted_time"):
            return None
        return max(0, math.floor(minutes(parse_time(row.get("predicted_time"), view.now) - view.now))), length


def agreed_sequence(rows: Iterable[Record], machine: str) -> tuple[int, ...]:
    """Indices of the job orders the MES has assigned to ``machine`` with a priority, in the sequence it will take."""
    found = [
        (-number(r.get("priority"), 0), str(r.get("due")), i)
        for i, r in enumerate(rows)
        if r.get("equipment") == machine and number(r.get("priority"), 0) > 0
    ]
    return tuple(i for _, _, i in sorted(found))


def number(value: object, default: float) -> float:
    """``value`` as a finite float, else ``default``."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default


def minutes(span: timedelta) -> float:
    """Length of ``span`` in minutes."""
    return span / timedelta(minutes=1)


def parse_time(value: object, default: datetime) -> datetime:
    """ISO 8601 text as an aware time, UTC when it names no offset; ``default`` when it is none."""
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return default
    return time if time.tzinfo else time.replace(tzinfo=UTC)
