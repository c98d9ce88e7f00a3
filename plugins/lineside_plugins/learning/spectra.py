"""Vibration as orders of the shaft: envelope spectra read at a bearing's own characteristic frequencies.

Each record is scaled by itself, so that what is learned is shape, not the level of one bearing's mounting.
Source: Randall and Antoni, Rolling element bearing diagnostics: a tutorial (2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
_HARMONICS = (1, 2, 3)
_SMOOTHING = 25  # spectral lines over which prewhitening levels the spectrum


@dataclass(frozen=True, slots=True)
class Bearing:
    """Characteristic frequencies in orders of the shaft: inner race, outer race, ball (both sides), cage."""

    inner: float
    outer: float
    ball: float
    cage: float

    @property
    def modulated(self) -> tuple[tuple[float, float], ...]:
        """Each fault's order with the order that modulates it: the shaft for races, the cage for balls."""
        return ((self.inner, 1.0), (self.outer, 1.0), (self.ball, self.cage))


@dataclass(frozen=True, slots=True)
class Bands:
    """Pass bands in Hz whose envelopes are read; ``width`` is the tolerance about an order (slip), relative."""

    passes: Sequence[tuple[float, float]]
    levels_hz: float = 500.0
    width: float = 0.012


def features(signal: Floats, rate_hz: float, shaft_hz: float, bearing: Bearing, bands: Bands) -> Floats:
    """Features (F,) of a stretch of vibration: envelope peaks per band and order, raw and prewhitened, and levels."""
    scaled = (signal - signal.mean()) / (signal.std() + 1e-12)
    spectrum = np.fft.rfft(scaled)
    hertz = np.asarray(np.fft.rfftfreq(len(signal), 1.0 / rate_hz), dtype=np.float64)
    size = np.abs(spectrum)
    level = np.convolve(size, np.ones(_SMOOTHING) / _SMOOTHING, "same")
    parts: list[float] = []
    for lines in (spectrum, spectrum / np.maximum(level, 1e-12)):
        for low, high in bands.passes:
            passed = np.where((hertz >= low) & (hertz < high), lines, 0.0)
            parts += _orders(_envelope(passed, len(signal)), hertz / shaft_hz, bearing, bands.width)
    edges = np.arange(0.0, rate_hz / 2, bands.levels_hz)
    parts += [float(np.log((size[(hertz >= e) & (hertz < e + bands.levels_hz)] ** 2).mean() + 1e-12)) for e in edges]
    parts.append(float((scaled**4).mean()))
    return np.asarray(parts)


def _envelope(one_sided: NDArray[np.complex128], rows: int) -> Floats:
    """Squared envelope (T,) of the band left in a one-sided spectrum."""
    full = np.zeros(rows, dtype=np.complex128)
    full[: len(one_sided)] = 2 * one_sided
    out: Floats = np.abs(np.fft.ifft(full)) ** 2
    return out


def _orders(envelope: Floats, orders: Floats, bearing: Bearing, width: float) -> list[float]:
    """Log peaks over the spectrum's floor at each fault's harmonics and side bands, and their differences."""
    swing = envelope - envelope.mean()
    lines = np.abs(np.fft.rfft(swing * np.hanning(len(swing))))
    floor = float(np.median(lines[(orders > 0.3) & (orders < 25)])) + 1e-12

    def peak(order: float) -> float:
        near = np.abs(orders - order) <= max(width * order, 1.5 * orders[1])
        return float(np.log(lines[near].max() / floor + 1e-12))

    first = [peak(order) for order, _ in bearing.modulated]
    mean = [float(np.mean([peak(order * h) for h in _HARMONICS])) for order, _ in bearing.modulated]
    side = [
        float(np.mean([peak(order * h + sign * by) for h in (1, 2) for sign in (-1, 1)]))
        for order, by in bearing.modulated
    ]
    apart = [row[i] - row[j] for row in (mean, first) for i, j in ((0, 1), (0, 2), (1, 2))]
    lifted = [s - m for s, m in zip(side, mean, strict=True)]
    shaft = [peak(bearing.cage), peak(1.0), peak(2.0)]
    swinging = float(np.log(swing.std() / envelope.mean() + 1e-12))
    return [swinging, *mean, *first, *side, *shaft, *apart, *lifted, side[0] - side[1], side[0] - side[2]]
