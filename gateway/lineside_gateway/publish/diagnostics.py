"""The gateway about itself: heartbeat, throughput, ledger, plant-wide mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lineside_gateway.publish.fields import VARIANT, Field, FieldType, flat
from lineside_gateway.publish.layout import Layout
from lineside_gateway.publish.names import GATEWAY
from lineside_gateway.publish.nodeids import StatusCodes
from lineside_gateway.publish.recommendation_nodes import Cell
from lineside_gateway.publish.variables import Builder, data_value
from lineside_gateway.settings.model import Mode


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Numbers of the running gateway, counters since its start."""

    tags_per_s: float
    workers: int
    received: int
    used: int
    dropped: int
    pending: int

    @property
    def balanced(self) -> bool:
        """True where every sample received is accounted for."""
        return self.received == self.used + self.dropped + self.pending


_FIELDS = (
    Field("gateway_id", FieldType.STRING, "Name of this gateway"),
    Field("heartbeat", FieldType.UINT32, "Counts up once a second while the gateway runs; wraps at 2^32"),
    Field("plant_mode", FieldType.STRING, "closed_loop, or advisory while the plant-wide switch demotes all"),
    Field("tags_per_second", FieldType.DOUBLE, "Samples received per second"),
    Field("workers", FieldType.UINT32, "Workers that answer"),
    Field("ledger_received", FieldType.UINT64, "Samples received"),
    Field("ledger_used", FieldType.UINT64, "Samples used in windows or as latest values"),
    Field("ledger_dropped", FieldType.UINT64, "Samples dropped, each with a reason"),
    Field("ledger_pending", FieldType.UINT64, "Samples waiting for their window"),
    Field("ledger_balanced", FieldType.BOOLEAN, "received = used + dropped + pending"),
    Field(
        "problems", FieldType.STRING, "What keeps recommendations from coming, one sentence each; empty while nothing"
    ),
    Field("drift_alarm", FieldType.BOOLEAN, "What models read or say has drifted from what they learned from"),
    Field("drift_cause", FieldType.STRING, "What has drifted, one sentence each; empty while nothing has"),
)
_WRAP = 2**32


@dataclass(slots=True)
class DiagnosticNodes:
    """Nodes of ``Lineside/Gateway`` and their flat twins ``gateway.<name>``."""

    builder: Builder
    cells: dict[str, Cell] = field(default_factory=dict)
    beats: int = 0

    async def build(self, layout: Layout, gateway_id: str) -> None:
        """Add the nodes; what is known at once is set at once, the rest waits for its first value."""
        parent = await self.builder.add_object(layout.root, GATEWAY, GATEWAY, organizes=True)
        for shown in _FIELDS:
            cell = Cell(shown, await self.builder.add_variable(parent, f"{GATEWAY}/{shown.browse_name}", shown))
            name = f"gateway.{shown.name}"
            cell.twin = await self.builder.add_variable(layout.flat, name, shown.as_flat(), name=name)
            self.cells[shown.name] = cell
        await self._set("gateway_id", gateway_id)
        await self._set("heartbeat", self.beats)

    async def beat(self) -> None:
        """Count the heartbeat up by one."""
        self.beats = (self.beats + 1) % _WRAP
        await self._set("heartbeat", self.beats)

    async def show_mode(self, demoted: bool) -> None:
        """Show whether the plant-wide switch demotes all to advisory."""
        await self._set("plant_mode", (Mode.ADVISORY if demoted else Mode.CLOSED_LOOP).value)

    async def show_problems(self, sentences: Sequence[str]) -> None:
        """Show what keeps recommendations from coming."""
        await self._set("problems", "; ".join(sentences))

    async def show_drift(self, causes: Sequence[str]) -> None:
        """Show what has drifted; the alarm is off where nothing has."""
        await self._set("drift_cause", "; ".join(causes))
        await self._set("drift_alarm", bool(causes))

    async def show(self, numbers: Diagnostics) -> None:
        """Show the numbers of this moment."""
        await self._set("tags_per_second", numbers.tags_per_s)
        await self._set("workers", numbers.workers)
        await self._set("ledger_received", numbers.received)
        await self._set("ledger_used", numbers.used)
        await self._set("ledger_dropped", numbers.dropped)
        await self._set("ledger_pending", numbers.pending)
        await self._set("ledger_balanced", numbers.balanced)

    async def _set(self, name: str, value: object) -> None:
        cell, now = self.cells[name], datetime.now(UTC)
        cell.value = value
        good = StatusCodes.Good
        await self.builder.write(cell.node, data_value(value, VARIANT[cell.shown.field_type], good, now))
        if cell.twin is not None and cell.shown.flat_type is not None:
            twin = data_value(flat(cell.shown, value), VARIANT[cell.shown.flat_type], good, now)
            await self.builder.write(cell.twin, twin)
