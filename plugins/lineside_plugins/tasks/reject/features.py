"""From a window of a mill to one row per part, and from a press force curve to one row per part. Pure numpy.

What is known of a part just cut: how far the tool is used, what the PLC compensates, how warm the spindle is, how
long ago the mill stood still, the hour of the day, and what the bench measured on earlier parts of this tool. An
inspected part is found again in the window by its count, so that the compensation of its own time is known.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.types import WindowBatch

Floats: TypeAlias = NDArray[np.float64]

CHANNELS = ("SpindlePower", "SpindleTemp", "State", "ActiveFamily", "ToolCount", "ToolOffset", "PartCount")
POWER, TEMPERATURE, STATE, FAMILY, TOOL, OFFSET, PARTS = range(len(CHANNELS))
PERIOD_S = 60.0
LENGTH = 360  # cells, 6 h: more than a tool's life at any family, so that its first part is in view
RUNNING = 1
STOPPED = (4, 5, 6)  # tripped, failed, maintained: the mill cools down
FAMILIES = 4
INSPECTED = 8  # most recent inspected parts that are looked at
CURVE = 256
BINS = 32  # of the force curve, for the trees
PLATEAU = slice(CURVE // 3, 3 * CURVE // 4)  # of a press stroke: the force is up and not yet falling
COURSES = ((32, 1), (24, 2))  # half width in points and order of the slow courses taken out of a force curve
NOISE_OF_SECOND_DIFFERENCE = 0.6745 * 6.0**0.5  # median of |second difference| of white noise of sigma 1
NOISE_CLIP, NOISE_SCALE = 12.0, 3.0  # sigma; bounds what is left, and brings a dip to about one
DAY_S = 86_400.0

NAMES = (
    *(f"family_{i}" for i in range(FAMILIES)),
    *(f"family_{i}_share" for i in range(FAMILIES)),
    "tool_count",
    "offset",
    "offset_beyond_trend",
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
    "inspected_mean",
    "inspected_last",
    "inspected_offset_change",
    "inspected_tool_change",
    "inspected_sin_change",
    "inspected_cos_change",
    "inspected_expected",
    "inspected_last_expected",
    "other_tool_mean",
)
FEATURES = len(NAMES)
GROUP_OF = {
    "family": "ActiveFamily",
    "tool": "ToolCount",
    "offset": "ToolOffset",
    "hour": "SpindleTemp",
    "stop": "State",
    "temperature": "SpindleTemp",
    "power": "SpindlePower",
    "inspected": "inspections",
    "other": "inspections",
}
GROUPS = ("ToolCount", "ToolOffset", "SpindleTemp", "SpindlePower", "State", "ActiveFamily", "inspections")


def groups_of_features() -> NDArray[np.intp]:
    """Which of ``GROUPS`` each feature belongs to, (F,)."""
    return np.array([GROUPS.index(GROUP_OF[name.split("_")[0]]) for name in NAMES])


def dimension_features(values: NDArray[np.floating[Any]], end_s: Floats, part: Floats, inspected: Floats) -> Floats:
    """One row per part just completed at a mill, float64 (B, F); NaN where unknown.

    ``values`` (B, T, C) in the order of ``CHANNELS`` up to the last whole cell before completion; ``end_s`` (B,) Unix
    seconds UTC of completion; ``part`` (B, 2) ToolCount and ToolOffset of the part itself; ``inspected``
    (B, INSPECTED, 2): count of the part at its mill and measured deviation in um, newest first, NaN where fewer.
    """
    cells: Floats = values.astype(np.float64)
    b = len(cells)
    running = (cells[:, :, STATE] == RUNNING) & np.isfinite(cells[:, :, POWER])
    fresh = _since_tool(cells[:, :, TOOL])
    tool, offset = part[:, 0], part[:, 1]
    fresh &= (cells[:, -1, TOOL] <= tool)[:, None]  # else it was changed since the last whole cell
    this_tool = running & fresh
    out = np.full((b, FEATURES), np.nan)
    family = cells[:, -1, FAMILY, None]
    out[:, :FAMILIES] = family == np.arange(FAMILIES)
    seen = np.maximum(this_tool.sum(axis=1), 1)[:, None]
    shares = [(this_tool & (cells[:, :, FAMILY] == i)).sum(axis=1) for i in range(FAMILIES)]
    out[:, FAMILIES : 2 * FAMILIES] = np.stack(shares, axis=1) / seen
    at = 2 * FAMILIES
    trend = _offset_per_part(cells, fresh)
    hour = end_s % DAY_S * (2 * np.pi / DAY_S)
    ago, length = _last_stop(cells[:, :, STATE])
    out[:, at : at + 7] = np.stack(
        [tool, offset, offset - trend * tool, np.sin(hour), np.cos(hour), ago, length], axis=1
    )
    temperature, power = cells[:, :, TEMPERATURE], cells[:, :, POWER]
    recent = running.copy()
    recent[:, :-10] = False
    warm, drawn = _mean(temperature, recent), _mean(power, recent)
    since = _mean(power, this_tool)
    out[:, at + 7 : at + 12] = np.stack([warm, warm - _mean(temperature, running), drawn, since, drawn - since], axis=1)
    out[:, at + 12 :] = _inspections(cells, end_s, part, inspected, fresh, trend)
    return out


def _mean(cells: Floats, mask: NDArray[np.bool_]) -> Floats:
    count = mask.sum(axis=1)
    total = np.where(mask, cells, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _since_tool(count: Floats) -> NDArray[np.bool_]:
    """Cells (B, T) since the tool in use was mounted: after the last fall of its count."""
    t = count.shape[1]
    fell = np.zeros(count.shape, dtype=np.bool_)
    fell[:, 1:] = count[:, 1:] < count[:, :-1]
    last = np.where(fell.any(axis=1), t - 1 - np.argmax(fell[:, ::-1], axis=1), 0)
    out: NDArray[np.bool_] = np.arange(t) >= last[:, None]
    return out


def _offset_per_part(values: Floats, fresh: NDArray[np.bool_]) -> Floats:
    """Usual rise of the compensation per part (B,): median over cells of this tool, free of jumps by feedback."""
    parts, offset = np.diff(values[:, :, TOOL], axis=1), np.diff(values[:, :, OFFSET], axis=1)
    usable = fresh[:, 1:] & fresh[:, :-1] & (parts > 0) & np.isfinite(offset)
    slope = np.where(usable, offset / np.where(usable, parts, 1.0), np.inf)
    slope.sort(axis=1)
    middle = slope[np.arange(len(slope)), usable.sum(axis=1) // 2]
    return np.where(np.isfinite(middle), middle, np.nan)


def _last_stop(state: Floats) -> tuple[Floats, Floats]:
    """Minutes since the last stop that lets the mill cool ended, and how many minutes it lasted; NaN without one."""
    t = state.shape[1]
    stopped = np.isin(state, STOPPED)
    none = ~stopped.any(axis=1)
    last = t - 1 - np.argmax(stopped[:, ::-1], axis=1)
    going = np.where(stopped | (np.arange(t) > last[:, None]), -1, np.arange(t))
    length = last - going.max(axis=1)
    minutes = PERIOD_S / 60.0
    return np.where(none, np.nan, (t - 1 - last) * minutes), np.where(none, np.nan, length * minutes)


def _inspections(
    values: Floats, end_s: Floats, part: Floats, inspected: Floats, fresh: NDArray[np.bool_], trend: Floats
) -> Floats:
    """What earlier measurements say of this part, (B, 10), each freed of the compensation that came after it."""
    b, t, _ = values.shape
    rows = np.arange(b)[:, None]
    count, deviation = inspected[:, :, 0], inspected[:, :, 1]
    cell = (values[:, :, None, PARTS] < count[:, None, :]).sum(axis=1)
    seen = np.isfinite(count) & (cell > 0) & (cell < t)
    cell = np.where(seen, cell, 0)
    offset, tool = values[:, :, OFFSET][rows, cell], values[:, :, TOOL][rows, cell]
    same = seen & fresh[rows, cell] & np.isfinite(offset)
    compensated = part[:, 1, None] - offset
    worn = part[:, 0, None] - tool
    then = (end_s[:, None] - (t - 1 - cell) * PERIOD_S) % DAY_S * (2 * np.pi / DAY_S)
    now = end_s[:, None] % DAY_S * (2 * np.pi / DAY_S)
    expected = deviation - compensated + np.nan_to_num(trend)[:, None] * worn
    columns = [deviation, compensated, worn, np.sin(now) - np.sin(then), np.cos(now) - np.cos(then), expected]
    means = [_mean(c, same) for c in columns]
    first = np.where(same.any(axis=1), np.argmax(same, axis=1), 0)
    known = same[np.arange(b), first]
    last = [np.where(known, c[np.arange(b), first], np.nan) for c in (deviation, expected)]
    other = _mean(deviation, seen & ~same)
    stacked = [same.sum(axis=1), means[0], last[0], *means[1:6], last[1], other]
    return np.stack(stacked, axis=1)


def curve_rows(curves: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Force curves (P, CURVE) in kN as float32 (P, 2, CURVE): what is left of them, in units of their own noise.

    Two slow courses are taken out, each a local polynomial of least squares: a wide straight one that keeps a dip,
    and a narrow parabolic one that follows the fall of the force closer. Noise is read off second differences over the
    plateau, so that a press with another sensor looks the same. Rise and fall say nothing and are bounded.
    Source: Savitzky, Golay, Smoothing and Differentiation of Data (1964), with shortened windows at both ends.
    """
    raw = np.asarray(curves, dtype=np.float32)
    second = np.abs(np.diff(raw[:, PLATEAU], n=2, axis=1))
    noise = np.maximum(np.median(second, axis=1), 1e-3) / NOISE_OF_SECOND_DIFFERENCE
    left = np.stack([raw @ _without_course(*course) for course in COURSES], axis=1)
    out: NDArray[np.float32] = np.clip(left / noise[:, None, None], -NOISE_CLIP, NOISE_CLIP) / NOISE_SCALE
    return out.astype(np.float32)


@lru_cache(maxsize=4)
def _without_course(half: int, order: int) -> NDArray[np.float32]:
    """Matrix (CURVE, CURVE) that maps a curve to itself less its local polynomial fit."""
    out = np.eye(CURVE)
    for i in range(CURVE):
        near = np.arange(max(0, i - half), min(CURVE, i + half + 1))
        powers = np.vander((near - i) / half, order + 1, increasing=True)
        out[near, i] -= np.linalg.pinv(powers)[0]
    return out.astype(np.float32)


def curve_features(curves: NDArray[np.floating[Any]]) -> Floats:
    """The force curve for trees, float64 (P, BINS + 3): bin means, depth of the deepest dip, where, roughness."""
    rows = curve_rows(curves)[:, 0].astype(np.float64)
    bins = rows.reshape(len(rows), BINS, -1).mean(axis=2)
    middle = bins[:, BINS // 3 : 3 * BINS // 4]
    dip = middle - 0.5 * (bins[:, BINS // 3 - 2 : 3 * BINS // 4 - 2] + bins[:, BINS // 3 + 2 : 3 * BINS // 4 + 2])
    rough = np.abs(np.diff(rows[:, PLATEAU], axis=1)).mean(axis=1)
    return np.concatenate([bins, np.stack([dip.min(axis=1), dip.argmin(axis=1), rough], axis=1)], axis=1)


def channel_order(batch: WindowBatch) -> NDArray[np.float32]:
    """The batch's values (B, T, C) in the order of ``CHANNELS``, cells that are not Good as NaN."""
    values: NDArray[np.float32] = np.where(batch.good, batch.values, np.float32(np.nan))
    if batch.tags != CHANNELS:
        values = values[:, :, [batch.channel(tag) for tag in CHANNELS]]
    return values
