"""How soon the drift watch finds RefPlant's own sensor fault, and how often it is wrong: ``make bench-drift``.

Relations are learned from plants recorded for a week with all their faults, unlabelled. The watch then follows other
plants over the same weeks twice: with sensors that never drift, and with RefPlant's own drift.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lineside_plant import MACHINES, Observe, Plant, PlantSpec
from lineside_plant.recording import training_policy
from lineside_plugins.tasks.condition.config import TAGS
from lineside_workers.condition import related
from lineside_workers.learning import relations
from lineside_workers.watching.sensor_watch import SensorWatch

CELL_S = 600
CELLS_A_WEEK = 7 * 24 * 3600 // CELL_S
TRAINING_PLANTS, FIRST_JUDGED = 6, 13  # seeds 1 to 6 teach; the watch was chosen on 7 to 12, 13 and on judge
DRIFTS = 1.1  # the gain from which the crew of RefPlant calls a sensor drifted
NEVER_H = 1e9
LONG_H = 24.0  # a fault that is over sooner is hardly to be found, nor does it matter


@dataclass(frozen=True, slots=True)
class Followed:
    """One machine: the true gain (N,), and whether the watch said that it drifts (N,)."""

    gain: NDArray[np.float64]
    told: NDArray[np.bool_]


@dataclass(slots=True)
class Score:
    """What came of the machines of one kind of weeks."""

    weeks: float = 0.0
    false_alarms: int = 0
    delays_h: list[float] = field(default_factory=list)
    faults: int = 0
    long_faults: int = 0
    long_found: int = 0

    def add(self, one: Followed) -> None:
        """Count alarms that rise within a fault, or the time the watch needs after it, as its; all others as false."""
        self.weeks += len(one.gain) / CELLS_A_WEEK
        due = np.zeros(len(one.gain), dtype=bool)
        for begin, end in _stretches(one.gain > DRIFTS):
            due[begin : end + 48] = True
            hit = np.flatnonzero(one.told[begin:end])
            is_long = (end - begin) * CELL_S >= 3600 * LONG_H
            self.faults += 1
            self.long_faults += is_long
            self.long_found += is_long and len(hit) > 0
            self.delays_h += [float(hit[0]) * CELL_S / 3600] if len(hit) else []
        rises = one.told & ~np.append(False, one.told[:-1])
        self.false_alarms += int((rises & ~due).sum())


def cells(
    seed: int, weeks: float, *, drifts: bool
) -> Iterator[tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]]:
    """Means of ten minutes and the true gain of each machine of plant ``seed``."""
    spec = PlantSpec.draw(seed)
    spec = spec if drifts else replace(spec, drift_mtbf_h=NEVER_H)
    hours = 168 * weeks
    plant = Plant(spec, seed, training_policy(1), observe=Observe.FULL, warmup_h=0, horizon_h=hours)
    seen: dict[str, list[list[float]]] = {m: [] for m in MACHINES}
    for to_s in range(CELL_S, int(3600 * hours) + 1, CELL_S):
        plant.advance(to_s)
        for machine, samples in plant.drain().machines.items():
            means = [float(samples.columns[t].mean()) for t in TAGS]
            seen[machine].append([*means, plant.hidden(machine).sensor_gain])
    for rows in seen.values():
        table = np.array(rows)
        yield {t: table[:, i] for i, t in enumerate(TAGS)}, table[:, -1]


def follow(relation: relations.Relation, seen: dict[str, NDArray[np.float64]], gain: NDArray[np.float64]) -> Followed:
    """What the watch says after each cell."""
    watch, told = SensorWatch(relation), np.zeros(len(gain), dtype=bool)
    for i in range(len(gain)):
        watch.add({tag: values[i : i + 1] for tag, values in seen.items()})
        told[i] = watch.drifted
    return Followed(gain, told)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="make bench-drift", description=__doc__)
    parser.add_argument("--plants", type=int, default=12, help="plants that judge [12]")
    parser.add_argument("--seed", type=int, default=FIRST_JUDGED, help="the first of them [%(default)s]")
    parser.add_argument("--weeks", type=float, default=2.0, help="weeks of each [2]")
    parser.add_argument("--recorded", action="store_true", help="learn from a week before, of the plants that judge")
    args = parser.parse_args(arguments)
    judged = range(args.seed, args.seed + args.plants)
    before = CELLS_A_WEEK if args.recorded else 0
    teaching = {
        f"{seed}/{machine}": seen
        for seed in (judged if args.recorded else range(1, 1 + TRAINING_PLANTS))
        for machine, (seen, _) in zip(MACHINES, cells(seed, 1.0, drifts=True), strict=True)
    }
    by_machine = {r.machine: r for r in related.of_machines(teaching) if r.tag == "VibRms"}
    known = {m: by_machine.get(m, by_machine[""]) if args.recorded else by_machine[""] for m in MACHINES}
    print(f"learned from {len(teaching)} machine weeks; told from {by_machine[''].bound:.2f} spreads on", flush=True)
    scores = {"healthy": Score(), "drifting": Score()}
    for seed in judged:
        for name, score in scores.items():
            run = cells(seed, args.weeks + before / CELLS_A_WEEK, drifts=name == "drifting")
            for machine, (seen, gain) in zip(MACHINES, run, strict=True):
                score.add(follow(known[machine], {t: v[before:] for t, v in seen.items()}, gain[before:]))
        print(f"plant {seed} done", flush=True)
    print(json.dumps(_report(scores)))
    return 0


def _report(scores: dict[str, Score]) -> dict[str, float]:
    well, ill = scores["healthy"], scores["drifting"]
    delays = np.array(ill.delays_h or [np.nan])
    print(f"{'weeks':>10}{'machine weeks':>15}{'false alarms':>14}{'per week':>10}{'faults':>8}{'found':>7}")
    for name, s in scores.items():
        print(f"{name:>10}{s.weeks:>15.0f}{s.false_alarms:>14}{s.false_alarms / s.weeks:>10.2f}{s.faults:>8}"
              f"{len(s.delays_h):>7}")  # fmt: skip
    print(f"of {ill.long_faults} faults of a day or longer {ill.long_found} were found; delay of those found: "
          f"median {np.median(delays):.0f} h, 90 % within {np.quantile(delays, 0.9):.0f} h")  # fmt: skip
    return {
        "false_alarms_per_machine_week": round(well.false_alarms / well.weeks, 3),
        "found_share": round(len(ill.delays_h) / max(ill.faults, 1), 3),
        "found_share_long": round(ill.long_found / max(ill.long_faults, 1), 3),
        "delay_h_median": round(float(np.median(delays)), 1),
    }


def _stretches(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edge = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edge[::2], edge[1::2], strict=True)]


if __name__ == "__main__":
    raise SystemExit(main())
