"""Plant time by the wall clock: a factor, and what happens when the machine is too slow for it."""

from __future__ import annotations

_LATE_S = 1.0
_LONGEST_STEP_S = 0.5


class Pace:
    """Maps wall time (monotonic seconds) to plant time, ``speed`` times as fast.

    A plant that falls more than a second behind gives the delay up instead of racing after it.
    """

    def __init__(self, speed: float, plant_s: float, wall_s: float) -> None:
        self.speed = speed
        self.given_up_s = 0.0
        self._plant_s = plant_s
        self._wall_s = wall_s

    def target(self, wall_s: float, now_s: float) -> float:
        """Plant time to advance to at ``wall_s``, when the plant stands at ``now_s``."""
        due_s = self._plant_s + self.speed * (wall_s - self._wall_s)
        behind_s = (due_s - now_s) / self.speed
        if behind_s > _LATE_S:
            self.given_up_s += behind_s - _LONGEST_STEP_S
            self._plant_s, self._wall_s = now_s, wall_s - _LONGEST_STEP_S
            due_s = now_s + self.speed * _LONGEST_STEP_S
        return due_s
