"""From a window of cells to one row of condition features per machine. Pure numpy, vectorised over B.

Only cells in which the machine was running since its last renewal count. Vibration, kurtosis and temperature are
first freed of what the load explains (family, spindle power, tool use, hour of the day, a recent stop) by a linear
model fitted on recordings, then averaged over horizons that end at the window's end or ``lag`` cells before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.types import WindowBatch

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

CHANNELS = ("VibRms", "VibKurtosis", "SpindleTemp", "SpindlePower", "State", "ActiveFamily", "ToolCount")
VIBRATION, KURTOSIS, TEMPERATURE, POWER, STATE, FAMILY, TOOL = range(len(CHANNELS))
PERIOD_S = 900.0
LENGTH = 192  # cells, 48 h: two days, so that the daily temperature cycle and shift patterns are seen twice
RUNNING, FAILED, MAINTAINED = 1, 5, 6  # State codes of the PLC
FAMILIES = 4
SIGNALS = ("vibration", "kurtosis", "temperature")
HORIZONS_H = (1.0, 4.0, 12.0, 24.0, 48.0)
EARLY_CELLS = 24  # the first 6 running hours in view since renewal: this mounting's own level
RECENT_H = 4.0
COVARIATES = FAMILIES + 6
COLD_CELLS = 4  # over which a recent stop still cools the spindle


@dataclass(frozen=True, slots=True)
class Compensation:
    """Linear model of the healthy signals in log mm/s, kurtosis and degC.

    ``coefficients`` (2, COVARIATES, 3): machines without a tool, then machines with one.
    """

    coefficients: Floats


def feature_names() -> tuple[str, ...]:
    """Names of the F features, in column order."""
    names = [f"{s}_{h:g}h" for h in HORIZONS_H for s in SIGNALS]
    names += [f"{s}_rise" for s in SIGNALS] + [f"{s}_trend" for s in SIGNALS] + ["vibration_scatter"]
    return (*names, "age_h", "running_share", "power", "mill")


FEATURES = len(feature_names())


def last_renewal_cell(state: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """First cell (B,) after the last one spent in planned maintenance; 0 where ``state`` (B, T) shows none.

    FAILED is no renewal by itself: a broken tool shows it too. Repairs are known from their events.
    """
    stopped = state == MAINTAINED
    back = np.argmax(stopped[:, ::-1], axis=1)
    return np.where(stopped.any(axis=1), state.shape[1] - back, 0)


def usable_cells(values: NDArray[np.floating[Any]], age_s: Floats, period_s: float) -> Mask:
    """Cells (B, T) that tell of the life now running: machine running, all signals present, after the renewal.

    ``values`` (B, T, C); ``age_s`` (B,) seconds since the last renewal event at the window's end, NaN if unknown.
    """
    length = values.shape[1]
    state = values[:, :, STATE]
    cells_known = np.where(np.isfinite(age_s), np.floor(np.nan_to_num(age_s) / period_s), length)
    start = np.maximum(last_renewal_cell(state), length - cells_known)
    mask: Mask = (state == RUNNING) & (np.arange(length) >= start[:, None])
    seen = values[:, :, :STATE]
    mask &= np.isfinite(seen).all(axis=2) & (seen[:, :, VIBRATION] > 0) & (seen[:, :, POWER] > 0)
    return mask


def with_tool(values: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """1 where a machine of ``values`` (B, T, C) counts parts of a tool, else 0, (B,)."""
    counted: Mask = np.isfinite(values[:, :, TOOL]).any(axis=1)
    return counted.astype(np.intp)


def covariates(values: NDArray[np.floating[Any]], end_s: Floats, period_s: float) -> Floats:
    """What explains a healthy signal, (B, T, COVARIATES); ``end_s`` (B,) is the window's end, Unix seconds UTC."""
    b, t, _ = values.shape
    hour = ((end_s[:, None] - period_s * (np.arange(t)[::-1] + 0.5)) % 86_400.0) * (2 * np.pi / 86_400.0)
    stopped = np.cumsum(values[:, :, STATE] != RUNNING, axis=1)
    recent = stopped.copy()
    recent[:, COLD_CELLS:] -= stopped[:, :-COLD_CELLS]
    power = np.log(np.fmax(values[:, :, POWER], 0.1))
    out = np.empty((b, COVARIATES, t))
    np.equal(values[:, None, :, FAMILY], np.arange(FAMILIES)[:, None], out=out[:, :FAMILIES], casting="unsafe")
    out[:, FAMILIES] = power
    out[:, FAMILIES + 1] = power**2
    out[:, FAMILIES + 2] = np.fmax(values[:, :, TOOL], 0.0) / 100.0
    out[:, FAMILIES + 3] = np.sin(hour)
    out[:, FAMILIES + 4] = np.cos(hour)
    out[:, FAMILIES + 5] = recent / COLD_CELLS
    return out.transpose(0, 2, 1)


def signals(values: NDArray[np.floating[Any]]) -> Floats:
    """Log vibration, kurtosis and temperature (B, T, 3)."""
    out = np.array(values[:, :, :POWER], dtype=np.float64)
    out[:, :, VIBRATION] = np.log(np.fmax(out[:, :, VIBRATION], 1e-3))
    return out


def features(
    values: NDArray[np.floating[Any]],
    end_s: Floats,
    age_s: Floats,
    compensation: Compensation,
    *,
    period_s: float = PERIOD_S,
    lags: tuple[int, ...] = (0,),
) -> Floats:
    """One row per window and lag, float64 (B, len(lags), F); NaN where too few cells count.

    ``values`` (B, T, C) in the order of ``CHANNELS``. A lag of n answers what would have been said n cells earlier.
    """
    b, t, _ = values.shape
    mask = usable_cells(values, age_s, period_s)
    mill = with_tool(values)
    clean = signals(values) - covariates(values, end_s, period_s) @ compensation.coefficients[mill]
    clean = np.where(mask[:, :, None], clean, 0.0)
    weights = _spans(t, lags, period_s)
    count = (mask @ weights.T).reshape(b, len(lags), -1)
    mean = np.matmul(weights, clean).reshape(b, len(lags), len(HORIZONS_H), 3)
    mean = np.where(count[..., None] >= 2, mean / np.maximum(count, 1)[..., None], np.nan)
    recent = mean[:, :, HORIZONS_H.index(RECENT_H)]
    early = mask & (np.cumsum(mask, axis=1) <= EARLY_CELLS)
    level = (early[:, :, None] * clean).sum(axis=1) / np.maximum(early.sum(axis=1), 1)[:, None]
    squares = np.matmul(weights, clean[:, :, :1] ** 2).reshape(b, len(lags), -1)[:, :, HORIZONS_H.index(12.0)]
    half_day = HORIZONS_H.index(12.0)
    variance = squares / np.maximum(count[:, :, half_day], 1) - mean[:, :, half_day, 0] ** 2
    age_h = (age_s[:, None] - period_s * np.asarray(lags)) / 3600.0
    power = _mean(np.where(mask, values[:, :, POWER], 0.0), weights, count)[:, :, half_day]
    share = count[:, :, -1] / np.minimum(t - np.asarray(lags), 48 * 3600.0 / period_s)
    tail = [np.sqrt(np.maximum(variance, 0.0)), age_h, share, power, np.broadcast_to(mill[:, None], age_h.shape)]
    return np.concatenate(
        [mean.reshape(b, len(lags), -1), recent - level[:, None], mean[:, :, 2] - mean[:, :, 4], np.stack(tail, -1)],
        axis=-1,
    )


@lru_cache(maxsize=16)
def _spans(length: int, lags: tuple[int, ...], period_s: float) -> Floats:
    """Which cells each lag and horizon average over, 0 or 1, (L * H, T)."""
    from_end = np.arange(length)[::-1]
    spans = [(from_end >= lag) & (from_end < lag + h * 3600.0 / period_s) for lag in lags for h in HORIZONS_H]
    return np.array(spans, dtype=np.float64)


def _mean(cells: Floats, weights: Floats, count: Floats) -> Floats:
    total = (cells @ weights.T).reshape(count.shape)
    return np.where(count >= 2, total / np.maximum(count, 1), np.nan)


def channel_order(batch: WindowBatch) -> NDArray[np.float32]:
    """The batch's values (B, T, C) in the order of ``CHANNELS``, cells that are not Good as NaN."""
    values: NDArray[np.float32] = np.where(batch.good, batch.values, np.float32(np.nan))
    if batch.tags != CHANNELS:
        values = values[:, :, [batch.channel(tag) for tag in CHANNELS]]
    return values
