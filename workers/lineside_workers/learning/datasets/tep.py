"""Tennessee Eastman: a simulated chemical plant, normal and 21 faults, 52 variables every 3 minutes.

The official split: a training run per class (d00: 500 rows; faults: 480 rows, all under fault) and a test run per
class (960 rows, the fault from row 160 on).
Source: Russell, Chiang, Braatz, Data-driven Methods for Fault Detection and Diagnosis in Chemical Processes (2000).
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_workers.errors import DatasetError
from lineside_workers.learning.datasets import folder

CLASSES = 22
FAULT_FROM = 160  # first row under fault in a test run
NEARLY_UNDETECTABLE = (3, 9, 15)
TAGS = (*(f"XMEAS{i}" for i in range(1, 42)), *(f"XMV{i}" for i in range(1, 12)))


@dataclass(frozen=True, slots=True)
class Run:
    """One simulation: ``values`` float64 (T, 52), ``label`` int64 (T,), 0 = normal, else the fault's number."""

    fault: int
    values: NDArray[np.float64]
    label: NDArray[np.int64]


def read(root: Path) -> tuple[list[Run], list[Run]]:
    """Training runs and test runs, each by fault number.

    Raises:
        DatasetError: The archive is missing, damaged or incomplete.
    """
    path = folder.required(root, "tep/tep_dat.tar.xz")
    stored: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:  # in stored order: seeking back in an xz archive unpacks it from the start
                content = archive.extractfile(member)
                if content is not None and member.name.endswith(".dat"):
                    stored[Path(member.name).stem] = content.read()
        train = [_run(stored[f"d{fault:02d}"], fault, test=False) for fault in range(CLASSES)]
        return train, [_run(stored[f"d{fault:02d}_te"], fault, test=True) for fault in range(CLASSES)]
    except (tarfile.TarError, EOFError, KeyError, ValueError) as error:
        raise DatasetError(f"data set file '{path}' is damaged ({error}); fetch it again") from error


def _run(content: bytes, fault: int, *, test: bool) -> Run:
    values = np.loadtxt(io.BytesIO(content))
    values = values.T if values.shape[0] == len(TAGS) else values  # d00 is stored with variables as rows
    label = np.full(len(values), fault, dtype=np.int64)
    if test:
        label[:FAULT_FROM] = 0
    return Run(fault, values, label)
