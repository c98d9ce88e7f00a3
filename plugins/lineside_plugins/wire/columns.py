"""Recommendations as columns: what all of a group share once, then one list per field.

A list of numbers costs a hundredth of what a row object does on either side, and a batch is mostly one group.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any, TypeAlias, overload

from lineside_plugins.types import Kind, OutputValue, Reason, Recommendation

_Shared: TypeAlias = tuple[str, Kind, str, str, tuple[str, ...]]
_datetime = datetime.fromisoformat
_COLUMNS = ("equipment", "confidence", "interval", "reasons", "end", "lasts_s", "key", "quality")


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


def _recommendations(group: Mapping[str, Any]) -> Iterable[Recommendation]:
    task, kind, model, version = str(group["task"]), Kind(group["kind"]), str(group["model"]), str(group["version"])
    names = tuple(map(str, group["names"]))
    count = len(group["at"])
    values = zip(*map(_cells, group["values"]), strict=True) if names else repeat((), count)
    intervals, reasons = group["interval"], group["reasons"]
    spans = {s: timedelta(seconds=s) for s in set(group["lasts_s"])}  # mostly one
    for equipment, value, confidence, interval, why, end, lasts_s, key, quality in zip(
        group["equipment"],
        values,
        group["confidence"],
        repeat(None, count) if intervals is None else intervals,
        repeat((), count) if reasons is None else reasons,
        group["end"],
        group["lasts_s"],
        group["key"],
        group["quality"],
        strict=True,
    ):
        window_end = _datetime(end)
        yield Recommendation.of(
            {
                "task": task,
                "kind": kind,
                "equipment_id": equipment,
                "value": dict(zip(names, value, strict=True)),
                "confidence": confidence,
                "interval": None if interval is None else (float(interval[0]), float(interval[1])),
                "reasons": tuple([Reason(str(t), float(w), str(x)) for t, w, x in why]) if why else (),
                "window_end": window_end,
                "valid_until": window_end + spans[lasts_s],
                "model": model,
                "model_version": version,
                "key": key,
                "quality": quality,
            }
        )


def _cells(column: Sequence[Any]) -> Sequence[OutputValue]:
    return [tuple(v) if isinstance(v, list) else v for v in column]
