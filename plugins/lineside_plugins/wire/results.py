"""What became of a batch, as UTF-8 JSON.

Recommendations stand in columns (``columns``). Written and read by pydantic's own JSON, which takes a third of the time
of the standard library's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic_core import from_json, to_json

from lineside_plugins.types import Recommendation, Scalar
from lineside_plugins.wire.columns import from_columns, to_columns
from lineside_plugins.wire.errors import UNREADABLE, WireError

NO_FIGURES: Mapping[str, Scalar] = {}


class Status(StrEnum):
    """How a batch of windows ended."""

    ANSWERED = "answered"  # the task ran; see recommendations and refused
    FAILED = "failed"  # the task or its model could not run; ``error`` says why
    EXPIRED = "expired"  # nobody ran it before its deadline
    PARKED = "parked"  # it ended its worker again and again and is not tried any more
    UNREAD = "unread"  # the worker could not read the gateway's memory; the gateway sends the batch by the broker


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
    recommendations: Sequence[Recommendation | None] = ()
    refused: tuple[Refusal, ...] = ()
    error: str = ""
    meta: Mapping[str, Scalar] = field(default_factory=dict)
    shadow: tuple[Recommendation, ...] = ()
    drift: tuple[Drift, ...] = ()
    watched: bool = False


def encode_result(result: BatchResult, figures: Mapping[str, Scalar] = NO_FIGURES) -> bytes:
    """The result as UTF-8 JSON, its meta with ``figures`` besides."""
    row = {
        "status": result.status.value,
        "recommendations": to_columns(result.recommendations),
        "refused": [[r.index, r.why, r.abstained] for r in result.refused],
        "error": result.error,
        "meta": {**result.meta, **figures},
    }
    if result.shadow:
        row["shadow"] = to_columns(result.shadow)
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
            recommendations=from_columns(row["recommendations"]),
            refused=tuple(Refusal(int(i), str(why), bool(own)) for i, why, own in row["refused"]),
            error=str(row["error"]),
            meta=dict(row["meta"]),
            shadow=tuple(r for r in from_columns(row["shadow"]) if r is not None) if "shadow" in row else (),
            drift=tuple(Drift(str(e), str(t), str(c), float(n)) for e, t, c, n in row.get("drift", ())),
            watched="drift" in row,
        )
    except UNREADABLE as e:
        raise WireError(f"result of {len(data)} bytes cannot be read: {e}") from e


def encode_results(results: Sequence[Recommendation | None]) -> bytes:
    """One entry per window of the batch, in its order."""
    return to_json(to_columns(results), inf_nan_mode="null")


def decode_results(data: bytes) -> list[Recommendation | None]:
    """Inverse of ``encode_results``.

    Raises:
        WireError: Not a result of this version.
    """
    try:
        return list(from_columns(from_json(data)))
    except UNREADABLE as e:
        raise WireError(f"result of {len(data)} bytes cannot be read: {e}") from e
