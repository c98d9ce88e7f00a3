"""History read: what a server's historian kept of a machine's tags becomes a recording (OPC UA Part 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from asyncua import ua

from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import Float64Array, IndexArray, Int64Array, Sink, StatusArray, TagNode
from lineside_gateway.opcua.describe import Describer
from lineside_gateway.opcua.history import HistoryReader
from lineside_gateway.opcua.nodes import find
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.standard import AttributeIds, ObjectIds
from lineside_gateway.opcua.values import event_time_us
from lineside_gateway.recording.archive import RecordingError
from lineside_gateway.recording.recorder import Recorder
from lineside_gateway.settings import ServerSettings


@dataclass(slots=True)
class _Columns:
    """The part of a ``Sink`` that reading the history of tags needs; hands the columns to a recorder."""

    recorder: Recorder
    places: dict[tuple[str, str], int] = field(default_factory=dict)

    def index(self, equipment_id: str, tag: str) -> int:
        return self.places.setdefault((equipment_id, tag), len(self.places))

    def history(self, indices: IndexArray, times_us: Int64Array, values: Float64Array, status: StatusArray) -> None:
        self.recorder.samples(indices, times_us, values, status)

    def unbroken(self, tags: Sequence[TagNode]) -> None:
        """Nothing was received before that anything could follow on."""


async def import_history(server: ServerSettings, pki: Pki, start: str, hours: float, recorder: Recorder) -> list[str]:
    """Record the newest ``hours`` of every numeric tag of the machines at ``start``; what was refused, in words.

    ``start`` is a browse path, with globs for several machines; a machine's Variables are its tags.

    Raises:
        ConnectError: The server cannot be reached, is not trusted, or refuses the user.
        NodeError: Nothing at ``start``.
        RecordingError: No Variable there has a history that may be read.
    """
    async with Session(server, pki).connect() as connection:
        nodes = [n for machine in await find(connection, start)
                 for n in await _tags(connection, machine.name, machine.node_id)]  # fmt: skip
        columns = _Columns(recorder)
        reader = HistoryReader(connection, {n.tag: 3600.0 * hours for n in nodes}, cast("Sink", columns))
        kept = await reader.candidates(nodes)
        if not kept:
            raise RecordingError(
                f"none of {len(nodes)} tags at {start} has a history that may be read; let the server historize them, "
                "or import a file"
            )
        for node in kept:
            held = node.data_type not in {ua.VariantType.Float, ua.VariantType.Double}
            recorder.name(columns.index(node.equipment_id, node.tag), node.equipment_id, node.tag, node.unit, held=held)
        values = await connection.read([n.node_id for n in kept], AttributeIds.Value)
        newest = max(event_time_us(v) for v in values)
        async with reader.bounded():
            await reader.tags(kept, newest + 1)
        return reader.report.causes


async def _tags(connection: Connection, machine: str, node_id: ua.NodeId) -> list[TagNode]:
    """The numeric Variables right below a machine, by BrowseName."""
    (references,) = await connection.browse([node_id], ObjectIds.HierarchicalReferences)
    places = {r.BrowseName.Name: r.NodeId for r in references if r.NodeClass is ua.NodeClass.Variable}
    described = await Describer(connection).describe(machine, places)
    return [n for n in described.values() if n.numeric]
