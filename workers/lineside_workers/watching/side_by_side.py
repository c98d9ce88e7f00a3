"""Two versions on the same windows, machine by machine: how they differ in flag, number, interval, silence, time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lineside_plugins.types import Recommendation
from lineside_plugins.wire import BatchResult, Status

SUFFIX = ".json"


@dataclass(slots=True)
class Side:
    """What one of the two said of a machine: windows by fate, width of its intervals, seconds spent."""

    failed: int = 0
    abstained: int = 0
    flags: int = 0
    intervals: int = 0
    width: float = 0.0
    seconds: float = 0.0

    def __iadd__(self, other: Side) -> Side:
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))
        return self


@dataclass(slots=True)
class Pair:
    """Both on one machine. The two answered ``both`` windows; ``apart`` adds up how far their first numbers lie."""

    windows: int
    both: int
    flags_differ: int
    apart: float
    farthest: float
    own: Side
    other: Side

    @classmethod
    def new(cls) -> Pair:
        """Nothing seen."""
        return cls(0, 0, 0, 0.0, 0.0, Side(), Side())

    def __iadd__(self, more: Pair) -> Pair:
        self.windows += more.windows
        self.both += more.both
        self.flags_differ += more.flags_differ
        self.apart += more.apart
        self.farthest = max(self.farthest, more.farthest)
        self.own += more.own
        self.other += more.other
        return self


class SideBySide:
    """Adds up batches. ``flag`` names the output that asks for an effect."""

    def __init__(self, flag: str) -> None:
        self._flag = flag
        self.pairs: dict[str, Pair] = {}

    def see(
        self, equipment_ids: Sequence[str], own: BatchResult, own_s: float, other: BatchResult | None, other_s: float
    ) -> None:
        """Take in what both said of the same windows; ``other`` is None where there is no such version."""
        share = 1.0 / max(len(equipment_ids), 1)
        silent = _abstained(own), _abstained(other)
        for i, name in enumerate(equipment_ids):
            pair = self.pairs.setdefault(name, Pair.new())
            pair.windows += 1
            said = _entry(own, i), _entry(other, i)
            for side, rec, quiet, seconds, result in zip(
                (pair.own, pair.other), said, silent, (own_s, other_s), (own, other), strict=True
            ):
                _add(side, rec, abstained=i in quiet, seconds=seconds * share, flag=self._flag)
                side.failed += result is not None and result.status is not Status.ANSWERED
            if said[0] is not None and said[1] is not None:
                _compare(pair, said[0], said[1], self._flag)


def total(pairs: Iterable[Pair]) -> Pair:
    """All machines together."""
    out = Pair.new()
    for pair in pairs:
        out += pair
    return out


def rows(pairs: Mapping[str, Pair], own: str, other: str) -> list[dict[str, object]]:
    """A table: one row per machine, the last for all of them; numbers of ``own`` before those of ``other``."""
    shown = [*sorted(pairs.items()), *([("all", total(pairs.values()))] if len(pairs) != 1 else [])]
    return [
        {
            "equipment": name,
            "windows": p.windows,
            "both answered": p.both,
            f"abstains {own} / {other}": f"{p.own.abstained} / {p.other.abstained}",
            f"flags {own} / {other}": f"{p.own.flags} / {p.other.flags}",
            "flags differ": p.flags_differ,
            "apart mean / most": f"{p.apart / max(p.both, 1):.3f} / {p.farthest:.3f}",
            "interval width": f"{_mean(p.own)} / {_mean(p.other)}",
            "ms a window": f"{_ms(p.own, p.windows)} / {_ms(p.other, p.windows)}",
        }
        for name, p in shown
    ]


def write(folder: Path, name: str, stage: str, pairs: Mapping[str, Pair]) -> None:
    """Leave what this process has seen in ``stage`` where ``read`` finds it.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{name}.tmp"
    fresh.write_text(json.dumps({"stage": stage, "pairs": {k: asdict(p) for k, p in pairs.items()}}), encoding="utf-8")
    fresh.replace(folder / f"{name}{SUFFIX}")


def read(folder: Path, stage: str) -> dict[str, Pair]:
    """What all processes have seen in ``stage``; a file that is not whole tells nothing."""
    out: dict[str, Pair] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            found = {
                str(name): Pair(**{**p, "own": Side(**p["own"]), "other": Side(**p["other"])})
                for name, p in row["pairs"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if row.get("stage") == stage:
            for name, pair in found.items():
                out.setdefault(name, Pair.new()).__iadd__(pair)
    return out


def number(rec: Recommendation) -> float | None:
    """The first number a recommendation has."""
    return next((v for v in rec.value.values() if isinstance(v, float)), None)


def interval(rec: Recommendation) -> tuple[float, float] | None:
    """The interval of its first number: of outputs named like it, or else the recommendation's own."""
    name = next((n for n, v in rec.value.items() if isinstance(v, float)), "")
    low, high = rec.value.get(f"{name}_low"), rec.value.get(f"{name}_high")
    return (low, high) if isinstance(low, float) and isinstance(high, float) else rec.interval


def _compare(pair: Pair, one: Recommendation, other: Recommendation, flag: str) -> None:
    pair.both += 1
    pair.flags_differ += (one.value.get(flag) is True) != (other.value.get(flag) is True)
    a, b = number(one), number(other)
    if a is not None and b is not None and math.isfinite(a - b):
        pair.apart += abs(a - b)
        pair.farthest = max(pair.farthest, abs(a - b))


def _add(side: Side, rec: Recommendation | None, *, abstained: bool, seconds: float, flag: str) -> None:
    side.abstained += abstained
    side.seconds += seconds
    if rec is None:
        return
    side.flags += rec.value.get(flag) is True
    if rec.interval is not None:
        side.intervals += 1
        side.width += rec.interval[1] - rec.interval[0]


def _entry(result: BatchResult | None, row: int) -> Recommendation | None:
    return None if result is None or result.status is not Status.ANSWERED else result.recommendations[row]


def _abstained(result: BatchResult | None) -> frozenset[int]:
    return frozenset() if result is None else frozenset(r.index for r in result.refused if r.abstained)


def _mean(side: Side) -> str:
    return f"{side.width / side.intervals:.3g}" if side.intervals else "-"


def _ms(side: Side, windows: int) -> str:
    return f"{1e3 * side.seconds / windows:.2f}" if windows and side.seconds else "-"
