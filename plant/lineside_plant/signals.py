"""What the 1 Hz sensors of the machines show: levels per stretch of constant state, noise per second.

The physics notes one row whenever a machine changes state; seconds become arrays only when they are drained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lineside_plant.events import EPOCH_US, TagChange
from lineside_plant.machines import Machine, Mode, State
from lineside_plant.spec import PlantSpec
from lineside_plant.streams import Streams

SAMPLED_TAGS = (
    "State", "SpindlePower", "SpindleTemp", "VibRms", "VibKurtosis", "Energy", "PlantTime", "Heartbeat",
)  # fmt: skip
"""Tags every machine samples once a second."""

_IDLE_VIB = 0.05  # of the running level
_IDLE_KW = 0.4
_SETUP_KW = 1.0
_COLD_STATES = (State.TRIPPED, State.FAILED, State.MAINTENANCE)
_NOISES = 4  # power, temperature, vibration, kurtosis

Columns = dict[str, NDArray[np.generic]]
Row = tuple[float, ...]  # the eleven numbers of ``row_of``


@dataclass(slots=True)
class MachineSamples:
    """What one machine's PLC showed since the last drain.

    ``times`` is datetime64[us] (N,), one per second, UTC; ``columns[tag]`` is (N,) for each of SAMPLED_TAGS: float64,
    but int32 for State and uint32 for Heartbeat. ``changes`` are the on-change tags in time order.
    """

    times: NDArray[np.datetime64]
    columns: Columns
    changes: list[TagChange] = field(default_factory=list)


def row_of(machine: Machine) -> Row:
    """Signal levels of ``machine`` from now until its next change of state.

    Start (s), State, vibration, kurtosis, temperature, spindle power, energy at start (kWh), total power (kW), and the
    thermal term a + b exp(-(t - ref) / tau) as a, b, ref (s), tau (s). Source: PLANT.md, table of faults.
    """
    spec, life, state = machine.spec, machine.life, machine.state
    bearing = life.mode is Mode.BEARING
    level = spec.vib_mm_s * life.mount_gain * life.sensor_gain(spec)
    kurtosis, power = 3.0, _IDLE_KW
    if state is State.RUNNING:
        cut = machine.load * (machine.hardness if machine.role == 0 else 1.0) * machine.speed
        power = spec.spindle_base_kw[machine.role] + spec.spindle_cut_kw[machine.role] * cut * (
            1.0 + spec.spindle_wear * machine.wear
        )
        level *= _vibration(machine, bearing)
        if bearing:
            kurtosis += spec.kurtosis_bearing * life.x**spec.kurtosis_exponent
    else:
        level *= _IDLE_VIB
        if state is State.SETUP:
            power = _SETUP_KW
    temp = spec.temp_c + (spec.temp_bearing_c if bearing else spec.temp_lubrication_c) * life.x
    temp += spec.temp_load_c * machine.load
    return (
        machine.since_s, state, level, kurtosis, temp, power, machine.energy_kwh, machine.kw, *_thermal(machine),
    )  # fmt: skip


def _vibration(machine: Machine, bearing: bool) -> float:
    """Vibration of a running machine over its unloaded level."""
    spec = machine.spec
    gain: float = (spec.vib_bearing if bearing else spec.vib_lubrication) * machine.life.x**spec.vib_exponent
    factor: float = math.exp(gain) * machine.load**spec.vib_load_exponent * (1.0 + spec.vib_wear * machine.wear)
    return factor * machine.hardness**spec.vib_hardness_exponent if machine.role == 0 else factor


def _thermal(machine: Machine) -> tuple[float, float, float, float]:
    """The way down to cold in a stop, and the way up after a long one."""
    spec = machine.spec
    if machine.state in _COLD_STATES:
        return -spec.temp_restart_c, spec.temp_restart_c, machine.since_s, 3600.0 * spec.temp_cooling_tau_h
    cold = -spec.temp_restart_c if machine.stop_h > spec.restart_stop_h else 0.0
    return 0.0, cold, max(machine.stop_end_s, -1e6), 3600.0 * spec.temp_restart_tau_h


class Sampler:
    """Turns rows into 1 Hz samples. The k-th second has the same noise in every arm and however it is drained."""

    def __init__(self, spec: PlantSpec, streams: Streams, machines: dict[str, Machine]) -> None:
        self._spec = spec
        self._machines = machines
        self._noise = streams.generator("signal noise")
        self._rows: dict[str, list[Row]] = {m: [] for m in machines}
        self._done_s = 0

    def start(self, now_s: float) -> None:
        """Begin to watch; the first sample is that of the first whole second after ``now_s``."""
        self._done_s = math.floor(now_s)
        for machine in self._machines.values():
            machine.observer = self._note
            self._note(machine)

    def _note(self, machine: Machine) -> None:
        self._rows[machine.name].append(row_of(machine))

    def sample(self, now_s: float) -> dict[str, MachineSamples]:
        """Samples of the whole seconds since the last call, up to ``now_s``."""
        first, last = self._done_s + 1, math.floor(now_s)
        self._done_s = max(self._done_s, last)
        seconds = np.arange(first, last + 1)
        times = (seconds * 1_000_000 + EPOCH_US).view("datetime64[us]")
        if not len(seconds):
            return {m: MachineSamples(times, {}) for m in self._machines}
        columns = self._columns(seconds, self._levels(seconds))
        plant_time = seconds.astype(np.float64)
        heartbeat = seconds.astype(np.uint32)
        samples = {}
        for i, name in enumerate(self._machines):
            mine: Columns = {tag: values[i] for tag, values in columns.items()}
            mine["PlantTime"] = plant_time
            mine["Heartbeat"] = heartbeat
            samples[name] = MachineSamples(times, mine)
        return samples

    def _levels(self, seconds: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rows gathered per machine and second, (columns of row_of, machines, seconds); forgets rows that are over."""
        rows: list[Row] = []
        index = np.empty((len(self._rows), len(seconds)), np.intp)
        for i, (name, mine) in enumerate(self._rows.items()):
            starts = np.array([r[0] for r in mine])
            at = starts.searchsorted(seconds, "right") - 1
            np.add(at, len(rows), out=index[i])
            rows += mine
            self._rows[name] = mine[int(at[-1]) :]
        gathered: NDArray[np.float64] = np.array(rows).T[:, index]
        return gathered

    def _columns(self, seconds: NDArray[np.int64], levels: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
        """Add what changes from second to second: noise, time of day, thermal transients, energy."""
        spec = self._spec
        start, state, vib, kurtosis, temp, power, energy, kw, a, b, ref, tau = levels
        shape = (len(seconds), len(self._machines), _NOISES)
        noise = self._noise.standard_normal(shape, np.float32).T
        day = spec.temp_day_c * np.sin((2 * np.pi / 24.0) * (seconds / 3600.0 - spec.day_phase_h))
        return {
            "State": state.astype(np.int32),
            "SpindlePower": power * (1.0 + spec.spindle_noise * noise[0]),
            "SpindleTemp": temp + day + a + b * np.exp((ref - seconds) / tau) + spec.temp_noise_c * noise[1],
            "VibRms": vib * np.exp(spec.vib_noise * noise[2]),
            "VibKurtosis": kurtosis + spec.kurtosis_noise * noise[3],
            "Energy": energy + (seconds - start) * (kw / 3600.0),
        }
