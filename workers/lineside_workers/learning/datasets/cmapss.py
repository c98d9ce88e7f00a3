"""C-MAPSS: turbofan engines run to failure, four subsets; split by engine, remaining life capped, no cycle count.

FD001 and FD003 fly under one condition, FD002 and FD004 under six; FD003 and FD004 fail in two modes.
Source: Saxena et al., Damage Propagation Modeling for Aircraft Engine Run-to-Failure Simulation (2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_workers.learning.datasets import folder

SUBSETS = ("FD001", "FD002", "FD003", "FD004")
SETTINGS = ("os1", "os2", "os3")
SENSORS = tuple(f"s{i}" for i in range(1, 22))
CAP = 125.0  # cycles; beyond it wear does not show. Source: Heimes (2008), used by nearly all later work


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's history, a row per cycle.

    ``settings`` float64 (T, 3), ``sensors`` float64 (T, 21), ``life_left`` float64 (T,) cycles, not capped.
    """

    name: str
    settings: NDArray[np.float64]
    sensors: NDArray[np.float64]
    life_left: NDArray[np.float64]


def read_training(root: Path, subset: str) -> list[Engine]:
    """Engines run to failure.

    Raises:
        DatasetError: The subset's file is missing or damaged.
    """
    return [_engine(subset, unit, rows, 0.0) for unit, rows in _units(root, f"train_{subset}").items()]


def has_test(root: Path, subset: str) -> bool:
    """Whether the official test engines of ``subset`` are here; elsewhere validation engines stand in."""
    return (root / "cmapss" / f"test_{subset}.csv.gz").is_file() and (root / "cmapss" / f"RUL_{subset}.txt").is_file()


def read_test(root: Path, subset: str) -> list[Engine]:
    """Engines whose history ends some time before failure; open it once per seed, with a frozen recipe.

    Raises:
        DatasetError: The subset's test set is not here.
    """
    left = np.loadtxt(folder.required(root, f"cmapss/RUL_{subset}.txt"), ndmin=1)
    units = _units(root, f"test_{subset}")
    return [_engine(f"{subset}-test", unit, rows, left[i]) for i, (unit, rows) in enumerate(units.items())]


def _units(root: Path, name: str) -> dict[int, NDArray[np.float64]]:
    path = folder.required(root, f"cmapss/{name}.csv.gz")
    columns = ("unit", "cycle", *SETTINGS, *SENSORS)
    rows = np.asarray([[float(row[c]) for c in columns] for row in folder.table(path)])
    return {int(u): rows[rows[:, 0] == u] for u in np.unique(rows[:, 0])}


def _engine(subset: str, unit: int, rows: NDArray[np.float64], left_at_end: float) -> Engine:
    ordered = rows[np.argsort(rows[:, 1])]
    left = left_at_end + np.arange(len(ordered) - 1, -1, -1, dtype=np.float64)
    return Engine(f"{subset}-{unit:03d}", ordered[:, 2:5], ordered[:, 5:], left)
