"""What recorded recommendations were worth, once labels say what came of them: by model version, stage and machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lineside_plugins.types import Record
from lineside_workers.errors import LabelError
from lineside_workers.recorded.labels import Label, us
from lineside_workers.recorded.reading import Recorded

STAGES = ("full", "canary", "shadow")
ALL = "all"


@dataclass(slots=True)
class Worth:
    """Labelled windows of one version in one stage on one machine, by what was said and what came.

    ``apart`` and ``square`` add up how far its first number, a probability, was from 1 or 0.
    """

    windows: int = 0
    hits: int = 0
    flags: int = 0
    positive: int = 0
    apart: float = 0.0
    square: float = 0.0
    numbers: int = 0

    def add(self, flag: bool, number: float | None, label: int) -> None:
        """One window."""
        self.windows += 1
        self.flags += flag
        self.positive += label
        self.hits += flag and label == 1
        if number is not None and np.isfinite(number):
            self.numbers += 1
            self.apart += abs(number - label)
            self.square += (number - label) ** 2

    def figures(self) -> dict[str, float | int | None]:
        """Precision, recall, F1, mean absolute error and Brier score; None where there is nothing to divide by."""
        return {
            "windows": self.windows,
            "positive": self.positive,
            "flags": self.flags,
            "precision": self.hits / self.flags if self.flags else None,
            "recall": self.hits / self.positive if self.positive else None,
            "f1": 2 * self.hits / (self.flags + self.positive) if self.flags + self.positive else None,
            "mae": self.apart / self.numbers if self.numbers else None,
            "brier": self.square / self.numbers if self.numbers else None,
        }


Key = tuple[str, str, str, str]
"""Task, model version, stage, equipment_id or ``ALL``."""


def measure(found: Recorded, labels: Sequence[Label], fields: Mapping[str, tuple[str, str]]) -> dict[Key, Worth]:
    """Worth of each version; ``fields`` are the flag and the number followed, by task; others are left out.

    Raises:
        LabelError: No label falls on any recorded recommendation.
    """
    by_machine: dict[str, list[tuple[int, int, int]]] = {}
    for label in labels:
        by_machine.setdefault(label.equipment_id, []).append((us(label.start), us(label.end), label.label))
    out: dict[Key, Worth] = {}
    for row in found.recommendations:
        task, stage = str(row.get("task")), str(row.get("stage"))
        if stage not in STAGES or task not in fields:
            continue
        label_now = _label_at(by_machine.get(str(row["equipment_id"]), ()), us(str(row["time"])))
        if label_now in (0, 1):
            flag, number = fields[task]
            for machine in (str(row["equipment_id"]), ALL):
                key = task, str(row.get("model_version")), stage, machine
                out.setdefault(key, Worth()).add(row.get(flag) is True, _number(row, number), label_now)
    if not out:
        raise LabelError(
            f"no label falls on any of {len(found.recommendations)} recommendations in {found.root}; label the time in "
            "which a gateway ran with recording.folder set, or check equipment_id"
        )
    return dict(sorted(out.items()))


def rows(worth: Mapping[Key, Worth]) -> list[dict[str, object]]:
    """A table."""
    names = ("task", "version", "stage", "equipment")
    return [{**dict(zip(names, key, strict=True)), **w.figures()} for key, w in worth.items()]


def write_prometheus(path: Path, worth: Mapping[Key, Worth]) -> None:
    """Gauges in Prometheus' text format, for the textfile collector of a node exporter; the file is there whole.

    Raises:
        OSError: It cannot be written.
    """
    lines: list[str] = []
    for name in Worth().figures():
        lines.append(f"# TYPE lineside_model_{name} gauge")
        for (task, version, stage, equipment), one in worth.items():
            value = one.figures()[name]
            if value is not None:
                labels = f'task="{task}",version="{version}",stage="{stage}",equipment="{equipment}"'
                lines.append(f"lineside_model_{name}{{{labels}}} {value:.6g}")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.tmp")
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    fresh.replace(path)


def _label_at(stretches: Sequence[tuple[int, int, int]], at_us: int) -> int | None:
    return next((label for start, end, label in stretches if start < at_us <= end), None)


def _number(row: Record, name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, float | int) and not isinstance(value, bool) else None
