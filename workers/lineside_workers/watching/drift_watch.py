"""Whether what a model reads and says is still what it learned from, machine by machine.

A sensor that leaves the others drifts, also within what other machines show (``sensor_watch``). Per tag of a machine
ADWIN follows the mean of its windows; per machine one more follows the output. A change counts as drift where the mean
after it lies outside what training windows showed: a machine that changes its load within the known range changes, and
does not drift. So does a machine of which the model abstains again and again over one tag.

Source: Bifet and Gavaldà, Learning from Time-Changing Data with Adaptive Windowing (2007); river's implementation.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import DataType, Outputs
from lineside_plugins.types import Abstention, Recommendation, WindowBatch
from lineside_plugins.wire import Drift
from lineside_workers.learning.relations import Relation
from lineside_workers.watching.sensor_watch import SensorWatch

logger = logging.getLogger(__name__)

REFERENCE, RELATIONS, OUTPUT = "reference", "relations", ""
DELTA = 0.002  # ADWIN's own default: the share of changes seen where there are none
SLACK = 0.25  # of the range of training windows, outside of which a mean is strange
ABSTAINED_IN_A_ROW = 3  # looks over one tag; fewer are a passing state
MAX_MACHINES = 4096


@dataclass(slots=True)
class _Followed:
    """One quantity of one machine. ``changed`` once ADWIN has seen a change; ``level`` its mean since."""

    adwin: Any
    low: float
    high: float
    changed: bool = False

    def add(self, value: float) -> None:
        self.adwin.update(value)
        self.changed |= bool(self.adwin.drift_detected)

    @property
    def strange(self) -> bool:
        """Whether it changed, and stands outside what was learned from."""
        return self.changed and not self.low <= float(self.adwin.estimation) <= self.high


@dataclass(slots=True)
class _Machine:
    followed: dict[str, _Followed]
    sensors: list[SensorWatch]
    seen: np.datetime64 | None = None  # end of the newest cell the sensors were told
    abstained: Counter[str] = field(default_factory=Counter)
    cause: str = ""


class DriftWatch:
    """Follows the machines of one model in one process. ``ranges`` are lowest and highest training means by tag."""

    def __init__(
        self, ranges: Mapping[str, tuple[float, float]], output: str, relations: Sequence[Relation] = ()
    ) -> None:
        """``output`` names the field followed; its range is under ``OUTPUT``."""
        # river takes a second to import, and only models with a reference need it.
        self._new_adwin: Callable[[], Any] = partial(import_module("river.drift").ADWIN, delta=DELTA, clock=1)
        self._ranges = {tag: _widened(*limits) for tag, limits in ranges.items()}
        self._output = output
        self._relations = tuple(relations)
        self._machines: dict[str, _Machine] = {}

    @classmethod
    def of(cls, config: Mapping[str, object], outputs: Outputs) -> DriftWatch | None:
        """A watch for a model that holds the deciles of its training windows, None for any other."""
        reference = config.get(REFERENCE)
        if not isinstance(reference, Mapping):
            return None
        deciles = cast("Mapping[str, Sequence[float]]", reference)
        numbers = [f.name for f in outputs.fields if f.data_type is DataType.DOUBLE]
        ranges = {tag: (float(d[0]), float(d[-1])) for tag, d in deciles.items()}
        rows = cast("Sequence[Mapping[str, Any]]", config.get(RELATIONS, ()))
        return cls(ranges, numbers[0] if numbers else "", [Relation.from_json(row) for row in rows])

    def see(
        self, batch: WindowBatch, said: Sequence[Recommendation | None], abstained: Mapping[int, Abstention]
    ) -> tuple[Drift, ...]:
        """Take the windows of ``batch`` in; what has drifted on its machines now."""
        found: dict[str, tuple[Drift, ...]] = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice")  # a tag that was not seen is NaN by contract
            means: NDArray[np.float32] = np.nanmean(batch.values, axis=1)
        for i, name in enumerate(batch.equipment_ids):
            machine = self._machine(name)
            _tell_sensors(machine, batch, i)
            for c, tag in enumerate(batch.tags):
                if tag in machine.followed and np.isfinite(means[i, c]):
                    machine.followed[tag].add(float(means[i, c]))
            entry = said[i]
            value = None if entry is None else entry.value.get(self._output)
            if OUTPUT in machine.followed and isinstance(value, float):
                machine.followed[OUTPUT].add(value)
            self._note(machine, abstained.get(i))
            found[name] = tuple(_drifts(name, machine))
        return tuple(d for drifts in found.values() for d in drifts)

    def keep(self, path: Path) -> None:
        """Write down what the sensor watches know of each machine, so that a worker that starts anew goes on from it.

        Raises:
            OSError: It cannot be written.
        """
        rows = {
            name: {"seen": str(m.seen), "sensors": [s.to_json() for s in m.sensors]}
            for name, m in self._machines.items()
            if m.sensors and m.seen is not None
        }
        if not rows:
            return  # nothing was seen here, and another process may have seen much
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        fresh.write_text(json.dumps(rows), encoding="utf-8")
        fresh.replace(path)

    def take_up(self, path: Path) -> int:
        """Go on from what ``keep`` wrote; how many machines. What cannot be read is learned again."""
        if not self._relations or not path.is_file():
            return 0
        try:
            rows: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name, row in rows.items():
                by_tag = {str(s["tag"]): s for s in row["sensors"]}
                sensors = [SensorWatch.from_json(r, by_tag[r.tag]) for r in self._related(name)]
                machine = self._machine(name)
                machine.sensors, machine.seen = sensors, np.datetime64(row["seen"], "us")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            logger.warning("drift watch begins anew file=%s error=%s: %s", path, type(e).__name__, e)
            self._machines.clear()
        return len(self._machines)

    def _note(self, machine: _Machine, abstention: Abstention | None) -> None:
        if abstention is None or not abstention.tag:
            machine.abstained.clear()
            return
        again = machine.abstained[abstention.tag] + 1
        machine.abstained.clear()
        machine.abstained[abstention.tag] = again
        machine.cause = abstention.cause

    def _machine(self, name: str) -> _Machine:
        if name not in self._machines:
            if len(self._machines) >= MAX_MACHINES:
                self._machines.pop(next(iter(self._machines)))
            followed = {t: _Followed(self._new_adwin(), *r) for t, r in self._ranges.items()}
            self._machines[name] = _Machine(followed, [SensorWatch(r) for r in self._related(name)])
        return self._machines[name]

    def _related(self, name: str) -> list[Relation]:
        """By tag the machine's own relation, else what holds for any machine."""
        found = {r.tag: r for r in self._relations if not r.machine}
        found |= {r.tag: r for r in self._relations if r.machine == name}
        return list(found.values())


def _tell_sensors(machine: _Machine, batch: WindowBatch, row: int) -> None:
    """Show the cells of a window that were not seen before to the machine's sensor watches; late windows show none."""
    end, length = batch.end[row], batch.values.shape[1]
    if not machine.sensors or np.isnat(end):
        return
    period = np.timedelta64(round(1e6 * batch.period_s), "us")
    new = length if machine.seen is None else round((end - machine.seen) / period)
    if new < -length:  # the plant's clock was set back: what came before cannot be told from what comes
        machine.sensors, new = [SensorWatch(s.relation) for s in machine.sensors], length
    if new <= 0:
        return
    machine.seen = end
    fresh = batch.values[row, -min(new, length) :].astype(np.float64)
    cells = {tag: fresh[:, c] for c, tag in enumerate(batch.tags)}
    for sensor in machine.sensors:
        sensor.missed(max(0, new - length))
        sensor.add(cells)


def _drifts(name: str, machine: _Machine) -> list[Drift]:
    out = [Drift(name, s.relation.tag, _left(name, s), s.times) for s in machine.sensors if s.drifted]
    known = {d.tag for d in out}
    for tag, one in machine.followed.items():
        if one.strange and tag not in known:
            level = float(one.adwin.estimation)
            what = f"{name}.{tag}" if tag else f"what is said about {name}"
            out.append(
                Drift(name, tag, f"{what} has drifted to {level:.3g}; learned from {one.low:.3g} to {one.high:.3g}")
            )
    known |= {d.tag for d in out}
    out += [
        Drift(name, tag, f"{name}: {machine.cause}")
        for tag, times in machine.abstained.items()
        if times >= ABSTAINED_IN_A_ROW and tag not in known
    ]
    return out


def _left(name: str, sensor: SensorWatch) -> str:
    tag, others = sensor.relation.tag, ", ".join(sensor.relation.inputs)
    much = f"{sensor.moved:+.3g} off" if sensor.gain is None else f"{sensor.gain:.2g} times"
    return f"{name}.{tag} shows {much} what {others} say it should, compared with the same machine before"


def _widened(low: float, high: float) -> tuple[float, float]:
    slack = SLACK * (high - low)
    return low - slack, high + slack
