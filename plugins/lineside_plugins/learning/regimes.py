"""Sensors relative to what is usual in the regime a machine runs in; without it a regime change looks like wear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
_STILL = 1e-6  # a sensor whose spread is below this share of its level carries nothing in that regime


@dataclass(frozen=True, slots=True)
class Regimes:
    """K regimes over S settings: ``centres`` (K, S) in units of ``span`` (S,), ``mean`` and ``std`` (K, C)."""

    centres: Floats
    span: Floats
    mean: Floats
    std: Floats

    @classmethod
    def fit(cls, settings: Floats, sensors: Floats, apart: float = 0.05) -> Regimes:
        """Group rows whose ``settings`` (R, S) lie within ``apart`` of their range; learn ``sensors`` (R, C) in each.

        Settings that vary without steps end in many regimes of few rows; pass none of them then.
        """
        span = np.maximum(np.ptp(settings, axis=0), 1e-12)
        scaled = settings / span
        centres = scaled[:1]
        while True:  # each turn takes the row furthest from all centres
            away = _distance(scaled, centres).min(axis=1)
            if away.max() <= apart * np.sqrt(settings.shape[1]):
                break
            centres = np.concatenate([centres, scaled[[int(away.argmax())]]])
        regime = _distance(scaled, centres).argmin(axis=1)
        mean = np.stack([sensors[regime == k].mean(axis=0) for k in range(len(centres))])
        std = np.stack([sensors[regime == k].std(axis=0) for k in range(len(centres))])
        return cls(centres, span, mean, np.where(std > _STILL * np.abs(mean) + 1e-9, std, np.inf))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], prefix: str = "regimes.") -> Regimes:
        """Inverse of ``to_tensors``."""
        return cls(*(np.asarray(tensors[prefix + n], dtype=np.float64) for n in ("centres", "span", "mean", "std")))

    def to_tensors(self, prefix: str = "regimes.") -> dict[str, NDArray[np.generic]]:
        """Plain arrays for a safetensors file."""
        return {prefix + n: np.asarray(getattr(self, n)) for n in ("centres", "span", "mean", "std")}

    @property
    def moving(self) -> NDArray[np.bool_]:
        """Sensors (C,) that move in every regime; the others carry no wear."""
        return np.asarray(np.isfinite(self.std).all(axis=0), dtype=np.bool_)

    def __call__(self, settings: Floats, sensors: Floats) -> Floats:
        """Sensors (R, C) in standard deviations from their regime's mean; 0 where a sensor stands still."""
        regime = _distance(settings / self.span, self.centres).argmin(axis=1)
        out: Floats = (sensors - self.mean[regime]) / self.std[regime]
        return out


def _distance(rows: Floats, centres: Floats) -> Floats:
    out: Floats = np.sqrt(((rows[:, None, :] - centres[None]) ** 2).sum(axis=2))
    return out
