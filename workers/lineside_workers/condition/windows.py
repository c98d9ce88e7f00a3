"""From a recording to rows: one per machine and look, with the features the task serves with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition import features
from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_workers.condition import channels
from lineside_workers.condition.channels import Channels
from lineside_workers.errors import LabelError, RecordingError
from lineside_workers.learning.encoders import Unlabelled
from lineside_workers.recorded import labels as labelled
from lineside_workers.recorded.reading import Floats, Recorded, grid, unit_of
from lineside_workers.recorded.splitting import PARTS, Split

STRIDE = 3  # cells between two training rows; neighbours tell the same
AHEAD = 6  # cells by which pretraining looks ahead
_CHUNK = 4096  # windows whose statistics are taken at once


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows: ``x`` (R, F) with NaN, ``end_us`` (R,), machine and unit (R,).

    ``label`` (R,) is 1, 0 or -1 for unknown, ``value`` (R,) the labelled quantity, NaN for unknown. ``coming`` (R, C)
    is how the mean of each tag changes over the next ``AHEAD`` cells, NaN at a machine's end; ``later`` (R, H) what the
    tag that is forecast will be.
    """

    x: Floats
    end_us: NDArray[np.int64]
    machine: NDArray[np.str_]
    unit: NDArray[np.str_]
    label: NDArray[np.int64]
    coming: Floats
    value: Floats
    later: Floats

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
        """With the labels and values known at the end of each machine's rows.

        Raises:
            LabelError: None of them falls on any row.
        """
        label, value = np.full(len(self), -1, dtype=np.int64), np.full(len(self), np.nan)
        for machine in np.unique(self.machine).tolist():
            at = self.machine == machine
            own = [row for row in found if row.equipment_id == machine]
            end_us, now_us = self.end_us[at], int(self.end_us[at].max())
            label[at] = labelled.join(own, machine, end_us, now_us)
            value[at] = labelled.join_values(own, machine, end_us, now_us)
        if not (label >= 0).any() and not np.isfinite(value).any():
            have = ", ".join(sorted({row.equipment_id for row in found})[:5])
            machines = ", ".join(np.unique(self.machine).tolist()[:5])
            raise LabelError(
                f"no label falls on any window: labels are of {have or 'nothing'}, windows of {machines}; "
                "check equipment_id and times, or the delay"
            )
        return replace(self, label=label, value=value)

    def cut(self, split: Split, config: ConditionConfig) -> Rows:
        """With the units that ``split`` has by time, '' for rows that tell of two.

        Rows before an event that lies behind a cut tell of it: they belong to no stretch before that of the event.
        """
        if not split.cuts:
            return self
        back, ahead = reach_us(config)
        unit = split.stretches(self.unit, self.end_us - back, self.end_us + ahead)
        number = np.searchsorted(split.cuts_us, self.end_us, "left")
        for machine in np.unique(self.machine).tolist():
            at = np.flatnonzero(self.machine == machine)
            at = at[np.argsort(self.end_us[at])]
            before = self.label[at] == 1
            run = np.cumsum(np.diff(before, prepend=False))
            last = np.zeros(int(run.max()) + 1, dtype=np.int64)
            np.maximum.at(last, run, number[at])
            unit[at[before & (number[at] < last[run])]] = ""
        return replace(self, unit=unit)


def reach_us(config: ConditionConfig) -> tuple[int, int]:
    """How far a row looks back, and how far ahead lies what it learns from."""
    cell = round(1e6 * config.period_s)
    ahead_h = max(config.ahead_h) if config.head is Head.FORECASTING else 0.0
    return config.length * cell, max(AHEAD * cell, round(3.6e9 * ahead_h))


def rows(found: Recorded, config: ConditionConfig, stride: int = STRIDE, among: Channels | None = None) -> Rows:
    """Windows of every machine that has all tags of ``config``; with channels to choose ``among``, of any of them.

    Raises:
        RecordingError: No machine has one whole window.
    """
    wanted = among or channels.of_tags(config.tags)
    parts = []
    for machine in found.equipment_ids:
        has = channels.of_machine(found, machine, wanted)
        if not (has.all() if among is None else has.any()):
            continue
        end_us, cells = grid(found, machine, [tag for tag, _ in wanted], config.period_s)
        cells[:, ~has] = np.nan
        if len(end_us) >= config.length:
            parts.append(_of_machine(machine, end_us, cells, config, stride))
    if not parts:
        raise RecordingError(
            f"no machine of {found.root} has {', '.join(tag for tag, _ in wanted)} for "
            f"{config.length * config.period_s / 3600:g} h, one window; record longer or choose other tags"
        )
    return Rows(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Rows)})


def _of_machine(
    machine: str, end_us: NDArray[np.int64], cells: NDArray[np.float32], config: ConditionConfig, stride: int
) -> Rows:
    """Rows of one machine's cells (N, C), whose ends are ``end_us`` (N,)."""
    windows = np.lib.stride_tricks.sliding_window_view(cells, config.length, axis=0).transpose(0, 2, 1)[::stride]
    x = np.concatenate([features.statistics(windows[i : i + _CHUNK]) for i in range(0, len(windows), _CHUNK)])
    means = x[:, :: len(features.PARTS)]
    ahead, step = np.full_like(means, np.nan), max(1, AHEAD // stride)
    ahead[:-step] = means[step:] - means[:-step]
    seen = np.asarray(np.isfinite(means).any(axis=1))
    last = slice(config.length - 1, None, stride)
    n = int(seen.sum())
    names = np.full(n, machine), np.full(n, unit_of(machine))
    label, value = np.full(n, -1, dtype=np.int64), np.full(n, np.nan)
    return Rows(x[seen], end_us[last][seen], *names, label, ahead[seen], value, _later(cells, config)[last][seen])


def _later(cells: NDArray[np.float32], config: ConditionConfig) -> Floats:
    """What the tag that is forecast will be, (N, H), seen from each of ``cells`` (N, C): means of the hour before."""
    hours = config.ahead_h if config.head is Head.FORECASTING else ()
    out = np.full((len(cells), len(hours)), np.nan)
    if not hours:
        return out
    tag = cells[:, list(config.tags).index(config.forecast_tag)].astype(np.float64)
    for k, hour in enumerate(hours):
        steps = max(1, round(3600.0 * hour / config.period_s))
        width = min(steps, max(1, round(3600.0 / config.period_s)))
        if len(tag) < steps + 1:
            continue
        spans = np.lib.stride_tricks.sliding_window_view(tag, width)[1 + steps - width :]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an hour without samples is NaN by contract
            out[: len(tag) - steps, k] = np.nanmean(spans, axis=1)
    return out


def unlabelled(data: Rows, normaliser: Normaliser, scale: Floats) -> Unlabelled:
    """Rows for pretraining; ``scale`` (C,) is the spread of each tag's change, which may be unknown for some tags."""
    usable = data.where(np.asarray(np.isfinite(data.coming).any(axis=1)))
    _, recording = np.unique(usable.machine, return_inverse=True)
    order = np.lexsort((usable.end_us, recording))
    coming = np.clip(usable.coming[order] / scale, -5, 5).astype(np.float32)
    hours = usable.end_us[order] / 3.6e9
    return Unlabelled(normaliser(usable.x[order]), recording[order].astype(np.int64), hours - hours.min(), coming)


def counts(data: Rows, split: Split, usable: Callable[[Rows], Rows]) -> dict[str, dict[str, int]]:
    """Units, machines, rows that can judge and positive rows by side, for reports."""
    out = {}
    for part in PARTS:
        own = data.of(getattr(split, part))
        out[part] = {
            "units": len(set(own.unit.tolist())),
            "machines": len(set(own.machine.tolist())),
            "rows": len(usable(own)),
            "positive": int((own.label == 1).sum()),
        }
    return out
