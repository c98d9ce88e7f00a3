"""Who says it, about what and until when: what makes recommendations of a task's advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lineside_plugins.contract import Outputs
from lineside_plugins.types import Advice, FloatArray, TimeArray, WindowBatch
from lineside_plugins.wire import Said


@dataclass(frozen=True, slots=True)
class Stamp:
    """The stamp of one task; ``lasts_s`` is how long after its window's end an advice holds if it says nothing else."""

    task: str
    outputs: Outputs
    lasts_s: float

    def __call__(
        self, batch: WindowBatch, advice: Mapping[int, Advice], shares: FloatArray, model: str, version: str
    ) -> Said:
        """``advice``, checked, by row of ``batch``; ``shares`` of Good cells (B,)."""
        if not advice:
            return Said({"count": len(batch), "groups": []})
        at, said = list(advice), list(advice.values())
        intervals, reasons = [a.interval for a in said], [a.reasons for a in said]
        whole = len(at) == len(batch)
        times = _iso_times(batch.end if whole else batch.end[at])
        equipment = batch.equipment_ids if whole else [batch.equipment_ids[i] for i in at]
        prefix = f"{self.task}|{model}:{version}|"
        group = {
            "task": self.task,
            "kind": self.outputs.kind.value,
            "model": model,
            "version": version,
            "names": self.outputs.names,
            "at": at,
            "equipment": equipment,
            "values": [[a.value[name] for a in said] for name in self.outputs.names],
            "confidence": [a.confidence for a in said],
            "interval": intervals if any(intervals) else None,
            "reasons": [[(r.tag, r.weight, r.text) for r in why] for why in reasons] if any(reasons) else None,
            "end": times,
            "lasts_s": [self.lasts_s if a.valid_for_s is None else float(a.valid_for_s) for a in said],
            "key": [f"{prefix}{name}|{end}" for name, end in zip(equipment, times, strict=True)],
            "quality": (shares if whole else shares[at]).tolist(),
        }
        return Said({"count": len(batch), "groups": [group]})


def _iso_times(end: TimeArray) -> list[str]:
    """Each time as ``datetime.isoformat`` writes it in UTC; all at once, in a tenth of the time."""
    return [f"{t.removesuffix('.000000')}+00:00" for t in np.datetime_as_string(end).tolist()]
