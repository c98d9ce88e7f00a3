"""Which task looks at which equipment, and the request that a closed window becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lineside_gateway.ingest.errors import BindingError
from lineside_plugins.contract import Inputs, Scope
from lineside_plugins.types import BoolArray, FloatArray, Record, SnapshotValue

LINE_ID = "line"
PERIOD = "period"  # the cause of a request that a period made due


@dataclass(frozen=True, slots=True)
class Binding:
    """A task over pieces of equipment. ``min_good`` raises the task's own bound on a window's quality.

    With ``Scope.LINE`` requests carry ``line_id``.
    """

    task: str
    inputs: Inputs
    equipment_ids: tuple[str, ...]
    line_id: str = LINE_ID
    min_good: float = 0.0

    def __post_init__(self) -> None:
        """Check what would otherwise show as silence.

        Raises:
            BindingError: The inputs contradict themselves; the task's author or its configuration has to change.
        """
        inputs, trigger = self.inputs, self.inputs.trigger
        if trigger.every_s is None and not trigger.on_change and not trigger.on_records:
            raise BindingError(f"task '{self.task}' has no trigger; set every_s, on_change or on_records")
        if trigger.every_s is not None and trigger.every_s <= 0:
            raise BindingError(f"task '{self.task}': every_s is {trigger.every_s}; it must be above 0")
        if inputs.scope is Scope.LINE and (inputs.window is not None or inputs.snapshot):
            raise BindingError(f"task '{self.task}' sees the whole line; use records, not a window or a snapshot")
        streams = [r.stream for r in inputs.records]
        if len(set(streams)) < len(streams):
            raise BindingError(f"task '{self.task}' names a record stream twice: {', '.join(streams)}; join the specs")
        if inputs.window is not None:
            channels = [(c.tag, c.aggregate) for c in inputs.window.channels]
            if not channels or len(set(channels)) < len(channels):
                raise BindingError(f"task '{self.task}': a window needs channels, each tag and aggregate once")


@dataclass(frozen=True, slots=True)
class Request:
    """A closed window of one task and one piece of equipment (or the line), ready for a batch.

    ``end_us`` is the exact event time of the trigger in us since 1970 UTC; the grid shows the base cells complete by
    then (see ``grid``). ``deadline_us`` is event time too. ``values`` float32 and ``good`` are (T, C); (0, 0) without
    a window. ``quality`` is the share of Good cells among the required channels; without a window, the share of
    snapshot tags that are Good; else 1. ``cause`` says what made it due: "period", tags or streams, joined by "+".
    """

    id: int
    task: str
    equipment_id: str
    end_us: int
    deadline_us: int
    tags: tuple[str, ...]
    period_s: float
    values: FloatArray
    good: BoolArray
    snapshot: Mapping[str, SnapshotValue]
    records: Mapping[str, tuple[Record, ...]]
    quality: float
    cause: str

    @property
    def end(self) -> np.datetime64:
        """``end_us`` as datetime64[us], UTC."""
        return np.datetime64(self.end_us, "us")
