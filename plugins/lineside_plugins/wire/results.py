"""What became of a batch, as UTF-8 JSON.

The fields that all recommendations of a batch share (task, kind, model, names of the output fields) are written once;
each recommendation is then one row of plain values. Written and read by pydantic's own JSON, which takes a third of
the time of the standard library's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias, cast

from pydantic_core import from_json, to_json

from lineside_plugins.types import Kind, OutputValue, Reason, Recommendation, Record, Scalar
from lineside_plugins.wire.errors import UNREADABLE, WireError

_Shared: TypeAlias = tuple[str, str, str, str, tuple[str, ...]]
_datetime = datetime.fromisoformat


class Status(StrEnum):
    """How a batch of windows ended."""

    ANSWERED = "answered"  # the task ran; see recommendations and refused
    FAILED = "failed"  # the task or its model could not run; ``error`` says why
    EXPIRED = "expired"  # nobody ran it before its deadline
    PARKED = "parked"  # it ended its worker again and again and is not tried any more


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no recommendation for the window at ``index`` of the batch: the runtime withheld what the task said.

    ``abstained``: the task itself did not want to say anything about a window unlike what it learned from.
    """

    index: int
    why: str
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """What a model reads or says on ``equipment_id`` is not what it learned from any more; ``tag`` "": what it says.

    ``times`` is how many times the limit it has moved, 1 where nobody can tell.
    """

    equipment_id: str
    tag: str
    cause: str
    times: float = 1.0


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one batch. ``recommendations`` has one entry per window, in order; empty unless ANSWERED.

    An entry is None where the task had nothing to say, or where ``refused`` has a row for it. ``meta`` holds figures
    for the operator: worker, device, seconds of inference, attempts; "canary" is the version that answered for some.
    ``shadow`` is what versions in shadow said, to be recorded and not shown. ``drift`` stands until a later batch with
    the same equipment has it no more; ``watched`` says whether anybody looked.
    """

    status: Status
    recommendations: tuple[Recommendation | None, ...] = ()
    refused: tuple[Refusal, ...] = ()
    error: str = ""
    meta: Mapping[str, Scalar] = field(default_factory=dict)
    shadow: tuple[Recommendation, ...] = ()
    drift: tuple[Drift, ...] = ()
    watched: bool = False


def encode_result(result: BatchResult) -> bytes:
    """The result as UTF-8 JSON."""
    row = {
        "status": result.status.value,
        "recommendations": _table(result.recommendations),
        "refused": [[r.index, r.why, r.abstained] for r in result.refused],
        "error": result.error,
        "meta": dict(result.meta),
    }
    if result.shadow:
        row["shadow"] = _table(result.shadow)
    if result.watched:
        row["drift"] = [[d.equipment_id, d.tag, d.cause, d.times] for d in result.drift]
    return to_json(row, inf_nan_mode="null")


def decode_result(data: bytes) -> BatchResult:
    """Inverse of ``encode_result``.

    Raises:
        WireError: Not a result of this version.
    """
    try:
        row = from_json(data)
        return BatchResult(
            status=Status(row["status"]),
            recommendations=_recommendations(row["recommendations"]),
            refused=tuple(Refusal(int(i), str(why), bool(own)) for i, why, own in row["refused"]),
            error=str(row["error"]),
            meta=dict(row["meta"]),
            shadow=tuple(r for r in _recommendations(row["shadow"]) if r is not None) if "shadow" in row else (),
            drift=tuple(Drift(str(e), str(t), str(c), float(n)) for e, t, c, n in row.get("drift", ())),
            watched="drift" in row,
        )
    except UNREADABLE as e:
        raise WireError(f"result of {len(data)} bytes cannot be read: {e}") from e


def encode_results(results: Sequence[Recommendation | None]) -> bytes:
    """One entry per window of the batch, in its order."""
    return to_json(_table(results), inf_nan_mode="null")


def decode_results(data: bytes) -> list[Recommendation | None]:
    """Inverse of ``encode_results``.

    Raises:
        WireError: Not a result of this version.
    """
    try:
        return list(_recommendations(from_json(data)))
    except UNREADABLE as e:
        raise WireError(f"result of {len(data)} bytes cannot be read: {e}") from e


def _table(results: Sequence[Recommendation | None]) -> dict[str, object]:
    """``shared``: what rows have in common; ``rows``: null, or the number of its shared part and the row's own."""
    shared: dict[_Shared, int] = {}
    rows: list[list[object] | None] = []
    for r in results:
        if r is None:
            rows.append(None)
            continue
        common = (r.task, r.kind.value, r.model, r.model_version, tuple(r.value))
        rows.append(
            [
                shared.setdefault(common, len(shared)),
                r.equipment_id,
                [[dict(i) for i in v] if isinstance(v, tuple) else v for v in r.value.values()],
                r.confidence,
                r.interval,
                [[x.tag, x.weight, x.text] for x in r.reasons],
                r.window_end,
                r.valid_until,
                r.key,
                r.quality,
            ]
        )
    return {"shared": list(shared), "rows": rows}


def _recommendations(table: Mapping[str, Any]) -> tuple[Recommendation | None, ...]:
    shared = [
        (str(task), Kind(kind), str(model), str(version), tuple(str(n) for n in names))
        for task, kind, model, version, names in table["shared"]
    ]
    return tuple(None if row is None else _recommendation(shared, *row) for row in table["rows"])


def _recommendation(
    shared: Sequence[tuple[str, Kind, str, str, tuple[str, ...]]],
    number: int,
    equipment_id: str,
    values: Sequence[Scalar | list[Record]],
    confidence: float,
    interval: list[float] | None,
    reasons: list[tuple[str, float, str]],
    window_end: str,
    valid_until: str,
    key: str,
    quality: float,
) -> Recommendation:
    task, kind, model, version, names = shared[number]
    value = {n: cast("OutputValue", tuple(v) if isinstance(v, list) else v) for n, v in zip(names, values, strict=True)}
    return Recommendation.of(
        task=task,
        kind=kind,
        equipment_id=equipment_id,
        value=value,
        confidence=confidence,
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        reasons=tuple([Reason(str(t), float(w), str(x)) for t, w, x in reasons]) if reasons else (),
        window_end=_datetime(window_end),
        valid_until=_datetime(valid_until),
        model=model,
        model_version=version,
        key=key,
        quality=quality,
    )
