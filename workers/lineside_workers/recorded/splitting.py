"""Who trains, who chooses, who judges: whole units on one side each, never rows at random.

Where there are too few units for that they are cut in stretches of time, each of which is a unit of its own: the newest
judge, those before them choose, all earlier ones train.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_workers.errors import SplitError

PARTS = ("train", "validation", "test")
_PART = " part "
MOST_STRETCHES = 12  # of which two choose and two judge
CROWDED = 3  # a stretch is at least so many times as long as what is lost at its border


@dataclass(frozen=True, slots=True)
class Split:
    """Units (plants, or machines of one plant) by what they are used for.

    With ``cuts``, rising times in ISO 8601, units are the stretches between them (``stretches``).
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    cuts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that nobody stands on two sides.

        Raises:
            SplitError: A unit does, a side is empty, or cuts are no rising times.
        """
        sides = {part: set(getattr(self, part)) for part in PARTS}
        for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
            if both := sorted(sides[one] & sides[other]):
                raise SplitError(
                    f"the split leaks: {', '.join(both)} stands in {one} and in {other}; give each unit one side"
                )
        if empty := [part for part, units in sides.items() if not units]:
            raise SplitError(f"the split has no unit in {empty[0]}; record more plants, or machines")
        try:
            rising = bool((np.diff(self.cuts_us) > 0).all())
        except ValueError as e:
            raise SplitError(f"the split has a cut that is no time: {e}; write ISO 8601") from e
        if not rising:
            raise SplitError(f"the split's cuts do not rise: {', '.join(self.cuts)}; put them in order")

    @property
    def cuts_us(self) -> NDArray[np.int64]:
        """Microseconds since 1970 of each cut; one without a zone is UTC."""
        times = map(datetime.fromisoformat, self.cuts)
        zoned = (t if t.tzinfo else t.replace(tzinfo=UTC) for t in times)
        return np.array([round(1e6 * t.timestamp()) for t in zoned], dtype=np.int64)

    def stretches(
        self, unit: NDArray[np.str_], begin_us: NDArray[np.int64], end_us: NDArray[np.int64]
    ) -> NDArray[np.str_]:
        """Names (R,) of the units of rows that tell of ``unit`` (R,) in ``(begin_us, end_us]``; '' across a cut."""
        if not self.cuts:
            return unit
        first, last = np.searchsorted(self.cuts_us, begin_us, "right"), np.searchsorted(self.cuts_us, end_us, "left")
        names = [
            stretch(u, n) if n == m else ""
            for u, n, m in zip(unit.tolist(), first.tolist(), last.tolist(), strict=True)
        ]
        return np.array(names, dtype=np.str_)

    def part_of(self, unit: str) -> str | None:
        """The side of ``unit``; None where it is on none."""
        return next((part for part in PARTS if unit in getattr(self, part)), None)

    def to_json(self) -> str:
        """As ``read`` takes it."""
        return json.dumps({k: list(v) for k, v in asdict(self).items() if v}, indent=1) + "\n"


def stretch(unit: str, number: int) -> str:
    """Name of the stretch of ``unit`` behind ``number`` cuts."""
    return f"{unit}{_PART}{number + 1:02d}"


def stretch_of(unit: str) -> str:
    """Which stretch of time a unit is, in their order; its own name where it is none."""
    return unit.rpartition(_PART)[2]


def of_mapping(sides: Mapping[str, Sequence[str]]) -> Split:
    """From lists of units by part.

    Raises:
        SplitError: A part is missing, or the split leaks.
    """
    missing = [p for p in PARTS if not isinstance(sides.get(p), list | tuple)]
    if missing:
        raise SplitError(f"the split has no list '{missing[0]}'; it needs {', '.join(PARTS)}")
    train, validation, test = (tuple(str(u) for u in sides[p]) for p in PARTS)
    return Split(train, validation, test, tuple(str(c) for c in sides.get("cuts", ())))


def read(path: Path) -> Split:
    """From a JSON file with lists train, validation and test.

    Raises:
        SplitError: It cannot be read, a part is missing, or the split leaks.
    """
    try:
        sides = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise SplitError(f"split {path} cannot be read: {e}; expected JSON with lists {', '.join(PARTS)}") from e
    if not isinstance(sides, dict):
        raise SplitError(f"split {path} holds {type(sides).__name__}; expected lists {', '.join(PARTS)}")
    return of_mapping(sides)


def propose(units: Mapping[str, int], seed: int) -> Split:
    """A sixth of the units, one at least, judges, as many choose; both get units that had events before any others.

    ``units`` counts the events of each.

    Raises:
        SplitError: Fewer than three units.
    """
    if len(units) < len(PARTS):
        raise SplitError(
            f"{len(units)} units recorded; a split needs {len(PARTS)}: machines of one plant, or plants; record more"
        )
    rng = np.random.default_rng(seed)
    order = [sorted(units)[i] for i in rng.permutation(len(units))]
    order.sort(key=lambda u: units[u] == 0)  # stable: those with events first, shuffled among themselves
    held = max(1, len(units) // 6)
    return Split(tuple(sorted(order[2 * held :])), tuple(sorted(order[:held])), tuple(sorted(order[held : 2 * held])))


def by_time(unit: NDArray[np.str_], end_us: NDArray[np.int64], lost_us: int) -> Split:
    """Stretches with as many rows (R,) each, of as many units as there are; the newest sixth judges.

    ``lost_us`` is how much of a stretch tells of the one before or behind it.

    Raises:
        SplitError: The recording is too short for three.
    """
    ends = np.unique(end_us)
    hours = (int(ends[-1]) - int(ends[0])) / 3.6e9
    count = min(MOST_STRETCHES, int(3.6e9 * hours / (CROWDED * lost_us)))
    units = sorted(set(unit.tolist()))
    if count < len(PARTS):
        raise SplitError(
            f"{len(units)} units recorded, {len(PARTS)} are needed; {hours:.3g} h of windows are too short to split "
            f"by time, which takes {len(PARTS) * CROWDED * lost_us / 3.6e9:.3g} h; record longer, or more machines, or "
            "take shorter windows with --length"
        )
    cuts = [int(ends[len(ends) * n // count]) for n in range(1, count)]
    held = max(1, count // 6)
    sides = range(count - 2 * held), range(count - 2 * held, count - held), range(count - held, count)
    train, validation, test = (tuple(stretch(u, n) for u in units for n in side) for side in sides)
    return Split(train, validation, test, tuple(datetime.fromtimestamp(c / 1e6, UTC).isoformat() for c in cuts))
