"""What the task remembers from one window to the next: parts made, times shown, and the last schedule's cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from lineside_plugins.tasks.schedule.config import ScheduleConfig
from lineside_plugins.tasks.schedule.setups import SetupTimes
from lineside_plugins.tasks.schedule.situation import Line, State, View, number

_CYCLE_BLEND = 0.5  # weight of the newest CycleTime; it is a machine's own count, so it needs little smoothing
_CYCLE_BOUND = 2.0  # a CycleTime further than this factor from the nominal one is a stop or a wrong family

Cause = tuple[object, ...]
Sequences = tuple[tuple[str, ...], ...]


@dataclass
class Memory:
    """One line's memory, for one task object and so one thread. A restart loses it, one job order rebuilds it."""

    config: ScheduleConfig
    cycle_min: list[float] = field(init=False)
    setups: SetupTimes = field(init=False)
    _counted: dict[str, tuple[object, float]] = field(default_factory=dict)
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _cause: Cause | None = None
    _expected: tuple[Sequences, ...] = ()
    _solved_at: datetime | None = None

    def __post_init__(self) -> None:
        """Start from the nominal cycle and setup times."""
        self.cycle_min = list(self.config.cycle_min)
        self.setups = SetupTimes(self.config.setup_min)

    def observe(self, view: View) -> Line:
        """Take in a window; the line as it is known now."""
        since: dict[str, float] = {}
        for name in self.config.machines:
            row, order = view.equipment.get(name, {}), view.running(name)
            made = number(row.get("PartCount"), 0)
            family = round(number(row.get("ActiveFamily"), -1))
            listed = None if order is None else (order.get("job_order_id"), order.get("remaining"))
            known, count = self._counted.get(name, (None, made))
            if known != listed or made < count:
                count = made
            self._counted[name] = (listed, count)
            since[name] = made - count
            before = self._seen.get(name)
            if before is not None and before[0] == family and made > before[1] and view.state(name) == State.RUNNING:
                self._learn(family, number(row.get("CycleTime"), 0) / 60)
            self._seen[name] = (family, made)
            self.setups.observe(name, view.now, view.state(name), family)
        return Line(self.config, tuple(self.cycle_min), self.setups.matrix(), since)

    def _learn(self, family: int, shown_min: float) -> None:
        if not 0 <= family < len(self.cycle_min):
            return
        nominal = self.config.cycle_min[family]
        if nominal / _CYCLE_BOUND < shown_min < nominal * _CYCLE_BOUND:
            self.cycle_min[family] += _CYCLE_BLEND * (shown_min - self.cycle_min[family])

    def needs_schedule(self, view: View, cause: Cause, agreed: Sequences) -> bool:
        """Whether something has changed that a schedule depends on, or the last one is old.

        Our own schedule coming back as what is agreed is no change.
        """
        if self._solved_at is None or cause != self._cause or agreed not in self._expected:
            return True
        age_s = (view.now - self._solved_at).total_seconds()
        return age_s < 0 or age_s >= self.config.refresh_s

    def solved(self, view: View, cause: Cause, agreed: Sequences, proposed: Sequences) -> None:
        """Remember what the schedule of ``view`` was made from and what it proposes."""
        self._cause, self._expected, self._solved_at = cause, (agreed, proposed), view.now


def cause_of(view: View, config: ScheduleConfig) -> Cause:
    """What a schedule depends on, coarse enough that a blocked second or a moved forecast minute is no new cause."""
    down = {State.FAILED, State.MAINTENANCE}
    watched = (*config.machines, *config.line_stops)
    return (
        tuple(str(r.get("job_order_id")) for r in view.open_orders()),
        tuple(str((view.running(m) or {}).get("job_order_id")) for m in config.machines),
        tuple(view.state(m) if view.state(m) in down else -1 for m in watched),
        tuple(bool(view.forecasts.get(m, {}).get("flag")) for m in config.machines),
    )
