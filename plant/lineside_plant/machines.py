"""A machine's state, its degradation life by life, its trips and its energy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np

from lineside_plant.kpis import Ledger
from lineside_plant.spec import GRINDERS, MILLS, PlantSpec
from lineside_plant.streams import Draws, Streams

_PATH_STEP = 5e-4  # of a mean life; fine against the 1e-4 a part costs and the jumps of the gamma process
_PATH_STEPS = 6000  # three mean lives; X < 1 after them has a probability below 1e-16


class State(IntEnum):
    """The State tag. FAILED and MAINTENANCE include waiting for the crew."""

    IDLE = 0
    RUNNING = 1
    SETUP = 2
    BLOCKED = 3
    TRIPPED = 4
    FAILED = 5
    MAINTENANCE = 6
    TOOL_CHANGE = 7


class Mode(StrEnum):
    """How a life ends."""

    BEARING = "bearing"
    LUBRICATION = "lubrication"


class Stop(IntEnum):
    """Why a machine stops after a part."""

    FAILURE = 1
    TRIP = 2


def lognormal(mean: float, cv: float, z: float) -> float:
    """The log-normal value of mean ``mean`` and coefficient of variation ``cv`` at the normal quantile ``z``."""
    variance = math.log(1.0 + cv * cv)
    return mean * math.exp(math.sqrt(variance) * z - 0.5 * variance)


class Life:
    """One life of a machine, from mounting to failure or maintenance.

    The whole path of the gamma process is drawn at mounting as a function of the load taken so far, so the k-th life
    of a machine fails after the same load whatever the policy does. Source: PLANT.md, degradation X per machine.
    """

    __slots__ = ("_path", "age_h", "drift_after_h", "mode", "mount_gain", "taken", "x", "z")

    def __init__(self, spec: PlantSpec, rng: np.random.Generator) -> None:
        self.z = math.exp(spec.life_sigma * rng.standard_normal()) / spec.life_h
        self.mode = Mode.BEARING if rng.random() < spec.bearing_share else Mode.LUBRICATION
        self.mount_gain = math.exp(spec.mount_sigma * rng.standard_normal())
        self.drift_after_h = spec.drift_mtbf_h * rng.standard_exponential()
        steps = rng.gamma(_PATH_STEP / spec.gamma_scale, spec.gamma_scale, _PATH_STEPS)
        self._path: list[float] = np.append(np.cumsum(steps), np.inf).tolist()
        self.taken = 0.0
        self.age_h = 0.0
        self.x = 0.0

    def run(self, hours: float, rate: float) -> bool:
        """Age by ``hours`` of running at ``rate`` (load x v^1.5); True when X has reached 1."""
        self.age_h += hours
        self.taken += hours * rate * self.z
        step = min(int(self.taken / _PATH_STEP), _PATH_STEPS)
        if step:
            self.x = min(self._path[step - 1], 1.0)
        return self.x >= 1.0

    def sensor_gain(self, spec: PlantSpec) -> float:
        """Gain of the vibration sensor: 1 until the drift begins, then rising to ``drift_gain``."""
        return min(spec.drift_gain, 1.0 + spec.drift_per_h * max(0.0, self.age_h - self.drift_after_h))


@dataclass(frozen=True, slots=True)
class Hidden:
    """The true state of a machine, for oracles and tests. No server shows it."""

    x: float
    mode: str
    age_h: float
    wear: float
    sensor_gain: float


class Machine:
    """One machine of the line: what it does now, how worn it is, what it has used. Mutated by the line's processes."""

    def __init__(self, name: str, spec: PlantSpec, streams: Streams, ledger: Ledger) -> None:
        self.name = name
        self.spec = spec
        self.role = 0 if name in MILLS else 2 if name in GRINDERS else 1
        self._streams = streams
        self._ledger = ledger
        self._lives = 0
        self._age_draws = streams.uniform(name, "age")
        self._repair_draws = streams.normal(name, "repair")
        self._maintenance_draws = streams.normal(name, "maintenance")
        self._trip_gap_draws = streams.exponential(name, "trip")
        self._trip_draws = streams.normal(name, "trip duration")
        self.observer: Callable[[Machine], None] | None = None

        self.state = State.IDLE
        self.since_s = 0.0
        self.kw = spec.base_kw
        self.energy_kwh = 0.0
        self.counted_kwh = 0.0
        self.state_s = [0.0] * len(State)

        self.family: int | None = None
        self.load = 1.0
        self.hardness = 1.0
        self.speed = 1.0
        self.wear = 0.0
        self.part_count = 0
        self.run_h = 0.0
        self.next_trip_h = spec.trip_mtbf_h * self._trip_gap_draws()
        self.stop_end_s = -1e9
        self.stop_h = 0.0
        self.maintenance_requested = False
        self.maintenance_taken = 0
        self.rejects_taken = 0
        self.rejects_refused = 0
        self.life = self._next_life()
        self.life_age_draw = self._age_draws()

    def _next_life(self) -> Life:
        life = Life(self.spec, self._streams.generator(self.name, "life", self._lives))
        self._lives += 1
        return life

    @property
    def hidden(self) -> Hidden:
        """Its true state now."""
        life = self.life
        return Hidden(life.x, life.mode.value, life.age_h, self.wear, life.sensor_gain(self.spec))

    def renew(self) -> None:
        """Begin the next life, as good as new, with a sensor mounted afresh."""
        self.life = self._next_life()
        self.life_age_draw = self._age_draws()

    def enter(self, state: State, now_s: float, process_kw: float = 0.0) -> None:
        """Change to ``state``, closing the books of the one before."""
        if now_s > self.since_s:
            self.energy_kwh += (now_s - self.since_s) * self.kw / 3600.0
            counted = self._ledger.overlap_s(self.since_s, now_s)
            self.state_s[self.state] += counted
            self.counted_kwh += counted * self.kw / 3600.0
        self.since_s = now_s
        self.state = state
        self.kw = self.spec.base_kw + process_kw
        if self.observer is not None:
            self.observer(self)

    def run(self, hours: float, rate: float) -> Stop | None:
        """Wear by ``hours`` of running; why the machine must stop now, if it must."""
        self.run_h += hours
        failed = self.life.run(hours, rate)
        if failed:
            return Stop.FAILURE
        if self.run_h >= self.next_trip_h:
            self.next_trip_h += self.spec.trip_mtbf_h * self._trip_gap_draws()
            return Stop.TRIP
        return None

    def stopped(self, start_s: float, end_s: float) -> None:
        """Note a stop, for what the machine does while it warms up again."""
        self.stop_end_s = end_s
        self.stop_h = (end_s - start_s) / 3600.0

    def warm_up(self, now_s: float, tau_h: float) -> float:
        """How cold the machine still is after its last long stop: 1 at restart, falling to 0; 0 after short stops."""
        if self.stop_h <= self.spec.restart_stop_h:
            return 0.0
        return math.exp(-(now_s - self.stop_end_s) / (3600.0 * tau_h))

    def repair_s(self) -> float:
        """Duration of the next repair."""
        return 3600.0 * self._duration(self.spec.repair_h, self.spec.repair_cv, self._repair_draws)

    def maintenance_s(self) -> float:
        """Duration of the next planned maintenance."""
        return 3600.0 * self._duration(self.spec.maintenance_h, self.spec.maintenance_cv, self._maintenance_draws)

    def trip_s(self) -> float:
        """Duration of the next trip."""
        return 3600.0 * self._duration(self.spec.trip_h, self.spec.trip_cv, self._trip_draws)

    @staticmethod
    def _duration(mean: float, cv: float, draws: Draws) -> float:
        return lognormal(mean, cv, draws())
