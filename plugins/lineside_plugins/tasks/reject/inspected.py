"""Parts of a mill that the bench measured, found again in its window, and what they say of the next. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lineside_plugins.learning.milling import (
    DAY_S,
    OFFSET,
    PERIOD_S,
    TEMPERATURE,
    TOOL,
    Floats,
    Mask,
    hour_angle,
    inspected_cells,
    mean_where,
)

RISE_PRIOR = 10_000.0  # parts squared; four parts spread over a hundred are believed by half


@dataclass(frozen=True, slots=True)
class Inspected:
    """Earlier measured parts (B, N), newest first: ``beyond`` um without compensation, and how the mill was then.

    ``same`` marks parts of the tool in use, ``other`` those of tools before.
    """

    beyond: Floats
    tool: Floats
    minutes_ago: Floats
    recovery: Floats
    temperature: Floats
    same: Mask
    other: Mask

    @classmethod
    def find(cls, cells: Floats, inspected: Floats, fresh: Mask, trend: Floats, recovery: Floats) -> Inspected:
        """Find inspected parts again in the window by their count."""
        b, t, _ = cells.shape
        rows = np.arange(b)[:, None]
        cell, seen = inspected_cells(cells, inspected[:, :, 0])
        tool = cells[:, :, TOOL][rows, cell]
        beyond = inspected[:, :, 1] + cells[:, :, OFFSET][rows, cell] - trend[:, None] * tool
        seen &= np.isfinite(beyond)
        same = seen & fresh[rows, cell]
        return cls(
            beyond=beyond,
            tool=tool,
            minutes_ago=(t - 1 - cell) * (PERIOD_S / 60.0),
            recovery=recovery[rows, cell],
            temperature=cells[:, :, TEMPERATURE][rows, cell],
            same=same,
            other=seen & ~same,
        )

    def columns(self, tool: Floats, end_s: Floats, recovery: Floats, temperature: Floats) -> Floats:
        """What they say of the part just completed, (B, 14)."""
        worn = tool[:, None] - self.tool
        now = hour_angle(end_s)[:, None]
        then = now - self.minutes_ago * (120 * np.pi / DAY_S)
        mean, mean_worn = mean_where(self.beyond, self.same), mean_where(worn, self.same)
        first = np.where(self.same.any(axis=1), np.argmax(self.same, axis=1), 0)[:, None]
        any_same = self.same.any(axis=1)
        stacked = [
            self.same.sum(axis=1),
            mean,
            np.where(any_same, np.take_along_axis(self.beyond, first, axis=1)[:, 0], np.nan),
            mean + self._rise(worn) * mean_worn,
            mean_worn,
            np.where(any_same, np.take_along_axis(worn, first, axis=1)[:, 0], np.nan),
            mean_where(np.sin(now) - np.sin(then), self.same),
            mean_where(np.cos(now) - np.cos(then), self.same),
            mean_where(recovery[:, None] - self.recovery, self.same),
            mean_where(temperature[:, None] - self.temperature, self.same),
            self._rate(self.same) * tool,
            mean_where(self.beyond, self.other),
            mean_where(self.recovery, self.other),
            self._rate(self.other) * tool,
        ]
        return np.stack(stacked, axis=1)

    def _rate(self, which: Mask) -> Floats:
        """``beyond`` per part since a tool was new (B,), shrunk towards none while little is known."""
        x, y = np.where(which, self.tool, 0.0), np.where(which, self.beyond, 0.0)
        return np.asarray((x * y).sum(axis=1) / ((x * x).sum(axis=1) + RISE_PRIOR))

    def _rise(self, worn: Floats) -> Floats:
        """Rise of ``beyond`` per part (B,), shrunk towards none while few parts over a short stretch are known."""
        x = np.where(self.same, -(worn - mean_where(worn, self.same)[:, None]), 0.0)
        y = np.where(self.same, self.beyond, 0.0)
        return np.asarray((x * y).sum(axis=1) / ((x * x).sum(axis=1) + RISE_PRIOR))
