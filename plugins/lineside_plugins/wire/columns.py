"""Recommendations as columns: what all of a group share once, then one list per field.

A list of numbers costs a hundredth of what a row object does on either side, and a batch is mostly one group.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, TypeAlias, overload

from lineside_plugins.types import Kind, OutputValue, Reason, Recommendation

_Shared: TypeAlias = tuple[str, Kind, str, str, tuple[str, ...]]
_datetime = datetime.fromisoformat
_FIELDS = tuple(field.name for field in fields(Recommendation))
_COLUMNS = frozenset({"equipment", "confidence", "interval", "reasons", "end", "lasts_s", "key", "quality"})


class Said(Sequence[Recommendation | None]):
    """Recommendations in columns; the objects are made when the first is asked for."""

    def __init__(self, table: dict[str, Any]) -> None:
        """``table`` as ``to_columns`` makes it, of values that ``from_columns`` takes; it is given away."""
        self.table = table
        self._rows: tuple[Recommendation | None, ...] | None = None

    def between(self, start: int, stop: int) -> Said:
        """The entries from ``start`` up to ``stop``, still in columns."""
        groups = []
        for group in self.table["groups"]:
            at = group["at"]  # ascending
            own = slice(bisect_left(at, start), bisect_left(at, stop))
            part = {
                name: column[own] if name in _COLUMNS and column is not None else column
                for name, column in group.items()
            }
            part |= {"at": [i - start for i in at[own]], "values": [column[own] for column in group["values"]]}
            groups.append(part)
        return Said({"count": stop - start, "groups": groups})

    def __len__(self) -> int:
        return int(self.table["count"])

    @overload
    def __getitem__(self, index: int) -> Recommendation | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Recommendation | None]: ...
    def __getitem__(self, index: int | slice) -> Recommendation | Sequence[Recommendation | None] | None:
        if self._rows is None:
            self._rows = from_columns(self.table)
        return self._rows[index]


def to_columns(results: Sequence[Recommendation | None]) -> dict[str, object]:
    """``count``: how many entries there are; ``groups``: those that are not None, by what they share."""
    if isinstance(results, Said):
        return results.table
    groups: dict[_Shared, list[int]] = {}
    for i, r in enumerate(results):
        if r is not None:
            groups.setdefault((r.task, r.kind, r.model, r.model_version, tuple(r.value)), []).append(i)
    return {"count": len(results), "groups": [_group(shared, at, results) for shared, at in groups.items()]}


def from_columns(table: Mapping[str, Any]) -> tuple[Recommendation | None, ...]:
    """Inverse of ``to_columns``; raises what reading someone else's bytes can raise (``errors.UNREADABLE``)."""
    out: list[Recommendation | None] = [None] * int(table["count"])
    for group in table["groups"]:
        for i, recommendation in zip(group["at"], _recommendations(group), strict=True):
            if out[i] is not None:
                raise ValueError(f"entry {i} stands twice")
            out[i] = recommendation
    return tuple(out)


def _group(shared: _Shared, at: list[int], results: Sequence[Recommendation | None]) -> dict[str, object]:
    rows = [r for r in (results[i] for i in at) if r is not None]
    task, kind, model, version, names = shared
    return {
        "task": task,
        "kind": kind.value,
        "model": model,
        "version": version,
        "names": names,
        "at": at,
        "equipment": [r.equipment_id for r in rows],
        "values": [_plain([r.value[name] for r in rows]) for name in names],
        "confidence": [r.confidence for r in rows],
        "interval": None if all(r.interval is None for r in rows) else [r.interval for r in rows],
        "reasons": [[[x.tag, x.weight, x.text] for x in r.reasons] for r in rows]
        if any(r.reasons for r in rows)
        else None,
        "end": [r.window_end for r in rows],
        "lasts_s": [(r.valid_until - r.window_end).total_seconds() for r in rows],
        "key": [r.key for r in rows],
        "quality": [r.quality for r in rows],
    }


def _plain(column: list[OutputValue]) -> list[object]:
    """A column as JSON has it; the records of a value need not be dictionaries."""
    return [[dict(record) for record in v] if isinstance(v, tuple) else v for v in column]


def _recommendations(group: Mapping[str, Any]) -> list[Recommendation]:
    count = len(group["at"])
    ends = [_datetime(end) for end in group["end"]]
    spans = {s: timedelta(seconds=s) for s in set(group["lasts_s"])}  # mostly one
    shared: dict[str, object] = dict.fromkeys(_FIELDS)
    shared |= {
        "task": str(group["task"]),
        "kind": Kind(group["kind"]),
        "reasons": (),
        "model": str(group["model"]),
        "model_version": str(group["version"]),
    }
    rows = []
    for equipment, value, confidence, end, lasts_s, key, quality in zip(
        group["equipment"],
        _values(group, count),
        group["confidence"],
        ends,
        group["lasts_s"],
        group["key"],
        group["quality"],
        strict=True,
    ):
        row = shared.copy()  # and what is its own: a third of the time of a dictionary made of everything
        row["equipment_id"] = equipment
        row["value"] = value
        row["confidence"] = confidence
        row["window_end"] = end
        row["valid_until"] = end + spans[lasts_s]
        row["key"] = key
        row["quality"] = quality
        rows.append(row)
    _explain(rows, group)
    return Recommendation.all_of(rows)


def _explain(rows: Sequence[dict[str, object]], group: Mapping[str, Any]) -> None:
    """Add intervals and reasons, where there are any."""
    if group["interval"] is not None:
        for row, pair in zip(rows, group["interval"], strict=True):
            row["interval"] = None if pair is None else (float(pair[0]), float(pair[1]))
    if group["reasons"] is not None:
        for row, why in zip(rows, group["reasons"], strict=True):
            row["reasons"] = tuple([Reason(str(t), float(w), str(x)) for t, w, x in why])


def _values(group: Mapping[str, Any], count: int) -> list[dict[str, OutputValue]]:
    """What each row says; column after column, because a step per row takes twice the time."""
    names = tuple(map(str, group["names"]))
    shared: dict[str, OutputValue] = dict.fromkeys(names)
    rows = [shared.copy() for _ in range(count)]
    for name, column in zip(names, group["values"], strict=True):
        cells = [tuple(v) if isinstance(v, list) else v for v in column] if list in set(map(type, column)) else column
        for row, cell in zip(rows, cells, strict=True):
            row[name] = cell
    return rows
