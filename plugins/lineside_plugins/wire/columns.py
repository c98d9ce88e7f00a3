"""Recommendations as columns: what all of a group share once, then one list per field.

A list of numbers costs a hundredth of what a row object does on either side, and a batch is mostly one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any, TypeAlias

from lineside_plugins.types import Kind, OutputValue, Reason, Recommendation

_Shared: TypeAlias = tuple[str, Kind, str, str, tuple[str, ...]]
_datetime = datetime.fromisoformat


def to_columns(results: Sequence[Recommendation | None]) -> dict[str, object]:
    """``count``: how many entries there are; ``groups``: those that are not None, by what they share."""
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
        "until": [r.valid_until for r in rows],
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
    for equipment, value, confidence, interval, why, end, until, key, quality in zip(
        group["equipment"],
        values,
        group["confidence"],
        repeat(None, count) if intervals is None else intervals,
        repeat((), count) if reasons is None else reasons,
        group["end"],
        group["until"],
        group["key"],
        group["quality"],
        strict=True,
    ):
        yield Recommendation.of(
            {
                "task": task,
                "kind": kind,
                "equipment_id": equipment,
                "value": dict(zip(names, value, strict=True)),
                "confidence": confidence,
                "interval": None if interval is None else (float(interval[0]), float(interval[1])),
                "reasons": tuple([Reason(str(t), float(w), str(x)) for t, w, x in why]) if why else (),
                "window_end": _datetime(end),
                "valid_until": _datetime(until),
                "model": model,
                "model_version": version,
                "key": key,
                "quality": quality,
            }
        )


def _cells(column: Sequence[Any]) -> Sequence[OutputValue]:
    return [tuple(v) if isinstance(v, list) else v for v in column]
