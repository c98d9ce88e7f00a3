"""One answer out of what several versions said of a batch."""

from __future__ import annotations

from dataclasses import replace

from lineside_plugins.types import Recommendation
from lineside_plugins.wire import BatchResult, Refusal, Status


def rows_of(result: BatchResult, rows: list[int]) -> BatchResult:
    """The part of an answer that is about ``rows``."""
    if result.status is not Status.ANSWERED or len(rows) == len(result.recommendations):
        return result
    place = {row: i for i, row in enumerate(rows)}
    refused = tuple(replace(r, index=place[r.index]) for r in result.refused if r.index in place)
    return replace(result, recommendations=tuple(result.recommendations[i] for i in rows), refused=refused)


def merged(result: BatchResult, canary: BatchResult, rows: list[int], version: str) -> BatchResult:
    """``result`` with the canary's word at ``rows``; where it failed the version in full keeps the word."""
    if canary.status is not Status.ANSWERED or result.status is not Status.ANSWERED:
        return result
    entries: list[Recommendation | None] = list(result.recommendations)
    own = set(rows)
    refused = [r for r in result.refused if r.index not in own]
    refused += [Refusal(rows[r.index], r.why, r.abstained) for r in canary.refused]
    for i, row in enumerate(rows):
        entries[row] = canary.recommendations[i]
    return replace(
        result,
        recommendations=tuple(entries),
        refused=tuple(sorted(refused, key=lambda r: r.index)),
        meta={**result.meta, "canary": version},
        drift=(*result.drift, *(d for d in canary.drift if d not in result.drift)),
        watched=result.watched or canary.watched,
    )
