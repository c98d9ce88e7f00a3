"""``lineside record``: a simulated plant in lock-step with the gateway's own recorder, as fast as both keep up."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_gateway.errors import LinesideError
from lineside_gateway.recording import Archive, Recorder, RecordingError
from lineside_plant import MACHINES, SAMPLED_TAGS, Observe, Plant, PlantError, PlantSpec, tags_of
from lineside_plant.recording import training_policy
from lineside_plugins import recorded
from lineside_trials.in_process import event_record

CHUNK_S = 6 * 3600
KEPT = tuple(t for t in SAMPLED_TAGS if t not in ("PlantTime", "Heartbeat"))
OWN_FAULT = "VibRms"  # the one sensor of RefPlant that drifts by itself
HELD = frozenset({"State", "Energy"})
EXAMPLES = """examples:
  lineside record --hours 168 --out var/recorded
  lineside record --plants 6 --hours 168 --out var/recorded
  lineside record --hours 48 --after 168 --drift A1:VibRms --out var/drifting
  lineside record --hours 48 --drift B1:SpindleTemp:1.1 --out var/hot"""


@dataclass(frozen=True, slots=True)
class Drift:
    """A sensor that shows ``gain`` times what there is, reached over the first quarter of the recording.

    Without ``gain`` it is the plant's own fault of its vibration sensors: some 2.2 times within ten hours of work,
    until the machine is maintained or repaired.
    """

    equipment_id: str
    tag: str
    gain: float | None

    @classmethod
    def parse(cls, text: str) -> Drift:
        """From ``A1:VibRms:2.2``, or ``A1:VibRms`` for the plant's own fault.

        Raises:
            RecordingError: Not of that form, or no such machine or tag.
        """
        parts = text.split(":")
        try:
            machine, tag, gain = parts[0], parts[1], float(parts[2]) if len(parts) > 2 else None
        except (IndexError, ValueError):
            raise RecordingError(
                f"--drift is '{text}'; expected MACHINE:TAG or MACHINE:TAG:GAIN, such as A1:VibRms:2.2"
            ) from None
        if machine not in MACHINES or tag not in KEPT:
            raise RecordingError(
                f"--drift names {machine}.{tag}; machines {', '.join(MACHINES)}, tags {', '.join(KEPT)}"
            )
        if gain is None and tag != OWN_FAULT:
            raise RecordingError(f"--drift names {machine}.{tag} without a gain; by itself only {OWN_FAULT} drifts")
        return cls(machine, tag, gain)

    def shown(self, values: NDArray[np.float64], passed: NDArray[np.float64]) -> NDArray[np.float64]:
        """``values`` (N,) as the sensor shows them; ``passed`` (N,) is the share of the recording behind."""
        if self.gain is None:
            return values  # the plant's own signal drifts
        return values * (1.0 + (self.gain - 1.0) * np.clip(4.0 * passed, 0.0, 1.0))


def record(
    hours: float, seed: int, recorder: Recorder, drifts: Sequence[Drift] = (), *, first_h: float = 0.0, policy: int = 0
) -> None:
    """Run plant ``seed`` for ``first_h + hours`` and record all but the first ``first_h`` hours.

    Raises:
        RecordingError: The disk takes no more.
    """
    plant = Plant(
        PlantSpec.draw(seed), seed, training_policy(policy), observe=Observe.FULL, warmup_h=0, horizon_h=first_h + hours
    )
    indices = {(m, t): i for i, (m, t) in enumerate((m, t) for m in MACHINES for t in KEPT)}
    units = {(m, t.name): t.unit for m in MACHINES for t in tags_of(m)}
    for (machine, tag), index in indices.items():
        recorder.name(index, machine, tag, units[machine, tag], held=tag in HELD)
    begin_s, end_s = round(3600 * first_h), round(3600 * (first_h + hours))
    started = time.monotonic()
    for to_s in [*range(CHUNK_S, end_s, CHUNK_S), end_s]:
        if to_s - CHUNK_S <= begin_s < to_s:
            plant.advance(begin_s)
            for drift in drifts:
                if drift.gain is None:
                    plant.drift_sensor(drift.equipment_id)
        plant.advance(to_s)
        out = plant.drain()
        if to_s <= begin_s:
            continue
        for machine, samples in out.machines.items():
            times = samples.times.astype(np.int64)
            for tag in KEPT:
                values = samples.columns[tag].astype(np.float64)
                passed = (to_s - len(values) + np.arange(len(values)) - begin_s) / (end_s - begin_s)
                for drift in drifts:
                    if (drift.equipment_id, drift.tag) == (machine, tag):
                        values = drift.shown(values, passed)
                recorder.samples(np.full(len(values), indices[machine, tag]), times, values, None)
        for event in out.events:
            row = {"stream": "events", **event_record(event)}
            recorder.row(recorded.EVENTS, event.time, event.equipment_id, event.kind.value, row)
        recorder.write(recorder.take(), last=to_s == end_s)
        _say(f"recorded {(to_s - begin_s) / 3600:.0f} of {hours:g} h, {time.monotonic() - started:.0f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Record what the arguments ask for; the exit code."""
    args = _parser().parse_args(arguments)
    try:
        drifts = [Drift.parse(d) for d in args.drift]
        for number in range(args.plants):
            folder = args.out if args.plants == 1 else args.out / f"plant-{args.seed + number}"
            if any(folder.glob("day=*")) and not args.append:
                raise RecordingError(f"{folder} holds a recording already; choose another folder, or --append")
            recorder = Recorder(Archive(folder), args.period)
            record(args.hours, args.seed + number, recorder, drifts, first_h=args.after, policy=args.policy)
            _say(f"{folder}: " + ", ".join(f"{n} {table}" for table, n in recorder.written.items()))
    except (LinesideError, PlantError) as e:
        print(f"lineside record: {e}", file=sys.stderr)
        return 2
    _say(f"next: lineside data report {args.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lineside record",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the Parquet files")
    parser.add_argument("--hours", type=float, default=168.0, help="plant hours to record [168, a week]")
    parser.add_argument("--plants", type=int, default=1, help="plants, each with its own seed, in folders below [1]")
    parser.add_argument("--append", action="store_true", help="add to a folder that holds a recording")
    parser.add_argument("--after", type=float, default=0.0, help="plant hours to run before recording [0]")
    parser.add_argument("--seed", type=int, default=1, help="which plant, and what happens in it [1]")
    parser.add_argument(
        "--policy", type=int, default=1, help="rules of the plant: 0 runs to failure, 1 to a random age"
    )
    parser.add_argument("--period", type=float, default=60.0, help="cell of a recorded mean (s); 0 keeps all [60]")
    parser.add_argument(
        "--drift",
        action="append",
        default=[],
        metavar="MACHINE:TAG[:GAIN]",
        help="a sensor that drifts; without a gain as the plant's own do",
    )
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
