"""The values that cross every boundary of Lineside: a batch of windows in, recommendations out.

Times are UTC. ``end`` and ``window_end`` are event time (the SourceTimestamp of the plant's own clock);
``issued_at`` and ``valid_until`` are event time too, so that an accelerated or simulated plant keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
BoolArray: TypeAlias = NDArray[np.bool_]
TimeArray: TypeAlias = NDArray[np.datetime64]
Scalar: TypeAlias = bool | int | float | str | None
SnapshotValue: TypeAlias = Scalar | bytes | FloatArray
Record: TypeAlias = Mapping[str, Scalar]
OutputValue: TypeAlias = Scalar | tuple[Record, ...]


@lru_cache(maxsize=4)
def all_good(shape: tuple[int, ...]) -> BoolArray:
    """All True and read-only; the same array each time, by which it is known without a look at each cell."""
    good = np.ones(shape, np.bool_)
    good.flags.writeable = False
    return good


class Kind(StrEnum):
    """What a recommendation asks the plant to do."""

    MAINTENANCE = "maintenance"
    REJECT = "reject"
    SCHEDULE = "schedule"
    SET_POINT = "set_point"


class DeviceHealth(IntEnum):
    """NAMUR NE 107 status, numbered as OPC UA DI ``DeviceHealthEnumeration`` (OPC 10000-100, 4.5.4)."""

    NORMAL = 0
    FAILURE = 1
    CHECK_FUNCTION = 2
    OFF_SPEC = 3
    MAINTENANCE_REQUIRED = 4


class ContractError(ValueError):
    """A value breaks the contract between gateway, worker and plugin; the message names the field and the bound."""


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Windows of B pieces of equipment for one task, on one fixed grid of T samples and C channels.

    ``values`` is float32 (B, T, C) with NaN where no sample fell into the cell; ``good`` is bool (B, T, C), True
    where the cell holds at least one sample of Good StatusCode. Cell ``t`` covers
    ``(end - (T - t) * period_s, end - (T - t - 1) * period_s]``; the last cell ends at ``end`` (datetime64[us], UTC,
    the source's clock). A window that a change made due has the exact time of the change as its ``end``, and its grid
    ends with the last full base cell before that (largest common divisor of period, trigger period and 60 s).
    A task without a window has T = 0 and C = 0.

    ``snapshots[b]`` holds the latest value of each snapshot tag (text, arrays, images as encoded bytes), and
    ``records[b]`` the rows of each requested stream, oldest first. Nobody mutates a batch.
    """

    equipment_ids: tuple[str, ...]
    tags: tuple[str, ...]
    values: FloatArray
    good: BoolArray
    end: TimeArray
    period_s: float
    snapshots: tuple[Mapping[str, SnapshotValue], ...] = ()
    records: tuple[Mapping[str, tuple[Record, ...]], ...] = ()

    def __post_init__(self) -> None:
        """Check shapes and dtypes once, where the batch is made.

        Raises:
            ContractError: A shape or dtype is off; the caller built the batch wrongly.
        """
        b, c = len(self.equipment_ids), len(self.tags)
        if self.values.ndim != 3 or self.values.shape[0] != b or self.values.shape[2] != c:
            raise ContractError(f"values has shape {self.values.shape}; expected ({b}, T, {c})")
        if self.good.shape != self.values.shape:
            raise ContractError(f"good has shape {self.good.shape}; expected that of values, {self.values.shape}")
        if self.values.dtype != np.float32 or self.good.dtype != np.bool_:
            raise ContractError(f"values is {self.values.dtype}, good is {self.good.dtype}; expected float32, bool")
        if self.end.shape != (b,) or self.end.dtype != np.dtype("datetime64[us]"):
            raise ContractError(f"end is {self.end.dtype} {self.end.shape}; expected datetime64[us] ({b},)")
        for name, rows in (("snapshots", self.snapshots), ("records", self.records)):
            if rows and len(rows) != b:
                raise ContractError(f"{name} has {len(rows)} entries; expected one per window, {b}")

    def __len__(self) -> int:
        """B, the number of windows."""
        return len(self.equipment_ids)

    @property
    def is_all_good(self) -> bool:
        """Whether each cell holds a Good sample; at once for what came over the wire as such."""
        return self.good is all_good(self.good.shape) or bool(self.good.all())

    def select(self, rows: Sequence[int]) -> WindowBatch:
        """The windows at ``rows``, in that order, as a batch of their own."""
        index = np.asarray(rows, dtype=np.intp)
        return WindowBatch(
            equipment_ids=tuple(self.equipment_ids[i] for i in index),
            tags=self.tags,
            values=self.values[index],
            good=self.good[index],
            end=self.end[index],
            period_s=self.period_s,
            snapshots=tuple(self.snapshots[i] for i in index) if self.snapshots else (),
            records=tuple(self.records[i] for i in index) if self.records else (),
        )

    def channel(self, tag: str) -> int:
        """Index of ``tag`` on the last axis of ``values``.

        Raises:
            ContractError: The batch has no such channel.
        """
        try:
            return self.tags.index(tag)
        except ValueError:
            raise ContractError(f"tag '{tag}' is not in the batch; it has {', '.join(self.tags)}") from None


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause of a recommendation, in the operator's words.

    ``weight`` is the share of the score that ``tag`` explains, 0..1, largest first in a list of reasons.
    """

    tag: str
    weight: float
    text: str


@dataclass(slots=True)  # not frozen: one is made for every window, and freezing takes half a microsecond of each
class Advice:
    """What a task says about one window; the runtime adds who, when and which model to make a Recommendation.

    ``value`` has one entry per declared output. ``confidence`` is the calibrated probability, 0..1, that acting on
    the advice is right. ``interval`` bounds the main quantity (90 % unless the task states otherwise).
    ``valid_for_s`` counts from the window's end; None takes the task's deadline.
    """

    value: Mapping[str, OutputValue]
    confidence: float
    interval: tuple[float, float] | None = None
    reasons: tuple[Reason, ...] = ()
    valid_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class Abstention:
    """What a task says about a window unlike anything it learned from: no advice, and why, in the operator's words.

    ``tag`` is the one that makes the window strange, ``score`` how far beyond the limit it is (above 1).
    """

    cause: str
    tag: str = ""
    score: float = 1.0


@dataclass(frozen=True)  # no slots: see ``of``
class Recommendation:
    """An Advice with its origin, ready for the guard, the hosted nodes and the audit trail.

    ``key`` is the idempotency key: one effect on the plant per (task, model version, equipment, window end).
    ``quality`` is the share of the window's cells that held a Good sample, 0..1.
    """

    task: str
    kind: Kind
    equipment_id: str
    value: Mapping[str, OutputValue]
    confidence: float
    interval: tuple[float, float] | None
    reasons: tuple[Reason, ...]
    window_end: datetime
    valid_until: datetime
    model: str
    model_version: str
    key: str
    quality: float = 1.0

    @classmethod
    def all_of(cls, rows: Sequence[dict[str, object]]) -> list[Recommendation]:
        """Recommendations of ``rows`` with all fields of the declared types: nothing is checked or filled in.

        For the runtime, which makes one for every window and gives the dictionaries away: a frozen dataclass sets each
        field through ``object.__setattr__``, 5.4 us for these thirteen; this takes 0.25 us.
        """
        made, give = [object.__new__(cls) for _ in rows], object.__setattr__
        for new, fields in zip(made, rows, strict=True):
            give(new, "__dict__", fields)
        return made


@dataclass(frozen=True, slots=True)
class ModelData:
    """A verified model as the store hands it to ``TaskPlugin.load``: plain arrays and plain configuration.

    ``tensors`` are read-only; ``config`` holds the architecture, the fitted normaliser and the thresholds.
    """

    name: str
    version: str
    config: Mapping[str, object]
    tensors: Mapping[str, NDArray[np.generic]]
    metrics: Mapping[str, object] = field(default_factory=dict)
