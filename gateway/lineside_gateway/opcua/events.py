"""Plant events as records: failures, repairs, inspection results (OPC UA Part 4, 7.22.3 EventFilter)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from asyncua import ua

from lineside_gateway.errors import NodeError
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.monitoring import Item
from lineside_gateway.opcua.nodes import find, local
from lineside_gateway.opcua.standard import AttributeIds, ObjectIds, standard
from lineside_gateway.opcua.values import iso, microseconds, scalar
from lineside_gateway.settings import EventSettings
from lineside_plugins.types import Record, Scalar

STREAM = "events"
QUEUE_SIZE = 10_000
MAX_TYPE_LEVELS = 12


@dataclass(frozen=True, slots=True)
class EventSource:
    """A notifier, what is asked of its events, and how their fields become a record."""

    server: str
    notifier: ua.NodeId
    keys: tuple[str, ...]
    event_filter: ua.EventFilter

    def item(self, take: Callable[[Record], None]) -> Item:
        """A monitored item whose events become records, each handed to ``take``."""

        def on_event(fields: list[ua.Variant]) -> None:
            record = self.record(fields)
            if record is not None:
                take(record)

        return Item(self.notifier, on_event=on_event, event_filter=self.event_filter, queue_size=QUEUE_SIZE)

    def record(self, fields: list[ua.Variant]) -> Record | None:
        """The record; None for an event of another type, which has none of the fields."""
        time = fields[0].Value if fields else None
        values: dict[str, Scalar] = {k: scalar(v.Value) for k, v in zip(self.keys, fields[1:], strict=False)}
        if not isinstance(time, datetime) or all(v is None for v in values.values()):
            return None
        return values | {"time": iso(microseconds(time)), "equipment_id": values.get("equipment_id") or self.server}


async def event_source(connection: Connection, settings: EventSettings) -> EventSource:
    """The source that ``settings`` name, as the server has it.

    Raises:
        NodeError: No such notifier, or no event type of the server has any of the fields.
    """
    notifier = (await find(connection, settings.node))[0]
    names = await _field_names(connection, settings)
    if not names:
        wanted = ", ".join(settings.fields.values())
        kind = f"'{settings.type}' " if settings.type else ""
        raise NodeError(
            f"server '{connection.server.name}' has no event type {kind}with any of the fields {wanted}; "
            "set events.type and events.fields"
        )
    clauses = [_clause(ua.QualifiedName("Time", ua.UInt16(0))), *(_clause(n) for n in names.values())]
    event_filter = ua.EventFilter()
    event_filter.SelectClauses = clauses
    return EventSource(connection.server.name, notifier.node_id, tuple(names), event_filter)


def _clause(name: ua.QualifiedName) -> ua.SimpleAttributeOperand:
    clause = ua.SimpleAttributeOperand()
    clause.TypeDefinitionId = standard(ObjectIds.BaseEventType)
    clause.BrowsePath = [name]
    clause.AttributeId = AttributeIds.Value
    return clause


async def _field_names(connection: Connection, settings: EventSettings) -> Mapping[str, ua.QualifiedName]:
    """Qualified names of the record fields that an event type of the server declares, most specific type last."""
    wanted = {browse: key for key, browse in settings.fields.items()}
    found: dict[str, ua.QualifiedName] = {}
    level = [standard(ObjectIds.BaseEventType)]
    named = not settings.type
    for _ in range(MAX_TYPE_LEVELS):
        below: list[tuple[ua.NodeId, bool]] = []
        for references in await connection.browse(level):
            types = [r for r in references if r.NodeClass is ua.NodeClass.ObjectType]
            below += [(local(r.NodeId), named or r.BrowseName.Name == settings.type) for r in types]
        if not below:
            break
        chosen = [n for n, ok in below if ok]
        for references in await connection.browse(chosen):
            for r in references:
                if r.NodeClass is ua.NodeClass.Variable and r.BrowseName.Name in wanted:
                    found[wanted[r.BrowseName.Name]] = r.BrowseName
        level = [n for n, _ in below]
    return {key: found[key] for key in settings.fields if key in found}
