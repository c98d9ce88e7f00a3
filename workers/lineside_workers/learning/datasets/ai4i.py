"""AI4I 2020: 10,000 independent milling operations, 339 machine failures; split by stratified 5-fold.

The five failure-mode columns say why the target is true and are never read.
Source: S. Matzka, Explainable Artificial Intelligence for Predictive Maintenance Applications (2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_workers.learning.datasets import folder

TAGS = ("AirTemp", "ProcessTemp", "Speed", "Torque", "ToolWear", "Quality")
_COLUMNS = (
    "Air temperature [K]",
    "Process temperature [K]",
    "Rotational speed [rpm]",
    "Torque [Nm]",
    "Tool wear [min]",
)
_QUALITY = {"L": 0.0, "M": 1.0, "H": 2.0}  # the product's grade; better grades bear more strain


@dataclass(frozen=True, slots=True)
class Operations:
    """``values`` float64 (R, 6) in the order of ``TAGS`` (K, K, rpm, Nm, min, grade), ``failed`` bool (R,)."""

    values: NDArray[np.float64]
    failed: NDArray[np.bool_]


def read(root: Path) -> Operations:
    """All operations in recorded order.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    rows = list(folder.table(folder.required(root, "ai4i/ai4i2020.csv.gz")))
    values = [[*(float(row[c]) for c in _COLUMNS), _QUALITY[row["Type"]]] for row in rows]
    return Operations(np.asarray(values), np.asarray([row["Machine failure"] == "1" for row in rows]))
