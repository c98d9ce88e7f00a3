"""Who trains, who chooses, who judges: whole units on one side each, never rows at random."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lineside_workers.errors import SplitError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """Units (plants, or machines of one plant) by what they are used for."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that nobody stands on two sides.

        Raises:
            SplitError: A unit does, or a side is empty.
        """
        sides = {part: set(getattr(self, part)) for part in PARTS}
        for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
            if both := sorted(sides[one] & sides[other]):
                raise SplitError(
                    f"the split leaks: {', '.join(both)} stands in {one} and in {other}; give each unit one side"
                )
        if empty := [part for part, units in sides.items() if not units]:
            raise SplitError(f"the split has no unit in {empty[0]}; record more plants, or machines")

    def part_of(self, unit: str) -> str | None:
        """The side of ``unit``; None where it is on none."""
        return next((part for part in PARTS if unit in getattr(self, part)), None)

    def to_json(self) -> str:
        """As ``read`` takes it."""
        return json.dumps({k: list(v) for k, v in asdict(self).items()}, indent=1) + "\n"


def of_mapping(sides: Mapping[str, Sequence[str]]) -> Split:
    """From lists of units by part.

    Raises:
        SplitError: A part is missing, or the split leaks.
    """
    missing = [p for p in PARTS if not isinstance(sides.get(p), list | tuple)]
    if missing:
        raise SplitError(f"the split has no list '{missing[0]}'; it needs {', '.join(PARTS)}")
    return Split(*(tuple(str(u) for u in sides[p]) for p in PARTS))


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
