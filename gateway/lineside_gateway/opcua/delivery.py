"""What a server connection hands to the rest of the gateway, and how: the ``Sink``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from lineside_plugins.types import Record, SnapshotValue

IndexArray = NDArray[np.int64]
Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]
StatusArray = NDArray[np.uint32]

BAD = 0x8000_0000
UNCERTAIN = 0x4000_0000
OVERFLOW = 0x480
"""InfoType DataValue and Overflow bit of a StatusCode (OPC UA Part 4, 7.39.1): the server's queue lost values."""


@dataclass(frozen=True, slots=True)
class TagNode:
    """One tag as the server describes it. ``node_id`` is valid for the connection that resolved it."""

    equipment_id: str
    tag: str
    node_id: ua.NodeId
    address: str
    """``nsu=...;s=...``, for messages and audit."""
    data_type: ua.VariantType | None
    """Built-in type behind the node's DataType; None where the server does not say."""
    data_type_name: str
    is_array: bool
    unit: str
    """DisplayName of EngineeringUnits, "" where the server has none."""
    eu_range: tuple[float, float] | None
    readable: bool
    writable: bool

    @property
    def numeric(self) -> bool:
        """True for a scalar that fits a column of numbers; Boolean counts as 0 and 1."""
        return not self.is_array and self.data_type in NUMERIC

    @property
    def structured(self) -> bool:
        """True where a value has fields of its own; no task takes it."""
        return self.data_type in STRUCTURED


STRUCTURED = frozenset({ua.VariantType.ExtensionObject, ua.VariantType.DataValue, ua.VariantType.DiagnosticInfo})
NUMERIC = frozenset(
    {
        ua.VariantType.Boolean,
        ua.VariantType.SByte,
        ua.VariantType.Byte,
        ua.VariantType.Int16,
        ua.VariantType.UInt16,
        ua.VariantType.Int32,
        ua.VariantType.UInt32,
        ua.VariantType.Int64,
        ua.VariantType.UInt64,
        ua.VariantType.Float,
        ua.VariantType.Double,
    }
)


@dataclass(frozen=True, slots=True)
class Equipment:
    """One piece of equipment found on a server: its tags, and what is missing with the cause."""

    id: str
    server: str
    node_id: ua.NodeId
    address: str
    site: str = ""
    area: str = ""
    work_center: str = ""
    tags: Mapping[str, TagNode] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Tag -> why it is not among ``tags``, optional ones too."""
    unfit: frozenset[str] = frozenset()
    """Those of ``missing`` that are there, of a type that the task cannot use."""


class Sink(Protocol):
    """Receives everything a server sends. Called on the event loop; must not block and must not raise.

    Of one server, ``history`` and ``history_ends`` come first, ``history`` again after a loss, before what is live.
    Within one publish response the order is: ``samples``, ``exact``, ``latest`` by source time, ``record``,
    then ``flush``.
    """

    def resolved(self, server: str, equipment: Sequence[Equipment]) -> None:
        """After each connect, and again when tags that were missing have appeared: all equipment of the server."""

    def index(self, equipment_id: str, tag: str) -> int:
        """The column of a numeric tag; the same answer at every call, at every reconnect."""

    def samples(
        self, indices: IndexArray, times_us: Int64Array, values: Float64Array, status: StatusArray | None
    ) -> None:
        """N numeric samples: column, SourceTimestamp (us since 1970 UTC), value (NaN where none), StatusCode.

        ``status`` None: all Good. Samples of one column are in the server's order. The arrays are the sink's to keep;
        ``indices`` is read-only and the same object again while a server sends the same tags.
        """

    def exact(self, index: int, time_us: int, value: int) -> None:
        """A 64-bit integer beyond what float64 holds; the sample was among ``samples`` of the same response."""

    def latest(self, equipment_id: str, tag: str, time_us: int, value: SnapshotValue, good: bool) -> None:
        """One value of a text, array or byte tag: str, float32 array (N,), bytes, ISO 8601 for a DateTime."""

    def history(self, indices: IndexArray, times_us: Int64Array, values: Float64Array, status: StatusArray) -> None:
        """Samples from before the connection, columns as in ``samples``; they come before any live one of the server.

        They are no news: what they say was true then.
        """

    def unbroken(self, tags: Sequence[TagNode]) -> None:
        """The history of ``tags`` has the latest sample received before a loss: what follows there misses nothing."""

    def past_record(self, stream: str, record: Record) -> None:
        """One row of ``events`` from the server's history; otherwise as ``record``."""

    def history_ends(self, equipment_id: str, live_us: int) -> None:
        """All history of this equipment is in. Samples up to ``live_us`` fill windows and make none due."""

    def record(self, stream: str, record: Record) -> None:
        """One row of stream ``events``; has "time" (ISO 8601, event time) and "equipment_id"."""

    def records(self, stream: str, records: tuple[Record, ...], time_us: int) -> None:
        """The whole list of stream ``job_orders`` as of ``time_us``, the list's own SourceTimestamp."""

    def flush(self, server: str, watermark_us: int, served_us: int) -> None:
        """A publish response is complete.

        ``watermark_us`` is the newest SourceTimestamp this server has sent, ``served_us`` the ServerTimestamp that
        came with it: event time and wall time of one instant.
        """

    def lost(self, server: str) -> None:
        """The server's connection is lost: what it sent is growing stale until ``resolved`` is called again."""

    def gap(self, server: str, cause: str, tags: Sequence[TagNode] | None = None) -> int:
        """Values of ``tags`` (None: of all numeric ones of the server) may be missing from here to the next ones.

        Returns:
            What names the gap to ``filled``.
        """

    def newest_us(self, tags: Sequence[TagNode]) -> list[int]:
        """SourceTimestamp of the latest sample received of each tag (us since 1970 UTC), 0 before any."""

    def filled(self, gap: int) -> None:
        """What a gap left out has been delivered after all, or nothing was."""
