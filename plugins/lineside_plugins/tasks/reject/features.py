"""From a window of a mill to one row per part. Pure numpy.

What is known of a part just cut: how far the tool is used, what the PLC compensates, how warm the spindle is, how
long ago the mill stood still, the hour of the day, and what the bench measured on earlier parts of this tool. An
inspected part is found again in the window by its count, so that the compensation of its own time is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.milling import (
    FAMILIES,
    FAMILY,
    PERIOD_S,
    POWER,
    RUNNING,
    STATE,
    STOPPED,
    TEMPERATURE,
    TOOL,
    Floats,
    Mask,
    groups_of,
    hour_angle,
    mean_where,
    offset_per_part,
)
from lineside_plugins.tasks.reject.inspected import Inspected

INSPECTED = 12  # most recent inspected parts that are looked at
HALF_MIN = 30.0  # in which a stop is half forgotten; a scale for the models to work on, not a time of any plant
STEADY = 5  # cells; the second highest power of five forgives three in which the mill waited
START_PARTS = 15  # of a new tool, in which it has not worn yet
SLOPE_PRIOR = 400.0  # parts squared; the power of twenty parts in a row is believed by half

NAMES = (
    *(f"family_{i}" for i in range(FAMILIES)),
    *(f"family_{i}_share" for i in range(FAMILIES)),
    "tool_count",
    "hour_sin",
    "hour_cos",
    "stop_minutes_ago",
    "stop_minutes",
    "stop_recovery",
    "temperature",
    "temperature_rise",
    "power",
    "power_since_tool",
    "power_rise",
    "power_slope",
    "power_slope_relative",
    "power_over_family",
    "power_over_family_at_start",
    "power_slope_of_last_tool",
    "inspected",
    "inspected_mean",
    "inspected_last",
    "inspected_trended",
    "inspected_tool_change",
    "inspected_last_tool_change",
    "inspected_sin_change",
    "inspected_cos_change",
    "inspected_recovery_change",
    "inspected_temperature_change",
    "inspected_rate",
    "other_tool_mean",
    "other_tool_recovery",
    "other_tool_rate",
)
FEATURES = len(NAMES)
GROUPS = ("ToolCount", "ToolOffset", "SpindleTemp", "SpindlePower", "State", "ActiveFamily", "inspections")
OFFSETS, INSPECTIONS = GROUPS.index("ToolOffset"), GROUPS.index("inspections")


def groups_of_features() -> NDArray[np.intp]:
    """Which of ``GROUPS`` each feature belongs to, (F,)."""
    return groups_of(NAMES, GROUPS)


def dimension_features(
    values: NDArray[np.floating[Any]], end_s: Floats, part: Floats, inspected: Floats
) -> tuple[Floats, Floats]:
    """One row per part just completed at a mill, float64 (B, F), NaN where unknown, and its compensation (B,) in um.

    Rows hold nothing of what the PLC compensates: a measured deviation enters with the compensation of its time put
    back, so that a row says the same of a mill whoever corrects it. The compensation is counted from its usual rise
    per part, and 0 where unknown.

    ``values`` (B, T, C) in the order of ``CHANNELS`` up to the last whole cell before completion; ``end_s`` (B,) Unix
    seconds UTC of completion; ``part`` (B, 2) ToolCount and ToolOffset of the part itself; ``inspected``
    (B, INSPECTED, 2): count of the part at its mill and measured deviation in um, newest first, NaN where fewer.
    """
    cells: Floats = values.astype(np.float64)
    running = (cells[:, :, STATE] == RUNNING) & np.isfinite(cells[:, :, POWER])
    nth = _nth_tool(cells[:, :, TOOL])
    fresh = nth == nth[:, -1:]
    tool, offset = part[:, 0], part[:, 1]
    fresh &= (cells[:, -1, TOOL] <= tool)[:, None]  # else it was changed since the last whole cell
    steady, power = _steady(cells, running, nth)
    trend = offset_per_part(cells)
    hour = hour_angle(end_s)
    ago, length = _stops(cells[:, :, STATE])
    recovery = _recovery(ago)
    recent = running.copy()
    recent[:, :-10] = False
    temperature = cells[:, :, TEMPERATURE]
    warm, drawn = mean_where(temperature, recent), mean_where(power, recent & steady)
    since = mean_where(power, steady & fresh)
    moment = (tool, np.sin(hour), np.cos(hour), ago[:, -1], length[:, -1], recovery[:, -1])
    thermal = (warm, warm - mean_where(temperature, running), drawn, since, drawn - since)
    known = Inspected.find(cells, inspected, fresh, trend, recovery)
    columns = (
        *_families(cells, running & fresh).T,
        *moment,
        *thermal,
        *_power(cells, power, steady, nth, tool).T,
        *known.columns(tool, end_s, recovery[:, -1], warm).T,
    )
    return np.stack(columns, axis=1), np.nan_to_num(offset - trend * tool)


def measured_course(x: Floats) -> Floats:
    """Where the measured parts of its tool point for each row (R, F): (R,) um, 0 where none was measured.

    Heads learn what to add to this, so that a tool farther off than any in training is still believed.
    """
    return np.nan_to_num(x[:, NAMES.index("inspected_trended")])


def _families(cells: Floats, this_tool: Mask) -> Floats:
    """Family of the part, one column each, and the share of each among the tool's cells, (B, 2 FAMILIES)."""
    family, seen = cells[:, :, FAMILY, None] == np.arange(FAMILIES), np.maximum(this_tool.sum(axis=1), 1)
    shares = (family & this_tool[:, :, None]).sum(axis=1) / seen[:, None]
    return np.concatenate([family[:, -1].astype(np.float64), shares], axis=1)


def _nth_tool(count: Floats) -> NDArray[np.intp]:
    """Which tool of the window each cell (B, T) belongs to: rises by one where the count falls."""
    fell = np.zeros(count.shape, dtype=np.bool_)
    fell[:, 1:] = count[:, 1:] < count[:, :-1]
    return np.asarray(np.cumsum(fell, axis=1))


def _steady(cells: Floats, running: Mask, nth: NDArray[np.intp]) -> tuple[Mask, Floats]:
    """Cells (B, T) amid ``STEADY`` of one tool and family in which the mill ran, and the second highest power of those.

    A mill that waits within a cell has a lower mean power there; that is passed over.
    """
    half, t = STEADY // 2, running.shape[1]
    family = np.where(running, cells[:, :, FAMILY] + FAMILIES * nth, np.nan)
    steady = np.zeros(running.shape, dtype=np.bool_)
    alike = family[:, 1:] == family[:, :-1]
    steady[:, half : t - half] = np.lib.stride_tricks.sliding_window_view(alike, STEADY - 1, axis=1).all(axis=2)
    near = np.lib.stride_tricks.sliding_window_view(cells[:, :, POWER], STEADY, axis=1)
    power = np.full(running.shape, np.nan)
    power[:, half : t - half] = np.partition(near, STEADY - 2, axis=2)[:, :, STEADY - 2]
    return steady, power


def _power(cells: Floats, power: Floats, steady: Mask, nth: NDArray[np.intp], tool: Floats) -> Floats:
    """What the spindle's power says of wear, (B, 5), free of what the families of parts ask of it.

    A worn tool takes more power for the same part, and so does harder material; only wear makes it rise part by part.
    """
    this_tool = steady & (nth == nth[:, -1:])
    recent = this_tool.copy()
    recent[:, : -10 - STEADY // 2] = False
    over = np.zeros(power.shape)
    for i in range(FAMILIES):
        of = steady & (cells[:, :, FAMILY] == i)
        over += np.where(of, power - mean_where(power, of)[:, None], 0.0)
    rise = _slope(cells, power, this_tool) * tool
    before = _slope(cells, power, steady & (nth == nth[:, -1:] - 1)) * tool
    at_start = this_tool & (cells[:, :, TOOL] <= START_PARTS)
    return np.stack(
        [rise, rise / mean_where(power, this_tool), mean_where(over, recent), mean_where(over, at_start), before],
        axis=1,
    )


def _slope(cells: Floats, power: Floats, mask: Mask) -> Floats:
    """Rise of power (kW) per part of one tool (B,) among parts of the same family, shrunk while few were cut."""
    count = cells[:, :, TOOL]
    xy, xx = np.zeros(len(cells)), np.full(len(cells), SLOPE_PRIOR)
    for i in range(FAMILIES):
        of = mask & (cells[:, :, FAMILY] == i)
        x = np.where(of, count - mean_where(count, of)[:, None], 0.0)
        xy += (x * np.where(of, power, 0.0)).sum(axis=1)
        xx += (x * x).sum(axis=1)
    return np.asarray(xy / xx)


def _stops(state: Floats) -> tuple[Floats, Floats]:
    """Of each cell (B, T): minutes since the last stop that lets the mill cool ended, and how many minutes it lasted.

    NaN without one, or while it lasts.
    """
    t = np.arange(state.shape[1])
    stopped = np.isin(state, STOPPED)
    last = np.maximum.accumulate(np.where(stopped, t, -1), axis=1)
    moving = np.maximum.accumulate(np.where(stopped, -1, t), axis=1)
    before = np.take_along_axis(moving, np.maximum(last, 0), axis=1)
    none = (last < 0) | stopped
    minutes = PERIOD_S / 60.0
    return np.where(none, np.nan, (t - last) * minutes), np.where(none, np.nan, (last - before) * minutes)


def _recovery(ago_min: Floats) -> Floats:
    """How fresh the last stop is: 1 right after it, halved every ``HALF_MIN``; 0 without one."""
    return np.nan_to_num(np.exp2(-ago_min / HALF_MIN))
