"""From recordings to labelled parts: what the bench measured, joined with what was known when the part was cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import Recording
from lineside_plugins.learning.measured import Rows, measured_parts
from lineside_plugins.tasks.reject import features as f
from lineside_plugins.types import ContractError

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
BLOCK_S = 12 * 3600.0


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


def dimension_parts(recordings: Sequence[Recording], per_mill: int, seed: int, *, whole_blocks: bool = False) -> Parts:
    """About ``per_mill`` inspected parts of every mill with their features, drawn at random.

    With ``whole_blocks`` whole stretches of ``BLOCK_S`` are drawn, the same for all mills of a plant, so that the
    order in which parts come to the bench is kept.

    Raises:
        ContractError: No recording has a mill with inspected parts.
    """
    rng = np.random.default_rng(seed)
    choices = [_Choice(per_mill, int(rng.integers(2**32)), whole_blocks) for _ in recordings]

    def choose(number: int, rows: Rows, end_s: Floats) -> Rows:
        return choices[number].of(rows, end_s)

    found = []
    for block in measured_parts(recordings, choose, f.INSPECTED):
        x, compensation = f.dimension_features(block.cells, block.end_s, block.part, block.inspected)
        found.append(
            Parts(
                x=x,
                deviation=block.deviation,
                compensation=compensation,
                bad=block.off,
                unit=np.full(len(x), block.unit),
                weight=np.full(len(x), block.weight),
                end_s=block.end_s,
                count=block.count,
            )
        )
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
