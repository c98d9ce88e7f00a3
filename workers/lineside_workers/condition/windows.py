"""From a recording to rows: one per machine and look, with the features the task serves with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition import features
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers.condition.splitting import Split
from lineside_workers.errors import LabelError, RecordingError
from lineside_workers.learning.encoders import Unlabelled
from lineside_workers.recorded import labels as labelled
from lineside_workers.recorded.reading import Floats, Recorded, grid, unit_of

STRIDE = 3  # cells between two training rows; neighbours tell the same
AHEAD = 6  # cells by which pretraining looks ahead
_CHUNK = 4096  # windows whose statistics are taken at once


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows: ``x`` (R, F) with NaN, ``end_us`` (R,), machine and unit (R,), ``label`` (R,) 1, 0 or -1 unknown.

    ``coming`` (R, C) is how the mean of each tag changes over the next ``AHEAD`` cells, NaN at a machine's end.
    """

    x: Floats
    end_us: NDArray[np.int64]
    machine: NDArray[np.str_]
    unit: NDArray[np.str_]
    label: NDArray[np.int64]
    coming: Floats

    def __len__(self) -> int:
        """R."""
        return len(self.end_us)

    def where(self, chosen: NDArray[np.bool_]) -> Rows:
        """The rows marked in ``chosen`` (R,)."""
        return Rows(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def of(self, units: Sequence[str]) -> Rows:
        """The rows of ``units``."""
        return self.where(np.isin(self.unit, list(units)))

    @property
    def known(self) -> Rows:
        """The rows that have a label."""
        return self.where(self.label >= 0)

    def labelled(self, found: Sequence[labelled.Label]) -> Rows:
        """With the labels known at the end of each machine's rows.

        Raises:
            LabelError: None of them falls on any row, or all say the same.
        """
        label = np.full(len(self), -1, dtype=np.int64)
        for machine in np.unique(self.machine).tolist():
            at = self.machine == machine
            own = [row for row in found if row.equipment_id == machine]
            label[at] = labelled.join(own, machine, self.end_us[at], int(self.end_us[at].max()))
        if not (label >= 0).any():
            have = ", ".join(sorted({row.equipment_id for row in found})[:5])
            machines = ", ".join(np.unique(self.machine).tolist()[:5])
            raise LabelError(
                f"no label falls on any window: labels are of {have or 'nothing'}, windows of {machines}; "
                "check equipment_id and times, or the delay"
            )
        return replace(self, label=label)


def rows(found: Recorded, config: ConditionConfig, stride: int = STRIDE) -> Rows:
    """Windows of every machine that has all tags.

    Raises:
        RecordingError: No machine has one whole window.
    """
    tags, parts = list(config.tags), []
    for machine in found.equipment_ids:
        if any((machine, t) not in found.series for t in tags):
            continue
        end_us, cells = grid(found, machine, tags, config.period_s)
        if len(end_us) < config.length:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(cells, config.length, axis=0).transpose(0, 2, 1)[::stride]
        x = np.concatenate([features.statistics(windows[i : i + _CHUNK]) for i in range(0, len(windows), _CHUNK)])
        means = x[:, :: len(features.PARTS)]
        ahead, step = np.full_like(means, np.nan), max(1, AHEAD // stride)
        ahead[:-step] = means[step:] - means[:-step]
        seen = np.isfinite(means).any(axis=1)
        n = int(seen.sum())
        names = np.full(n, machine), np.full(n, unit_of(machine))
        end = end_us[config.length - 1 :: stride][seen]
        parts.append(Rows(x[seen], end, *names, np.full(n, -1, dtype=np.int64), ahead[seen]))
    if not parts:
        raise RecordingError(
            f"no machine of {found.root} has {', '.join(tags)} for {config.length * config.period_s / 3600:g} h, one "
            "window; record longer or choose other tags"
        )
    return Rows(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Rows)})


def unlabelled(data: Rows, normaliser: Normaliser, scale: Floats) -> Unlabelled:
    """Rows for pretraining; ``scale`` (C,) is the spread of each tag's change."""
    usable = data.where(np.asarray(np.isfinite(data.coming).all(axis=1)))
    _, recording = np.unique(usable.machine, return_inverse=True)
    order = np.lexsort((usable.end_us, recording))
    coming = np.clip(usable.coming[order] / scale, -5, 5).astype(np.float32)
    hours = usable.end_us[order] / 3.6e9
    return Unlabelled(normaliser(usable.x[order]), recording[order].astype(np.int64), hours - hours.min(), coming)


def counts(data: Rows, split: Split) -> dict[str, dict[str, int]]:
    """Units, machines, rows and positive rows by side, for reports."""
    out = {}
    for part in ("train", "validation", "test"):
        own = data.of(getattr(split, part))
        out[part] = {
            "units": len(set(own.unit.tolist())),
            "machines": len(set(own.machine.tolist())),
            "rows": len(own.known),
            "positive": int((own.label == 1).sum()),
        }
    return out
