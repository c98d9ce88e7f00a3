"""What a window of a mill says of the part just cut: tool, warmth, stops, family, hour. Pure numpy.

Shared by tasks that judge a part's dimension. A window is (B, T, C) float64 in the order of ``CHANNELS``, cells of a
minute, the last one the last whole cell before the part was completed; NaN where unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import Aggregate, Channel, WindowSpec
from lineside_plugins.types import WindowBatch

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

CHANNELS = ("SpindlePower", "SpindleTemp", "State", "ActiveFamily", "ToolCount", "ToolOffset", "PartCount")
POWER, TEMPERATURE, STATE, FAMILY, TOOL, OFFSET, PARTS = range(len(CHANNELS))
UNITS = {"SpindlePower": "kW", "SpindleTemp": "degC", "ToolOffset": "um"}
MEANS = frozenset({"SpindlePower", "SpindleTemp"})  # the others count or switch: their last value holds
PERIOD_S = 60.0
LENGTH = 360  # cells, 6 h: more than a tool's life at any family, so that its first part is in view
RUNNING = 1
STOPPED = (4, 5, 6)  # tripped, failed, maintained: the mill cools down
FAMILIES = 4
INSPECTED = 8  # most recent inspected parts that are looked at
DAY_S = 86_400.0
RECENT = 10  # cells that count as now
TAG_OF = {  # the first word of a feature's name, and what an operator knows it by
    "family": "ActiveFamily",
    "tool": "ToolCount",
    "hour": "SpindleTemp",
    "stop": "State",
    "temperature": "SpindleTemp",
    "power": "SpindlePower",
    "inspected": "inspections",
    "other": "inspections",
}


def window(optional: Collection[str] = ()) -> WindowSpec:
    """Six hours of a mill in cells of a minute, channels as ``CHANNELS``; a machine may lack what is ``optional``."""
    channels = tuple(
        Channel(
            tag,
            unit=UNITS.get(tag, ""),
            aggregate=Aggregate.MEAN if tag in MEANS else Aggregate.LAST,
            optional=tag in optional,
        )
        for tag in CHANNELS
    )
    return WindowSpec(channels, length=LENGTH, period_s=PERIOD_S, min_good=0.01)


def groups_of(names: Sequence[str], groups: Sequence[str]) -> NDArray[np.intp]:
    """Which of ``groups`` (tags and ``inspections``) each feature of ``names`` belongs to, (F,)."""
    return np.array([groups.index(TAG_OF[name.split("_")[0]]) for name in names])


def channel_order(batch: WindowBatch) -> NDArray[np.float32]:
    """The batch's values (B, T, C) in the order of ``CHANNELS``, cells that are not Good as NaN."""
    values: NDArray[np.float32] = np.where(batch.good, batch.values, np.float32(np.nan))
    if batch.tags != CHANNELS:
        values = values[:, :, [batch.channel(tag) for tag in CHANNELS]]
    return values


def mean_where(cells: Floats, mask: Mask) -> Floats:
    """Mean over axis 1 of the cells (B, N) that ``mask`` names; NaN where it names none."""
    count = mask.sum(axis=1)
    total = np.where(mask, cells, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def since_tool(cells: Floats, tool: Floats) -> Mask:
    """Cells (B, T) since the tool that cut the part, whose count is ``tool`` (B,), was mounted."""
    count = cells[:, :, TOOL]
    t = count.shape[1]
    fell = np.zeros(count.shape, dtype=np.bool_)
    fell[:, 1:] = count[:, 1:] < count[:, :-1]
    last = np.where(fell.any(axis=1), t - 1 - np.argmax(fell[:, ::-1], axis=1), 0)
    out: Mask = (np.arange(t) >= last[:, None]) & (count[:, -1] <= tool)[:, None]  # else changed since the last cell
    return out


def offset_per_part(cells: Floats) -> Floats:
    """Usual rise of the PLC's compensation per part (B,), um: median over the window's cells, free of jumps.

    Over all tools of the window, not the one in use alone: with few cells of a new tool an offset that somebody wrote
    would pass for its usual rise.
    """
    parts, offset = np.diff(cells[:, :, TOOL], axis=1), np.diff(cells[:, :, OFFSET], axis=1)
    usable = (parts > 0) & np.isfinite(offset)
    slope = np.where(usable, offset / np.where(usable, parts, 1.0), np.inf)
    slope.sort(axis=1)
    middle = slope[np.arange(len(slope)), usable.sum(axis=1) // 2]
    return np.where(np.isfinite(middle), middle, np.nan)


def last_stop(state: Floats) -> tuple[Floats, Floats]:
    """Minutes since the last stop that lets the mill cool ended, and how many it lasted, (B,) each; NaN without one."""
    t = state.shape[1]
    stopped = np.isin(state, STOPPED)
    none = ~stopped.any(axis=1)
    last = t - 1 - np.argmax(stopped[:, ::-1], axis=1)
    going = np.where(stopped | (np.arange(t) > last[:, None]), -1, np.arange(t))
    length = last - going.max(axis=1)
    minutes = PERIOD_S / 60.0
    return np.where(none, np.nan, (t - 1 - last) * minutes), np.where(none, np.nan, length * minutes)


def hour_angle(time_s: Floats) -> Floats:
    """Time of day of Unix seconds UTC as an angle, 0 at midnight, 2 pi a day."""
    return time_s % DAY_S * (2 * np.pi / DAY_S)


def inspected_cells(cells: Floats, count: Floats) -> tuple[NDArray[np.intp], Mask]:
    """In which cell (B, N) the parts of ``count`` (B, N) at their mill were completed, and whether it is in view."""
    t = cells.shape[1]
    cell = (cells[:, :, None, PARTS] < count[:, None, :]).sum(axis=1)
    seen = np.isfinite(count) & (cell > 0) & (cell < t)
    return np.where(seen, cell, 0), seen
