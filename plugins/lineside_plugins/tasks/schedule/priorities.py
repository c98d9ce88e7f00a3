"""Priorities that make a MES dispatch a sequence, with as few changes as the priorities it has allow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

HIGHEST = 16384
STEP = 256
"""A fresh sequence counts down from HIGHEST by STEP; both fit OPC UA's Int16 and leave room to insert in between."""


def renumber(have: Sequence[int | None]) -> list[int]:
    """Strictly falling priorities for a sequence, keeping as many of ``have`` as possible.

    ``have[p]`` is the priority the MES holds for position p, None where it holds none or it counts for another
    machine. All priorities are at least 1. When the gaps are too narrow, the whole sequence is numbered afresh.
    """
    keep = _falling([v if v is not None and 0 < v < 2 * HIGHEST - 1 else None for v in have])
    out: list[int] = []
    for p in range(len(have)):
        if p in keep:
            out.append(keep[p])
            continue
        above = out[-1] if out else None
        following = next((q for q in range(p, len(have)) if q in keep), None)
        out.append(_between(above, following, p, keep))
    falling = all(a > b for a, b in itertools.pairwise(out))
    return out if falling and min(out, default=1) >= 1 else [HIGHEST - STEP * p for p in range(len(have))]


def _between(above: int | None, following: int | None, at: int, keep: dict[int, int]) -> int:
    """The next priority between the one above and the next one kept, evenly spaced over the positions in between."""
    if following is None:
        return HIGHEST if above is None else above - min(STEP, max(1, above // 16))
    below = keep[following]
    if above is None:
        return min(2 * HIGHEST - 2, below + STEP * (following - at))
    return above - (above - below) // (following - at + 1)


def _falling(values: Sequence[int | None]) -> dict[int, int]:
    """Position -> value of a longest strictly falling subsequence; the earliest one of equal length."""
    best: list[tuple[int, ...]] = []
    for p, value in enumerate(values):
        if value is None:
            best.append(())
            continue
        chains = [best[q] for q in range(p) if best[q] and (values[q] or 0) > value]
        best.append((*max(chains, key=len, default=()), p))
    longest = max(best, key=len, default=())
    return {p: value for p in longest if (value := values[p]) is not None}
