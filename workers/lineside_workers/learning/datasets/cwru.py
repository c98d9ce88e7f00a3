"""CWRU bearings: 45 vibration records at 12 kHz, drive end, of 11 faulty bearings and one sound one; split by bearing.

A random split over windows scores 1.0 because each bearing is in both halves; here a bearing is wholly held out.
Source: Case Western Reserve University Bearing Data Center; Smith and Randall, Rolling element bearing diagnostics
using the CWRU data: a benchmark study (2015).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_workers.learning.datasets import folder

RATE_HZ = 12_000.0
FAULTS = ("normal", "B", "IR", "OR")  # sound, ball, inner race, outer race
_NOMINAL_RPM = (1797.0, 1772.0, 1750.0, 1730.0)  # by load, where a record carries no speed


@dataclass(frozen=True, slots=True)
class Record:
    """``signal`` float64 (N,) of the drive-end accelerometer in g, ``shaft_hz`` the shaft's speed."""

    bearing: str
    fault: str
    load_hp: int
    shaft_hz: float
    signal: NDArray[np.float64]


def read(root: Path) -> list[Record]:
    """All records, in the order of the index file.

    Raises:
        DatasetError: A file is missing.
    """
    index = json.loads(folder.required(root, "cwru/meta.json").read_text())
    records = []
    for load in range(4):
        with np.load(folder.required(root, f"cwru/cwru_12k_DE_load{load}.npz")) as arrays:
            for entry in (e for e in index if e["load_hp"] == load):
                rpm = entry["rpm"] or _NOMINAL_RPM[load]
                signal = np.asarray(arrays[entry["key"]], dtype=np.float64).reshape(-1)
                name = f"{entry['fault']}-{entry['diameter_mil']:03d}"
                records.append(Record(name, entry["fault"], load, rpm / 60.0, signal))
    return records
