"""Small enough for a gateway: the C-MAPSS blend distilled into one network, and that network in int8, by ONNX Runtime.

Loss is RMSE against the blend on the same held-out engines of FD003 and FD004, which neither of the two was trained on.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import engines, life
from benchmarks.models.row import Row, over_seeds
from benchmarks.models.setting import Setting
from lineside_plugins.learning import metrics
from lineside_plugins.learning.blend import Blend
from lineside_plugins.learning.network import Schedule
from lineside_plugins.learning.onnx_model import OnnxModel
from lineside_workers.learning.export import exported
from lineside_workers.learning.heads import BlendRecipe, distil

SCORED = ("FD003", "FD004")
SMALLER, LOSS = 0.75, 0.02
STUDENT = BlendRecipe(
    life.RECIPE.bounds,
    hidden=(192, 64),
    dropout=0.0,
    schedule=Schedule(epochs=24, batch=512, learning_rate=3e-3, weight_decay=1e-3, patience=24, noise=0.05),
)


def run(setting: Setting) -> list[Row]:
    """Size, loss and speed of the int8 student beside the blend."""
    fleet, tested = engines.load(setting)
    split = life.parted(setting, fleet, tested, 0)
    held_out = split.held_out[np.isin(fleet.subset[split.held_out], SCORED)]
    watched = split.fold[split.fit] == 0
    fit = fleet.table(fleet.of(split.fit[~watched], every=6 if setting.quick else 2, first=10))
    validation = fleet.table(fleet.of(split.fit[watched], every=4))
    teacher = life.fitted(setting, fleet, split, 0).model
    student = distil(teacher, fit, validation, STUDENT, 0, setting.device)
    point = engines.moments(fleet, held_out, 0)
    rows, target, unit = fleet.rows[point], fleet.capped[point], fleet.names[fleet.engine[point]]
    before = teacher(rows)
    full = sum(tensor.nbytes for tensor in teacher.to_tensors().values())
    found = []
    scale, offset = np.asarray([teacher.high - teacher.low]), np.asarray([teacher.low])
    for name, int8 in (("distilled", False), ("int8", True)):
        file = exported(student, teacher.normaliser, scale, offset, (teacher.low, teacher.high), int8=int8)
        size, served = len(file), OnnxModel(file)
        after = served(rows)[:, 0]
        setting.say(f"edge: {name} {size / 1e3:.0f} kB, RMSE {metrics.rmse(target, after):.2f}")
        found += _rows(name, target, before, after, unit, 1.0 - size / full)
        note = f"blend {_micros(teacher, rows):.0f} us; {size / 1e3:.0f} kB against {full / 1e3:.0f} kB"
        micros = _micros(served, rows)
        found.append(Row("edge", f"{name}_us_per_row", micros, micros, micros, 1, note=note))
    return found


def _rows(
    name: str, target: NDArray[np.float64], before: NDArray[np.float64], after: NDArray[np.float64],
    unit: NDArray[np.str_], smaller: float,
) -> list[Row]:  # fmt: skip
    def loss(rows: NDArray[np.intp]) -> float:
        return metrics.rmse(target[rows], after[rows]) / metrics.rmse(target[rows], before[rows]) - 1.0

    lost = over_seeds(unit, [loss])
    return [
        Row("edge", f"{name}_smaller", smaller, smaller, smaller, 1, goal=SMALLER if name == "int8" else None),
        Row("edge", f"{name}_loss", lost.value, lost.low, lost.high, 1, goal=LOSS, higher_is_better=False),
    ]


def _micros(model: Blend | OnnxModel, rows: NDArray[np.float32]) -> float:
    """Median time per row in batches of 32, in microseconds."""
    batch, spent = rows[:32], []
    for _ in range(20):
        before = time.perf_counter()
        model(batch)
        spent.append((time.perf_counter() - before) * 1e6 / len(batch))
    return float(np.median(spent))
