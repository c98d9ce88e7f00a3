"""From a window of a mill to one row: what speaks for where the next part will lie if nobody compensates. Pure numpy.

The quantity learned is the *course*: measured deviation plus the compensation in force when the part was cut, in um.
It does not depend on what anybody has compensated, so a model of it stays right when its own advice is followed; a
model of the measured deviation would not.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning import milling as m

Floats: TypeAlias = NDArray[np.float64]

NAMES = (
    *(f"family_{i}" for i in range(m.FAMILIES)),
    *(f"family_{i}_share" for i in range(m.FAMILIES)),
    "tool_count",
    "tool_usual",
    "hour_sin",
    "hour_cos",
    "stop_minutes_ago",
    "stop_minutes",
    "temperature",
    "temperature_rise",
    "power",
    "power_since_tool",
    "power_rise",
    "inspected",
    "inspected_course",
    "inspected_now",
    "inspected_last_now",
    "inspected_tool_change",
    "inspected_sin_change",
    "inspected_cos_change",
    "other_tool_excess",
)
FEATURES = len(NAMES)
GROUPS = ("ToolCount", "SpindleTemp", "SpindlePower", "State", "ActiveFamily", "inspections")


def groups_of_features() -> NDArray[np.intp]:
    """Which of ``GROUPS`` each feature belongs to, (F,)."""
    return m.groups_of(NAMES, GROUPS)


def course_features(cells: Floats, end_s: Floats, part: Floats, inspected: Floats) -> Floats:
    """One row per part just completed at a mill, float64 (B, F); NaN where unknown.

    ``cells`` (B, T, C) as ``milling`` describes; ``end_s`` (B,) Unix seconds UTC of completion; ``part`` (B, 2)
    ToolCount and ToolOffset of the part; ``inspected`` (B, INSPECTED, 2) count of the part at its mill and measured
    deviation in um, newest first, NaN where fewer.
    """
    running = (cells[:, :, m.STATE] == m.RUNNING) & np.isfinite(cells[:, :, m.POWER])
    fresh = m.since_tool(cells, part[:, 0])
    this_tool = running & fresh
    family = cells[:, :, m.FAMILY]
    seen = np.maximum(this_tool.sum(axis=1), 1)
    shares = [(this_tool & (family == i)).sum(axis=1) / seen for i in range(m.FAMILIES)]
    now = [family[:, -1] == i for i in range(m.FAMILIES)]
    usual = np.nan_to_num(m.offset_per_part(cells))
    hour = m.hour_angle(end_s)
    ago, length = m.last_stop(cells[:, :, m.STATE])
    temperature, power = cells[:, :, m.TEMPERATURE], cells[:, :, m.POWER]
    recent = running.copy()
    recent[:, : -m.RECENT] = False
    warm, drawn, since = m.mean_where(temperature, recent), m.mean_where(power, recent), m.mean_where(power, this_tool)
    columns = [
        *now, *shares, part[:, 0], usual * part[:, 0], np.sin(hour), np.cos(hour), ago, length,
        warm, warm - m.mean_where(temperature, running), drawn, since, drawn - since,
        *_inspections(cells, end_s, part, inspected, fresh, usual),
    ]  # fmt: skip
    out: Floats = np.stack(columns, axis=1).astype(np.float64)
    return out


def _inspections(
    cells: Floats, end_s: Floats, part: Floats, inspected: Floats, fresh: m.Mask, usual: Floats
) -> list[Floats]:
    """What earlier measurements say of the course now, eight columns (B,)."""
    b, t, _ = cells.shape
    rows = np.arange(b)[:, None]
    cell, seen = m.inspected_cells(cells, inspected[:, :, 0])
    offset, tool = cells[:, :, m.OFFSET][rows, cell], cells[:, :, m.TOOL][rows, cell]
    known = seen & np.isfinite(offset)
    same = known & fresh[rows, cell]
    course = inspected[:, :, 1] + offset
    worn = part[:, 0, None] - tool
    now_course = course + usual[:, None] * worn
    then = m.hour_angle(end_s[:, None] - (t - 1 - cell) * m.PERIOD_S)
    now = m.hour_angle(end_s)[:, None]
    first = np.where(same.any(axis=1), np.argmax(same, axis=1), 0)
    last = np.where(same[np.arange(b), first], now_course[np.arange(b), first], np.nan)
    means = [m.mean_where(c, same) for c in (course, now_course, worn, np.sin(now) - np.sin(then),
                                             np.cos(now) - np.cos(then))]  # fmt: skip
    other = m.mean_where(course - usual[:, None] * tool, known & ~same)
    return [same.sum(axis=1).astype(np.float64), means[0], means[1], last, *means[2:], other]
