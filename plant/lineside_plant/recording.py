"""Recordings: what a gateway would have seen of one plant, as plain files to train tasks on.

One folder per plant:

``recording.npz`` (numpy, no pickle)
    ``time``: int64 (N,), microseconds since 1970 UTC, the end of each cell.
    ``tags/<machine>/<tag>``: float32 (N,). SpindlePower, SpindleTemp, VibRms and VibKurtosis are means of the cell's
    1 Hz samples; all others are the last value at the cell's end, held from cell to cell, NaN before the first.
    ``arrays/<machine>/<tag>/serial``: str (P,), SerialNo of each part.
    ``arrays/<machine>/<tag>/time``: int64 (P,), SourceTimestamp of the part at this machine, microseconds UTC.
    ``arrays/<machine>/<tag>/values``: (P, L). ForceCurve float16 (B1, L = 256; convert to float32 on reading);
    CycleTime float32 (all machines, L = 1); ToolCount and ToolOffset float32 (mills, L = 1), of that part.
``events.jsonl``
    One JSON object a line, oldest first: ``stream`` ("events"), ``time`` (ISO 8601), ``equipment_id``, ``kind``,
    ``serial_no``, ``mode``, ``value``, ``porous``, ``defect``, ``text`` as in ``PlantEvent``. Inspections made for
    labels only have ``text`` "labelling campaign": good as labels, wrong as inputs, for a running plant has none.
``recording.json``
    ``unit`` (the plant's name, the unit of a train/test split), ``period_s``, ``hours``, ``spec_seed``, ``run_seed``,
    ``policy``.

Nothing here is a hidden state: no degradation, no wear, no true dimension.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_plant.errors import PlantError, RecordingError
from lineside_plant.events import EPOCH_US, PlantEvent, TagChange
from lineside_plant.plant import Observe, Plant
from lineside_plant.policies import Dispatch, Maintenance, Policy, baseline_policy
from lineside_plant.signals import MachineSamples
from lineside_plant.spec import MACHINES, PlantSpec

MEAN_TAGS = ("SpindlePower", "SpindleTemp", "VibRms", "VibKurtosis")
LAST_TAGS = ("State", "Energy")
HELD_TAGS = ("ActiveFamily", "PartCount", "CycleTime", "ToolCount", "ToolOffset", "SpeedOverride")
PART_TAGS = ("CycleTime", "ToolCount", "ToolOffset")

_CHUNK_H = 6.0
_RUN_SEED_STRIDE = 7919  # keeps run seeds of neighbouring plants apart


@dataclass(slots=True)
class _PartArrays:
    serial: list[str] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    values: list[NDArray[np.generic]] = field(default_factory=list)


class _Tape:
    """Gathers one machine's drained samples into cells and per-part arrays."""

    def __init__(self, period: int, curve_every: int) -> None:
        self._period = period
        self._curve_every = curve_every
        self._cells: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
        self._held: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
        self._pending: dict[str, NDArray[np.generic]] = {}
        self._parts = 0
        self.arrays: dict[str, _PartArrays] = defaultdict(_PartArrays)

    def add(self, samples: MachineSamples) -> None:
        """Take one drain; its seconds are a whole number of cells."""
        for tag in MEAN_TAGS:
            cells = samples.columns[tag].astype(np.float64).reshape(-1, self._period)
            self._cells[tag].append(cells.mean(axis=1).astype(np.float32))
        for tag in LAST_TAGS:
            self._cells[tag].append(samples.columns[tag][self._period - 1 :: self._period].astype(np.float32))
        for change in samples.changes:
            self._take(change)

    def _take(self, change: TagChange) -> None:
        value = change.value
        if isinstance(value, np.ndarray):
            self._pending[change.tag] = value.astype(np.float16)
        elif isinstance(value, str):
            if change.tag == "SerialNo":
                self._part(value, change.time)
        elif isinstance(value, bool | int | float) and change.tag in HELD_TAGS:
            times, values = self._held[change.tag]
            times.append(change.time)
            values.append(float(value))
            if change.tag in PART_TAGS:
                self._pending[change.tag] = np.array([value], np.float32)

    def _part(self, serial_no: str, time: int) -> None:
        """A part is complete: SerialNo comes last, so what is pending belongs to it."""
        self._parts += 1
        for tag, value in self._pending.items():
            if len(value) > 1 and self._parts % self._curve_every:
                continue
            arrays = self.arrays[tag]
            arrays.serial.append(serial_no)
            arrays.time.append(time)
            arrays.values.append(value)
        self._pending.clear()

    def tags(self, time: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """All tags on the grid ``time`` (ends of cells, microseconds)."""
        out = {tag: np.concatenate(cells) for tag, cells in self._cells.items()}
        for tag, (times, values) in self._held.items():
            at = np.searchsorted(np.array(times), time, "right") - 1
            held = np.array(values, np.float32)[at]
            held[at < 0] = np.nan
            out[tag] = held
        return out


def record(
    spec_seed: int,
    run_seed: int,
    policy: Policy,
    hours: float,
    out: Path,
    *,
    period_s: int = 60,
    inspect_share: float = 0.0,
    curve_every: int = 1,
    spec: PlantSpec | None = None,
) -> Path:
    """Run one plant and write its recording to ``out / <name of the plant>``; that folder.

    Args:
        spec_seed: Seed of the plant, as in ``PlantSpec.draw``.
        run_seed: Seed of what happens in it.
        policy: Its rules; run to failure or ``Maintenance.RANDOM_AGE`` shows whole lives.
        hours: Length (h); a multiple of 6.
        out: Folder in which the plant's folder is made.
        period_s: Length of a cell (s), a divisor of 6 h.
        inspect_share: Share of parts that get an inspection event for labels, without any effect on the plant.
        curve_every: Keep every n-th force curve; all of them are 30 MB for 672 h.
        spec: A plant of another kind than ``PlantSpec.draw(spec_seed)``.

    Raises:
        RecordingError: ``hours`` or ``period_s`` do not divide into whole chunks and cells.
    """
    chunk_s = int(_CHUNK_H * 3600)
    if hours < _CHUNK_H or hours % _CHUNK_H:
        raise RecordingError(f"hours is {hours:g}; expected a multiple of {_CHUNK_H:g}")
    if period_s < 1 or chunk_s % period_s or curve_every < 1:
        raise RecordingError(f"period_s is {period_s}, curve_every is {curve_every}; expected a divisor of 21600, >= 1")
    spec = spec or PlantSpec.draw(spec_seed)
    plant = Plant(spec, run_seed, policy, observe=Observe.FULL, label_share=inspect_share, warmup_h=0, horizon_h=hours)
    tapes = {m: _Tape(period_s, curve_every) for m in MACHINES}
    events: list[PlantEvent] = []
    for end_s in range(chunk_s, int(hours * 3600) + 1, chunk_s):
        plant.advance(end_s)
        drained = plant.drain()
        events += drained.events
        for name, samples in drained.machines.items():
            tapes[name].add(samples)
    folder = out / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    _write_arrays(folder / "recording.npz", tapes, period_s, hours)
    facts = {"unit": spec.name, "period_s": period_s, "hours": hours, "spec_seed": spec_seed, "run_seed": run_seed,
             "policy": asdict(policy)}  # fmt: skip
    (folder / "recording.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    with (folder / "events.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(event_record(e)) + "\n" for e in events)
    return folder


def event_record(event: PlantEvent) -> dict[str, str | float | bool]:
    """An event as one line of ``events.jsonl``."""
    fields = asdict(event)
    time = datetime.fromtimestamp(fields.pop("time") / 1e6, UTC)
    return {"stream": "events", "time": time.isoformat(timespec="microseconds"), **fields}


def _write_arrays(path: Path, tapes: dict[str, _Tape], period_s: int, hours: float) -> None:
    cells = int(hours * 3600) // period_s
    time = EPOCH_US + (np.arange(cells, dtype=np.int64) + 1) * period_s * 1_000_000
    arrays: dict[str, NDArray[np.generic]] = {"time": time}
    for name, tape in tapes.items():
        for tag, values in tape.tags(time).items():
            arrays[f"tags/{name}/{tag}"] = values
        for tag, parts in tape.arrays.items():
            key = f"arrays/{name}/{tag}"
            arrays[f"{key}/serial"] = np.array(parts.serial)
            arrays[f"{key}/time"] = np.array(parts.time, np.int64)
            arrays[f"{key}/values"] = np.stack(parts.values)
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for allow_pickle


def training_policy(index: int) -> Policy:
    """Rules of the ``index``-th plant of a training set: whole lives, censored lives and both ways to dispatch.

    Three of four plants run to failure or to a random age, so that old machines are seen; every fourth is kept as P3.
    """
    dispatch = (Dispatch.EDD, Dispatch.FAMILY_FIRST)[index // 2 % 2]
    match index % 4:
        case 0:
            return Policy(dispatch=dispatch, maintenance=Maintenance.NONE)
        case 1 | 2:
            return Policy(dispatch=dispatch, maintenance=Maintenance.RANDOM_AGE, random_age_h=(30.0, 300.0))
        case _:
            return Policy(dispatch=dispatch)


_POLICIES: dict[str, Callable[[int], Policy]] = {
    "training": training_policy,
    "baseline": lambda _: baseline_policy(),
    "run-to-failure": lambda _: Policy(maintenance=Maintenance.NONE),
}


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m lineside_plant record``: write recordings of drawn plants; the process's exit code."""
    parser = argparse.ArgumentParser(prog="lineside_plant record", description="Write recordings of drawn plants.")
    parser.add_argument("--plants", type=int, default=12, help="how many plants (default 12)")
    parser.add_argument("--hours", type=float, default=672.0, help="plant hours of each, a multiple of 6 (default 672)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first plant; the next ones follow (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder for one folder per plant")
    parser.add_argument("--period", type=int, default=60, help="length of a cell in s (default 60)")
    parser.add_argument("--policy", choices=sorted(_POLICIES), default="training", help="rules (default training)")
    parser.add_argument("--inspect-share", type=float, default=1.0, help="share of parts with labels (default 1)")
    parser.add_argument("--curve-every", type=int, default=4, help="keep every n-th force curve (default 4)")
    args = parser.parse_args(argv)
    try:
        _record_all(args, range(args.plants))
    except (PlantError, OSError) as error:
        print(f"cannot record: {error}", file=sys.stderr)
        return 2
    return 0


def _record_all(args: argparse.Namespace, indices: Iterable[int]) -> None:
    for index in indices:
        seed = args.seed + index
        folder = record(
            seed,
            seed * _RUN_SEED_STRIDE + 1,
            _POLICIES[args.policy](index),
            _whole_chunks(args.hours),
            args.out,
            period_s=args.period,
            inspect_share=args.inspect_share,
            curve_every=args.curve_every,
        )
        print(f"{folder} ({index + 1} of {args.plants})", flush=True)


def _whole_chunks(hours: float) -> float:
    """``hours`` rounded up to whole chunks, so that any number may be asked for on the command line."""
    return -(-hours // _CHUNK_H) * _CHUNK_H
