"""From recordings to labelled parts: what the bench measured, joined with what was known when the part was cut.

Inspections made for labels only ("labelling campaign") are targets, never inputs: a running plant has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import Recording
from lineside_plugins.tasks.reject import features as f
from lineside_plugins.types import ContractError, Record

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
BLOCK_S = 12 * 3600.0
CAMPAIGN = "labelling campaign"
_COUNT = re.compile(r"(\d+)$")
_CHUNK = 1500  # windows turned into features at a time; bounds memory


@dataclass(frozen=True, slots=True)
class Parts:
    """P labelled parts of one head.

    ``x`` is (P, F) features or (P, CURVE) curves; ``deviation`` (P,) um as measured; ``compensation`` (P,) um beyond
    its usual course, as in ``features``; ``bad`` (P,) off dimension or porous, by head; ``unit`` (P,) the plant;
    ``weight`` (P,) how many parts of the plant each row stands for; ``end_s`` (P,) completion, Unix seconds UTC;
    ``count`` (P,) of the part at its mill.
    """

    x: NDArray[Any]
    deviation: Floats
    compensation: Floats
    bad: Mask
    unit: NDArray[np.str_]
    weight: Floats
    end_s: Floats
    count: Floats

    def __len__(self) -> int:
        """P."""
        return len(self.bad)


def count_of(serial_no: object) -> float:
    """The number a serial number ends in, NaN without one: the count of the part at its mill."""
    found = _COUNT.search(str(serial_no or ""))
    return float(found.group(1)) if found else float("nan")


def inspections(events: Sequence[Record], limit: int = f.INSPECTED) -> Floats:
    """Count and deviation (limit, 2) of the newest inspected parts of a mill, newest first, NaN where fewer."""
    out = np.full((limit, 2), np.nan)
    newest = [e for e in reversed(events) if e.get("kind") == "inspection" and e.get("text") != CAMPAIGN][:limit]
    for i, event in enumerate(newest):
        out[i] = count_of(event.get("serial_no")), float(event.get("value") or 0.0)
    return out


@dataclass(frozen=True, slots=True)
class _Inspected:
    count: Floats
    value: Floats
    time_s: Floats
    bad: Mask
    porous: Mask
    campaign: Mask


def _inspected(events: Sequence[Record]) -> _Inspected:
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
    return _Inspected(table[:, 0], table[:, 1], table[:, 2], flags[:, 0], flags[:, 1], flags[:, 2])


def dimension_parts(recordings: Sequence[Recording], per_mill: int, seed: int, *, whole_blocks: bool = False) -> Parts:
    """About ``per_mill`` inspected parts of every mill with their features, drawn at random.

    With ``whole_blocks`` whole stretches of ``BLOCK_S`` are drawn, the same for all mills of a plant, so that the
    order in which parts come to the bench is kept.

    Raises:
        ContractError: No recording has a mill with inspected parts.
    """
    found = []
    rng = np.random.default_rng(seed)
    for recording in recordings:
        choice = _Choice(per_mill, int(rng.integers(2**32)), whole_blocks)
        by_mill: dict[str, list[Record]] = {}
        for event in recording.streams.get("events", ()):
            if event.get("kind") == "inspection":
                by_mill.setdefault(str(event["equipment_id"]), []).append(event)
        for mill, events in sorted(by_mill.items()):
            if all(tag in recording.tags.get(mill, {}) for tag in f.CHANNELS):
                found.append(_of_mill(recording, mill, _inspected(events), choice))
    if not found:
        raise ContractError(f"no recording has inspected parts of a mill with {', '.join(f.CHANNELS)}; record some")
    return _joined(found)


@dataclass(frozen=True, slots=True)
class _Choice:
    limit: int
    seed: int  # one per plant, so that its mills draw the same blocks
    whole_blocks: bool

    def of(self, rows: NDArray[np.intp], time_s: Floats) -> NDArray[np.intp]:
        """About ``limit`` of ``rows``, in order."""
        if not self.whole_blocks:
            return np.sort(np.random.default_rng(self.seed).permutation(rows)[: self.limit])
        block = (time_s // BLOCK_S).astype(np.int64)
        share = self.limit / max(1, len(rows))
        kept = [k for k in np.unique(block).tolist() if np.random.default_rng((self.seed, k)).random() < share]
        return rows[np.isin(block, kept)]


def _of_mill(recording: Recording, mill: str, seen: _Inspected, choice: _Choice) -> Parts:
    cells = np.stack([recording.tags[mill][tag] for tag in f.CHANNELS], axis=1)
    cell_end_s = recording.time.astype("datetime64[us]").astype(np.int64) / 1e6
    count, end_s, part = _parts_of_mill(recording, mill)
    own = np.minimum(np.searchsorted(count, seen.count), len(count) - 1)
    cell = np.searchsorted(cell_end_s, end_s[own], "right") - 1  # the last whole cell before completion
    usable = np.flatnonzero((count[own] == seen.count) & (cell >= f.LENGTH // 6))
    chosen = choice.of(usable, end_s[own[usable]])
    padded = np.concatenate([np.full((f.LENGTH - 1, len(f.CHANNELS)), np.nan, np.float32), cells])
    windows = np.lib.stride_tricks.sliding_window_view(padded, f.LENGTH, axis=0).transpose(0, 2, 1)
    regular = np.flatnonzero(~seen.campaign)
    x, compensation = [], []
    for rows in np.array_split(chosen, max(1, len(chosen) // _CHUNK)):
        done_s = end_s[own[rows]]
        before = np.searchsorted(seen.time_s[regular], done_s, "right")[:, None] - 1 - np.arange(f.INSPECTED)
        earlier = regular[np.maximum(before, 0)] if len(regular) else np.zeros(before.shape, np.intp)
        known = np.stack([seen.count[earlier], seen.value[earlier]], axis=2)
        known[(before < 0) | (len(regular) == 0)] = np.nan
        row, beyond = f.dimension_features(windows[cell[rows]], done_s, part[own[rows]], known)
        x.append(row)
        compensation.append(beyond)
    weight = np.full(len(chosen), len(count) / max(1, len(chosen)))
    return Parts(
        x=np.concatenate(x),
        deviation=seen.value[chosen],
        compensation=np.concatenate(compensation),
        bad=(seen.bad & ~seen.porous)[chosen],
        unit=np.full(len(chosen), recording.unit),
        weight=weight,
        end_s=end_s[own[chosen]],
        count=seen.count[chosen],
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


def porosity_parts(recordings: Sequence[Recording]) -> Parts:
    """Every inspected part whose force curve was kept; ``x`` are the raw curves, float32 (P, CURVE).

    Raises:
        ContractError: No recording holds force curves of inspected parts.
    """
    found = []
    for recording in recordings:
        verdict = _porous_by_serial(recording.streams.get("events", ()))
        for arrays in recording.arrays.values():
            if "ForceCurve" not in arrays:
                continue
            serials, times, curves = arrays["ForceCurve"]
            known = np.array([i for i, s in enumerate(serials.tolist()) if s in verdict], dtype=np.intp)
            bad = np.array([verdict[str(serials[i])] for i in known], dtype=np.bool_)
            weight = np.full(len(known), len(verdict) / max(1, len(known)))
            x = np.asarray(curves[known], dtype=np.float32)
            end_s = times[known].astype("datetime64[us]").astype(np.int64) / 1e6
            none = np.zeros(len(known))
            found.append(Parts(x, none, none, bad, np.full(len(known), recording.unit), weight, end_s, none))
    if not any(len(p) for p in found):
        raise ContractError("no recording has force curves of inspected parts; record with labels and curves")
    return _joined(found)


def _porous_by_serial(events: Sequence[Mapping[str, object]]) -> dict[str, bool]:
    return {str(e["serial_no"]): bool(e.get("porous")) for e in events if e.get("kind") == "inspection"}


def _joined(found: Sequence[Parts]) -> Parts:
    return Parts(*(np.concatenate([getattr(part, field.name) for part in found]) for field in fields(Parts)))
