"""Parts of mills that were measured, joined with what was known when each was cut: from recordings to training rows.

Inspections made for labels only ("labelling campaign") are targets, never inputs: a running plant has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import Recording
from lineside_plugins.learning import milling
from lineside_plugins.types import ContractError, Record

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.intp]
Choose: TypeAlias = Callable[[int, Rows, Floats], Rows]
CAMPAIGN = "labelling campaign"
_COUNT = re.compile(r"(\d+)$")
_CHUNK = 1500  # windows in one block; bounds memory


@dataclass(frozen=True, slots=True)
class Block:
    """P measured parts of one mill in order of completion, with what was known of each.

    ``cells`` float64 (P, T, C) as ``milling`` describes; ``end_s`` (P,) completion, Unix seconds UTC; ``part`` (P, 2)
    ToolCount and ToolOffset of the part; ``inspected`` (P, N, 2) count and deviation of earlier inspected parts,
    newest first, NaN where fewer; ``count`` (P,) of the part at its mill; ``deviation`` (P,) um as measured; ``off``
    (P,) called defective for its dimension; ``weight`` parts of the mill that each row stands for.
    """

    unit: str
    mill: str
    cells: Floats
    end_s: Floats
    part: Floats
    inspected: Floats
    count: Floats
    deviation: Floats
    off: NDArray[np.bool_]
    weight: float


def count_of(serial_no: object) -> float:
    """The number a serial number ends in, NaN without one: the count of the part at its mill."""
    found = _COUNT.search(str(serial_no or ""))
    return float(found.group(1)) if found else float("nan")


def newest_inspections(events: Sequence[Record], limit: int = milling.INSPECTED) -> Floats:
    """Count and deviation (limit, 2) of the newest inspected parts of a mill, newest first, NaN where fewer."""
    out = np.full((limit, 2), np.nan)
    newest = [e for e in reversed(events) if e.get("kind") == "inspection" and e.get("text") != CAMPAIGN][:limit]
    for i, event in enumerate(newest):
        out[i] = count_of(event.get("serial_no")), float(event.get("value") or 0.0)
    return out


def measured_parts(
    recordings: Sequence[Recording], choose: Choose, inspected: int = milling.INSPECTED
) -> Iterator[Block]:
    """Every measured part of every mill, in blocks, each with the newest ``inspected`` inspections.

    ``choose(number, rows, end_s)`` picks rows of one mill, in order; ``number`` is that of the recording.

    Raises:
        ContractError: No recording has a mill with inspected parts, or one keeps no values per part.
    """
    found = False
    for number, recording in enumerate(recordings):
        by_mill: dict[str, list[Record]] = {}
        for event in recording.streams.get("events", ()):
            if event.get("kind") == "inspection":
                by_mill.setdefault(str(event["equipment_id"]), []).append(event)
        for mill, events in sorted(by_mill.items()):
            if all(tag in recording.tags.get(mill, {}) for tag in milling.CHANNELS):
                found = True
                yield from _of_mill(recording, mill, _Inspected.of(events), partial(choose, number), inspected)
    if not found:
        raise ContractError(
            f"no recording has inspected parts of a mill with {', '.join(milling.CHANNELS)}; record some"
        )


@dataclass(frozen=True, slots=True)
class _Inspected:
    count: Floats
    value: Floats
    time_s: Floats
    bad: NDArray[np.bool_]
    porous: NDArray[np.bool_]
    campaign: NDArray[np.bool_]

    @classmethod
    def of(cls, events: Sequence[Record]) -> _Inspected:
        """The columns of inspection records, oldest first."""
        rows = [
            (
                count_of(e.get("serial_no")),
                float(e.get("value") or 0.0),
                datetime.fromisoformat(str(e["time"])).timestamp(),
                bool(e.get("defect")),
                bool(e.get("porous")),
                e.get("text") == CAMPAIGN,
            )
            for e in events
        ]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 6)
        flags = table[:, 3:] > 0
        return cls(table[:, 0], table[:, 1], table[:, 2], flags[:, 0], flags[:, 1], flags[:, 2])

    def known_at(self, time_s: Floats, limit: int) -> Floats:
        """The newest ``limit`` regular inspections (P, limit, 2) when ``time_s`` (P,) came, newest first."""
        regular = np.flatnonzero(~self.campaign)
        before = np.searchsorted(self.time_s[regular], time_s, "right")[:, None] - 1 - np.arange(limit)
        if not len(regular):
            return np.full((*before.shape, 2), np.nan)
        earlier = regular[np.maximum(before, 0)]
        known = np.stack([self.count[earlier], self.value[earlier]], axis=2)
        known[before < 0] = np.nan
        return known


def _of_mill(
    recording: Recording, mill: str, seen: _Inspected, choose: Callable[[Rows, Floats], Rows], inspected: int
) -> Iterator[Block]:
    cells = np.stack([recording.tags[mill][tag] for tag in milling.CHANNELS], axis=1)
    cell_end_s = recording.time.astype("datetime64[us]").astype(np.int64) / 1e6
    count, end_s, part = _parts_of_mill(recording, mill)
    own = np.minimum(np.searchsorted(count, seen.count), len(count) - 1)
    cell = np.searchsorted(cell_end_s, end_s[own], "right") - 1  # the last whole cell before completion
    usable = np.flatnonzero((count[own] == seen.count) & (cell >= milling.LENGTH // 6))
    chosen = choose(usable, end_s[own[usable]])
    padded = np.concatenate([np.full((milling.LENGTH - 1, len(milling.CHANNELS)), np.nan, np.float32), cells])
    windows = np.lib.stride_tricks.sliding_window_view(padded, milling.LENGTH, axis=0).transpose(0, 2, 1)
    if not len(chosen):
        return
    for rows in np.array_split(chosen, max(1, len(chosen) // _CHUNK)):
        done_s = end_s[own[rows]]
        yield Block(
            unit=recording.unit,
            mill=mill,
            cells=windows[cell[rows]].astype(np.float64),
            end_s=done_s,
            part=part[own[rows]],
            inspected=seen.known_at(done_s, inspected),
            count=seen.count[rows],
            deviation=seen.value[rows],
            off=(seen.bad & ~seen.porous)[rows],
            weight=len(count) / len(chosen),
        )


def _parts_of_mill(recording: Recording, mill: str) -> tuple[Floats, Floats, Floats]:
    """Every part of a mill in order of its count: count (N,), completion (N,) Unix s, ToolCount and ToolOffset (N, 2).

    Raises:
        ContractError: The recording keeps no values per part for the mill.
    """
    arrays = recording.arrays.get(mill, {})
    if not {"ToolCount", "ToolOffset"} <= set(arrays):
        raise ContractError(f"recording of '{recording.unit}' has no ToolCount and ToolOffset per part of '{mill}'")
    found = {}
    for tag in ("ToolCount", "ToolOffset"):
        serials, times, values = arrays[tag]
        count = np.array([count_of(s) for s in serials.tolist()])
        order = np.argsort(count, kind="stable")
        time_s = times.astype("datetime64[us]").astype(np.int64) / 1e6
        found[tag] = (count[order], time_s[order], values[order, 0].astype(np.float64))
    count, end_s, tool = found["ToolCount"]
    other, _, offset = found["ToolOffset"]
    return count, end_s, np.stack([tool, offset[np.minimum(np.searchsorted(other, count), len(other) - 1)]], axis=1)
