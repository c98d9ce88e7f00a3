"""Hours left for the lives that nobody labelled: what a first model says in a life's rows agrees on when it ends.

A life begins with the recording or a repair and leads to one end. Few labelled lives teach a first model; spread along
the others they teach a second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_plugins.types import Record
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError, SettingsError
from lineside_workers.learning import spreading
from lineside_workers.recorded import labels

HOURS = {"s": 1 / 3600, "min": 1 / 60, "h": 1.0, "d": 24.0}  # of a unit that is left
BELIEVED, BLUR = 0.72, 0.08  # of the largest labelled value; measured on C-MAPSS: 90 and 10 of 125 cycles
Floats: TypeAlias = NDArray[np.float64]
Lives: TypeAlias = NDArray[np.int64]


def check(task: ConditionConfig) -> None:
    """Check that the task asks for time that is left.

    Raises:
        SettingsError: Another head, or a unit that is no time.
    """
    if task.head is not Head.REGRESSION or task.unit not in HOURS:
        raise SettingsError(
            f"--spread needs time that is left, not head '{task.head}' in '{task.unit}'; give --head regression and "
            f"--unit {', '.join(HOURS)}"
        )


def of(data: Rows, events: Sequence[Record]) -> Lives:
    """Number (R,) of the life that each row lies in: of its machine, since its last repair."""
    out = np.zeros(len(data), dtype=np.int64)
    first = 0
    for machine in np.unique(data.machine).tolist():
        own = data.machine == machine
        renewed = [e for e in events if e["equipment_id"] == machine and e["kind"] in labels.RENEWALS]
        starts = np.sort([labels.us(str(e["time"])) for e in renewed])
        out[own] = first + np.searchsorted(starts, data.end_us[own])
        first += len(starts) + 1
    return out


def unlabelled(data: Rows, lives: Lives) -> tuple[Rows, Lives]:
    """The rows of machines without a labelled value, and their ``lives``.

    Raises:
        LabelError: There is no such machine.
    """
    known = set(data.machine[np.isfinite(data.value)].tolist())
    without = ~np.isin(data.machine, list(known))
    if not without.any():
        raise LabelError(
            "--spread finds no training machine without a labelled value to learn from; leave it away, or bring "
            "recordings of more machines"
        )
    return data.where(without), lives[without]


def spread(said: Floats, rows: Rows, lives: Lives, most: float, unit: str) -> Rows:
    """Rows with the value (R,) that follows from ``said`` (R,) of all rows of a life; those without any left out.

    ``most`` is the largest labelled value: more than that was never told apart.
    """
    per_hour = 1.0 / HOURS[unit]
    value = spreading.along(said, lives, rows.end_us / 3.6e9 * per_hour, BELIEVED * most, BLUR * most)
    found = replace(rows, value=np.minimum(value, most))
    return found.where(np.isfinite(value) & (value >= 0.0))


def joined(one: Rows, other: Rows) -> Rows:
    """The rows of both."""
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in Rows.__dataclass_fields__}
    return Rows(**{name: np.concatenate(pair) for name, pair in pairs.items()})
