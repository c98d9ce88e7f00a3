"""Setup times as the machines show them: master data from the configuration, corrected by what is seen to happen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lineside_plugins.tasks.schedule.situation import State, minutes

MAX_GAP = timedelta(minutes=3)
"""Windows further apart than this say too little about when a setup began or ended."""
BLEND = 0.5  # weight of the newest setup between the same two families
BOUND = 20.0  # a setup this many times longer or shorter than its nominal time was something else


@dataclass(frozen=True, slots=True)
class _Glance:
    """One machine at one window's end; ``began`` and ``before`` are those of the setup that goes on."""

    at: datetime
    state: int
    family: int
    began: datetime | None = None
    before: int = -1


@dataclass
class SetupTimes:
    """Minutes of setup from row to column family, one matrix for the parallel machines. Mutable, one thread.

    A setup counts from the first window that shows it to the first that shows the machine running; both are late by
    half a window on average, so the difference is not. Pairs of families not seen yet follow those that were: their
    nominal times are scaled by the geometric mean of shown to nominal.
    """

    nominal: tuple[tuple[float, ...], ...]
    _shown: dict[tuple[int, int], float] = field(default_factory=dict)
    _last: dict[str, _Glance] = field(default_factory=dict)

    def observe(self, machine: str, now: datetime, state: int, family: int) -> None:
        """Take in one machine at one window; windows come in order of time."""
        last = self._last.get(machine)
        glance = _Glance(now, state, family)
        if last is not None and timedelta(0) < now - last.at <= MAX_GAP:
            if state == State.SETUP and last.state == State.SETUP:
                glance = _Glance(now, state, family, last.began, last.before)
            elif state == State.SETUP:
                glance = _Glance(now, state, family, now, last.family)
            elif state == State.RUNNING and last.state == State.SETUP and last.began is not None:
                self._learn(last.before, family, minutes(now - last.began))
        self._last[machine] = glance

    def _learn(self, before: int, after: int, shown_min: float) -> None:
        if not (0 <= before < len(self.nominal) and 0 <= after < len(self.nominal)):
            return
        nominal = self.nominal[before][after]
        if nominal / BOUND <= shown_min <= max(nominal, 1.0) * BOUND:
            known = self._shown.get((before, after), shown_min)
            self._shown[before, after] = known + BLEND * (shown_min - known)

    def matrix(self) -> tuple[tuple[float, ...], ...]:
        """Minutes of setup as known now."""
        ratios = [
            math.log(m / self.nominal[a][b]) for (a, b), m in self._shown.items() if a != b and self.nominal[a][b] > 0
        ]
        scale = math.exp(sum(ratios) / len(ratios)) if ratios else 1.0
        return tuple(
            tuple(self._shown.get((a, b), m if a == b else m * scale) for b, m in enumerate(row))
            for a, row in enumerate(self.nominal)
        )
