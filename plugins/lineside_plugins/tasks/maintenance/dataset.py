"""From recordings to training rows: cells of the serving grid, lives between renewals, time to failure or censoring.

Uses nothing a gateway would not have: recorded tags, failure, repair and maintenance events.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import Recording
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.types import ContractError, Record

Floats: TypeAlias = NDArray[np.float64]
RENEWALS = ("repair", "maintenance")
LAST = (f.STATE, f.FAMILY, f.TOOL)
DRIFT_WORD = "drift"  # in the crew's report
REQUIRED = f.CHANNELS[: f.TOOL]


@dataclass(frozen=True, slots=True)
class Life:
    """One machine from a renewal (or the recording's start) to its failure, planned renewal, or the recording's end.

    Times are Unix seconds UTC. ``known_start`` is False for the first life, whose age no gateway could know.
    ``mode`` is what the crew reported, "" if nothing; ``drifted`` whether it found the vibration sensor drifted, None
    if nobody looked.
    """

    start_s: float
    end_s: float
    failed: bool
    known_start: bool
    mode: str
    drifted: bool | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine's whole recording on the serving grid: ``cells`` float32 (N, C), ``end_s`` (N,) of each cell."""

    unit: str
    equipment_id: str
    cells: NDArray[np.float32]
    end_s: Floats
    lives: tuple[Life, ...]
    stops: tuple[float, ...]  # moments at which a request would be taken: job orders started; empty = at any time


def seconds(record: Record) -> float:
    """Unix seconds of a record's "time"."""
    return datetime.fromisoformat(str(record["time"])).timestamp()


def machines(recording: Recording) -> list[Machine]:
    """Every piece of equipment of ``recording`` that has the channels the task requires.

    Raises:
        ContractError: The recording's grid does not fit the serving grid.
    """
    ratio = round(f.PERIOD_S / recording.period_s)
    if ratio < 1 or abs(ratio * recording.period_s - f.PERIOD_S) > 1e-6:
        raise ContractError(f"recording has cells of {recording.period_s:g} s; expected a divisor of {f.PERIOD_S:g} s")
    time_s = recording.time.astype("datetime64[us]").astype(np.int64) / 1e6
    n = len(time_s) // ratio
    end_s = time_s[: n * ratio].reshape(n, ratio)[:, -1]
    events = recording.streams.get("events", ())
    found = []
    for name, tags in sorted(recording.tags.items()):
        if not all(tag in tags for tag in REQUIRED):
            continue
        own = [e for e in events if e.get("equipment_id") == name]
        starts = tuple(seconds(e) for e in own if e["kind"] == "job_order_started")
        lives = tuple(_lives(own, float(time_s[0]) - recording.period_s, float(time_s[-1])))
        found.append(Machine(recording.unit, name, _cells(tags, n, ratio), end_s, lives, starts))
    return found


def _cells(tags: Mapping[str, NDArray[np.float32]], n: int, ratio: int) -> NDArray[np.float32]:
    out = np.full((n, len(f.CHANNELS)), np.nan, dtype=np.float32)
    for c, tag in enumerate(f.CHANNELS):
        if tag not in tags:
            continue
        fine = np.asarray(tags[tag], dtype=np.float32)[: n * ratio].reshape(n, ratio)
        if c in LAST:
            back = np.argmax(np.isfinite(fine[:, ::-1]), axis=1)
            out[:, c] = fine[np.arange(n), ratio - 1 - back]
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Mean of empty slice")  # an empty cell is NaN by contract
                out[:, c] = np.nanmean(fine, axis=1)
    return out


def _lives(events: Sequence[Record], begin_s: float, end_s: float) -> list[Life]:
    lives, start, known, down = [], begin_s, False, False
    failed_at = float("nan")
    for event in events:
        kind, at = event["kind"], seconds(event)
        if kind == "failure" and not down:
            failed_at, down = at, True
        elif kind in RENEWALS:
            mode = str(event.get("mode") or "")
            begun = at - 3600.0 * float(event.get("value") or 0.0)  # a planned renewal is reported when it ends
            end = failed_at if down else max(start, begun)
            lives.append(Life(start, end, down, known, mode, DRIFT_WORD in str(event.get("text") or "").lower()))
            start, known, down = at, True, False
    if down:
        lives.append(Life(start, failed_at, True, known, ""))
    elif start < end_s:
        lives.append(Life(start, end_s, False, known, ""))
    return lives


@dataclass(frozen=True, slots=True)
class Rows:
    """R training rows: ``x`` (R, L, F) per lag, ``until_h`` and ``failed`` (R,) of the life ahead, and where from.

    ``mode`` (R,) is 1 bearing, 0 lubrication, -1 unknown; ``drifted`` (R,) 1 yes, 0 no, -1 unknown, both as found at
    the life's end. ``life`` (R,) numbers lives across the whole set.
    """

    x: Floats
    until_h: Floats
    failed: NDArray[np.bool_]
    mode: NDArray[np.int64]
    drifted: NDArray[np.int64]
    life: NDArray[np.int64]
    unit: NDArray[np.str_]
    lives: tuple[tuple[Machine, Life], ...]

    def __len__(self) -> int:
        """R."""
        return len(self.until_h)

    def where(self, chosen: NDArray[np.bool_]) -> Rows:
        """The rows marked in ``chosen`` (R,), with the lives they belong to."""
        used, life = np.unique(self.life[chosen], return_inverse=True)
        return Rows(
            x=self.x[chosen],
            until_h=self.until_h[chosen],
            failed=self.failed[chosen],
            mode=self.mode[chosen],
            drifted=self.drifted[chosen],
            life=life,
            unit=self.unit[chosen],
            lives=tuple(self.lives[i] for i in used),
        )


def rows(found: Sequence[Machine], compensation: f.Compensation, *, stride: int, lags: tuple[int, ...] = (0,)) -> Rows:
    """Windows ending on every ``stride``-th cell of every life in which the machine was in service."""
    parts: list[tuple[Floats, Floats, NDArray[np.int64]]] = []
    lives: list[tuple[Machine, Life]] = []
    for machine in found:
        padded = np.concatenate([np.full((f.LENGTH - 1, machine.cells.shape[1]), np.nan, np.float32), machine.cells])
        windows = np.lib.stride_tricks.sliding_window_view(padded, f.LENGTH, axis=0).transpose(0, 2, 1)
        state = machine.cells[:, f.STATE]
        in_service = np.isfinite(state) & (state != f.FAILED) & (state != f.MAINTAINED)
        for life in machine.lives:
            inside = (machine.end_s > life.start_s) & (machine.end_s < life.end_s) & in_service
            chosen = np.flatnonzero(inside)[::stride]
            if not len(chosen):
                continue
            end_s = machine.end_s[chosen]
            age_s = end_s - life.start_s if life.known_start else np.full(len(chosen), np.nan)
            x = f.features(windows[chosen], end_s, age_s, compensation, lags=lags)
            parts.append((x, (life.end_s - end_s) / 3600.0, np.full(len(chosen), len(lives))))
            lives.append((machine, life))
    if not parts:
        raise ContractError("the recordings show no machine in service; expected State and the condition tags")
    index = np.concatenate([p[2] for p in parts])
    return Rows(
        x=np.concatenate([p[0] for p in parts]),
        until_h=np.concatenate([p[1] for p in parts]),
        failed=np.array([life.failed for _, life in lives])[index],
        mode=np.array([{"bearing": 1, "lubrication": 0}.get(life.mode, -1) for _, life in lives])[index],
        drifted=np.array([-1 if life.drifted is None else int(life.drifted) for _, life in lives])[index],
        life=index,
        unit=np.array([m.unit for m, _ in lives])[index],
        lives=tuple(lives),
    )


def fit_compensation(found: Sequence[Machine], *, block: int = 96, ridge: float = 1e-3) -> f.Compensation:
    """Least squares of the signals on what explains them, within blocks of ``block`` cells (a day) of one life.

    Each block's own mean is taken out first, so that wear, mounting and drift, which change slowly, do not enter.
    """
    gram = np.zeros((2, f.COVARIATES, f.COVARIATES))
    cross = np.zeros((2, f.COVARIATES, len(f.SIGNALS)))
    for machine in found:
        values, end = machine.cells[None], machine.end_s[-1:]
        kind = int(f.with_tool(values)[0])
        x, y = f.covariates(values, end, f.PERIOD_S)[0], f.signals(values)[0]
        started = np.array([life.start_s for life in machine.lives])
        group = np.searchsorted(started, machine.end_s, side="left") * 100_000 + np.arange(len(x)) // block
        running = np.isfinite(y).all(axis=1) & (machine.cells[:, f.STATE] == f.RUNNING)
        for g in np.unique(group[running]):
            at = np.flatnonzero(running & (group == g))
            if len(at) < 8:
                continue
            dx, dy = x[at] - x[at].mean(axis=0), y[at] - y[at].mean(axis=0)
            gram[kind] += dx.T @ dx
            cross[kind] += dx.T @ dy
    scale = ridge * np.trace(gram, axis1=1, axis2=2) / f.COVARIATES + 1e-9
    return f.Compensation(np.linalg.solve(gram + scale[:, None, None] * np.eye(f.COVARIATES), cross))
