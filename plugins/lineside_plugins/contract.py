"""What a task author writes: one small class, and a second one for tasks that learn.

Lifecycle: the gateway constructs the class with its configuration and calls ``inputs()`` and ``outputs()`` only.
A worker process constructs it, calls ``load()`` once, then ``recommend()`` any number of times from one thread,
then ``close()``. The runtime, not the author, checks lengths, deadlines, data types and ranges.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lineside_plugins.types import Abstention, Advice, Kind, ModelData, Record, TimeArray, WindowBatch


class TaskConfig(BaseModel):
    """Base of every task's configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class Scope(StrEnum):
    """What one window stands for."""

    EQUIPMENT = "equipment"  # one window per piece of equipment
    LINE = "line"  # one window for all equipment of a binding; records carry the details


class Aggregate(StrEnum):
    """How the samples that fall into one cell of the grid become one number.

    MEAN and MAX look at the Good samples of a cell, or, if it has none, at its Uncertain ones. LAST is the newest
    sample at or before the cell's end, held over cells without one: servers report changes only.
    """

    MEAN = "mean"
    LAST = "last"
    MAX = "max"


class DataType(StrEnum):
    """Data type of an output field, named as in OPC UA Part 6; ``RECORDS`` is hosted as a JSON String."""

    BOOLEAN = "Boolean"
    INT32 = "Int32"
    DOUBLE = "Double"
    STRING = "String"
    DATE_TIME = "DateTime"
    RECORDS = "Records"


@dataclass(frozen=True, slots=True)
class Channel:
    """One numeric tag of a window. ``unit`` is checked against the server's EngineeringUnits where it has them."""

    tag: str
    unit: str = ""
    aggregate: Aggregate = Aggregate.MEAN
    optional: bool = False


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """A fixed grid of ``length`` cells of ``period_s`` seconds for each of ``channels``.

    A window in which less than ``min_good`` of the required cells hold a Good sample yields no recommendation.
    """

    channels: tuple[Channel, ...]
    length: int
    period_s: float
    min_good: float = 0.1


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a window closes: every ``every_s`` of event time, when a tag changes, when a record stream gets a row.

    Any of the three may be set. ``min_interval_s`` merges bursts of changes into one window per binding and scope.
    """

    every_s: float | None = None
    on_change: tuple[str, ...] = ()
    on_records: tuple[str, ...] = ()
    min_interval_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """Rows of one stream, newest ``limit`` rows, those of the window's equipment unless ``whole_line``.

    Streams: ``job_orders`` (the MES's current list), ``events`` (failures, repairs, inspection results),
    ``equipment`` (one row per piece of equipment with the latest ``tags``), ``recommendations/<task>``.
    ``kinds`` keeps only events of these kinds.
    """

    stream: str
    limit: int = 256
    whole_line: bool = False
    tags: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a task wants to see, and when. ``deadline_s`` counts from the window's end, in event time."""

    trigger: Trigger
    deadline_s: float
    window: WindowSpec | None = None
    snapshot: tuple[str, ...] = ()
    records: tuple[RecordSpec, ...] = ()
    scope: Scope = Scope.EQUIPMENT
    requires: tuple[str, ...] = ()  # tags a piece of equipment must have for this task to apply to it


@dataclass(frozen=True, slots=True)
class OutputField:
    """One named value of a recommendation; the gateway makes an OPC UA Variable of it.

    ``low`` and ``high`` bound numbers; a value outside is refused before it reaches any node.
    """

    name: str
    data_type: DataType
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """The fields of a recommendation; ``flag`` names the Boolean field that asks for an effect on the plant."""

    kind: Kind
    fields: tuple[OutputField, ...]
    flag: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names in declared order."""
        return tuple(f.name for f in self.fields)


class TaskPlugin(ABC, Generic[ConfigT]):
    """A task: what it needs to see, what it says, and how a batch of windows becomes advice."""

    config_type: ClassVar[type[TaskConfig]]
    needs_model: ClassVar[bool] = True

    def __init__(self, config: ConfigT) -> None:
        """Keep the configuration; no work, no heavy import."""
        self.config = config

    @abstractmethod
    def inputs(self) -> Inputs:
        """Tags, records and triggers. Pure and cheap; called without torch."""

    @abstractmethod
    def outputs(self) -> Outputs:
        """Fields of the recommendation. Pure and cheap; called without torch."""

    def load(self, model: ModelData | None, device: str) -> None:
        """Build the model on ``device`` ("cpu", "cuda:0"). Called once per process, before any batch.

        ``model`` is None for a task with ``needs_model = False``.
        """

    @abstractmethod
    def recommend(self, batch: WindowBatch) -> Sequence[Advice | Abstention | None]:
        """One entry per window, in the batch's order; None = nothing to say. Must not mutate the batch.

        An Abstention says why there is no advice where one was to be expected; the hosted nodes show the cause.
        """

    def close(self) -> None:
        """Release what ``load`` took. Called once; no batch follows."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a gateway saw of one plant: tags on a common grid and record streams. One unit of a train/test split.

    ``tags[equipment_id][tag]`` is float32 (N,), the mean of each cell, NaN where no Good sample; ``time`` is
    datetime64[us] (N,), the end of each cell. ``streams`` holds records oldest first, each with "time" (ISO 8601)
    and "equipment_id". ``arrays[equipment_id][tag]`` is ``(serial_nos (P,), times (P,), float32 (P, L))`` per part.
    """

    unit: str
    period_s: float
    time: TimeArray
    tags: Mapping[str, Mapping[str, NDArray[np.float32]]]
    streams: Mapping[str, tuple[Record, ...]]
    arrays: Mapping[str, Mapping[str, tuple[NDArray[np.str_], TimeArray, NDArray[np.float32]]]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What ``fit`` returns; the store writes it as safetensors + config + metrics + manifest.

    ``report`` has one row per candidate and split, the tree baseline always among them, and says which one ships.
    """

    config: Mapping[str, object]
    tensors: Mapping[str, NDArray[np.generic]]
    metrics: Mapping[str, object]
    report: tuple[Mapping[str, object], ...] = ()


class TrainableTask(TaskPlugin[ConfigT]):
    """A task that learns from recordings. Splits are by unit (plant), never at random over rows."""

    @abstractmethod
    def fit(
        self, train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str
    ) -> TrainedModel:
        """Train every candidate on ``train``, choose by ``validation``, return the winner with the full report."""

    @abstractmethod
    def evaluate(self, model: ModelData, test: Sequence[Recording], *, device: str) -> Mapping[str, object]:
        """Metrics of ``model`` on units that neither ``fit`` nor the choice among candidates saw."""
