"""What a stretch of history says in a few numbers: levels, slopes and spread at several time scales, causal.

Row t of every result uses rows up to t only, so that a feature table built once per recording serves every moment
in it. Sums are kept running: cost is O(T C) per scale whatever the window's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scales:
    """Windows in rows: means over ``means``, least-squares slopes and spread over ``slopes``, decaying ``spans``.

    ``baseline`` rows at the start of a recording are taken as its own normal level; 0 leaves that out.
    """

    means: tuple[int, ...] = (5, 15)
    slopes: tuple[int, ...] = (10, 30)
    spans: tuple[int, ...] = (10, 40)
    baseline: int = 0

    def names(self, tags: Sequence[str]) -> tuple[str, ...]:
        """Feature names in the order of ``statistics``: ``tag:what``."""
        parts = ["last", *(f"mean{w}" for w in self.means), *(f"slope{w}" for w in self.slopes)]
        parts += [*(f"spread{w}" for w in self.slopes), *(f"decay{s}" for s in self.spans)]
        parts += ["rise"] if self.baseline else []
        return tuple(f"{tag}:{part}" for part in parts for tag in tags)


def statistics(values: Floats, scales: Scales) -> Floats:
    """Features (T, F) of a recording ``values`` (T, C) without NaN, columns as ``Scales.names`` says.

    A window reaching before the first row is cut there, so that early rows have features too.
    """
    parts = [values, *(rolling_mean(values, w) for w in scales.means)]
    lines = [rolling_line(values, w) for w in scales.slopes]
    parts += [slope for slope, _ in lines] + [spread for _, spread in lines]
    decayed = [decaying_mean(values, span) for span in scales.spans]
    parts += decayed
    if scales.baseline:
        smooth = decayed[0] if decayed else values
        parts.append(smooth - _own_level(values, scales.baseline))
    return np.concatenate(parts, axis=1)


def rolling_mean(values: Floats, width: int) -> Floats:
    """Mean (T, C) of the last ``width`` rows, of fewer at the start."""
    total = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values]), axis=0)
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - width, 0)
    out: Floats = (total[last] - total[first]) / (last - first)[:, None]
    return out


def rolling_line(values: Floats, width: int) -> tuple[Floats, Floats]:
    """Least-squares slope per row (T, C) over the last ``width`` rows, and spread about that line (T, C)."""
    centred = values - values[:1]  # keeps the running sums of squares small
    time = np.arange(len(values), dtype=np.float64)[:, None]
    n, t, tt = (_windowed(x, width) for x in (np.ones_like(time), time, time**2))
    y, ty, yy = (_windowed(x, width) for x in (centred, centred * time, centred**2))
    spread_t = np.maximum(tt - t * t / n, 1e-9)
    slope = np.where(n > 1, (ty - t * y / n) / spread_t, 0.0)
    left = np.maximum(yy - y * y / n - slope**2 * spread_t, 0.0)
    return slope, np.sqrt(left / n)


def lagged(values: Floats, lag: int) -> Floats:
    """``values`` (T, C) as they were ``lag`` rows before; NaN where there was none yet."""
    out = np.full_like(values, np.nan)
    if lag < len(values):
        out[lag:] = values[: len(values) - lag]
    return out


def decaying_mean(values: Floats, span: float) -> Floats:
    """Exponentially weighted mean (T, C); ``span`` rows as in pandas (alpha = 2 / (span + 1)), start corrected."""
    keep = 1.0 - 2.0 / (span + 1.0)
    out = np.empty_like(values)
    total, weight = np.zeros(values.shape[1]), 0.0
    for t, row in enumerate(values):
        total, weight = keep * total + row, keep * weight + 1.0
        out[t] = total / weight
    return out


def _windowed(values: Floats, width: int) -> Floats:
    total = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values]), axis=0)
    last = np.arange(1, len(values) + 1)
    out: Floats = total[last] - total[np.maximum(last - width, 0)]
    return out


def _own_level(values: Floats, rows: int) -> Floats:
    """Mean (T, C) of the first ``rows`` rows, of those seen so far where fewer are."""
    seen = np.minimum(np.arange(1, len(values) + 1), rows)
    total = np.cumsum(values[:rows], axis=0)
    out: Floats = total[np.minimum(seen, len(total)) - 1] / seen[:, None]
    return out
