"""Plant events as OPC UA events of an own type, ``PlantEventType``, derived from BaseEventType."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from asyncua import ua
from asyncua.server.event_generator import EventGenerator
from asyncua.server.monitored_item_service import WhereClauseEvaluator

from lineside_plant.events import EventKind, PlantEvent
from lineside_plant.servers.endpoint import Endpoint
from lineside_plant.servers.nodeids import ObjectIds, standard, text
from lineside_plant.servers.published import source_time

EVENT_TYPE = "PlantEventType"
FIELDS: tuple[tuple[str, ua.VariantType], ...] = (
    ("Kind", ua.VariantType.String),
    ("EquipmentId", ua.VariantType.String),
    ("SerialNo", ua.VariantType.String),
    ("Mode", ua.VariantType.String),
    ("Value", ua.VariantType.Double),
    ("Porous", ua.VariantType.Boolean),
    ("Defect", ua.VariantType.Boolean),
    ("Text", ua.VariantType.String),
)
# Severity 1..1000 as in OPC UA Part 5, 6.4.2: 801+ urgent, 601+ high, 401+ medium, the rest for information.
SEVERITY = {EventKind.FAILURE: 850, EventKind.TOOL_BREAK: 650, EventKind.TRIP: 500, EventKind.REPAIR: 300}
INFORMATION = 100
_log = logging.getLogger("lineside_plant")


class EventSource:
    """Emits plant events of one server on its Server object and on the objects given."""

    def __init__(self) -> None:
        self._generators: list[EventGenerator] = []

    async def build(self, endpoint: Endpoint, index: int, *emitters: ua.NodeId) -> None:
        """Add the event type in namespace ``index``, and a generator for the Server object and each emitter."""
        self._space = endpoint.space
        base = endpoint.server.get_node(standard(ObjectIds.BaseEventType))
        type_node = await base.add_object_type(text(EVENT_TYPE, index), ua.QualifiedName(EVENT_TYPE, ua.UInt16(index)))
        for name, data_type in FIELDS:
            await type_node.add_property(
                text(f"{EVENT_TYPE}.{name}", index),
                ua.QualifiedName(name, ua.UInt16(index)),
                ua.get_default_value(data_type),
                varianttype=data_type,
            )
        for emitter in (standard(ObjectIds.Server), *emitters):
            self._generators.append(await endpoint.server.get_event_generator(type_node, emitter))

    async def emit(self, event: PlantEvent) -> None:
        """Send ``event`` to whoever subscribes; its Time is plant time."""
        for generator in self._generators:
            _fill(generator.event, event)
            await generator.trigger(time_attr=source_time(event.time), message=_message(event))

    def select(self, event: PlantEvent, event_filter: ua.EventFilter) -> list[ua.Variant] | None:
        """Fields of a past event, as of the Server object; None where the where clause leaves it out.

        Its EventId is made of what happened: the same at every reading, and not the one it was sent with.
        """
        shown = self._generators[0].event
        _fill(shown, event)
        shown.Time = shown.ReceiveTime = source_time(event.time)
        shown.Message = ua.LocalizedText(_message(event))
        shown.EventId = uuid.uuid5(uuid.NAMESPACE_OID, repr(event)).bytes
        if not WhereClauseEvaluator(_log, self._space, event_filter.WhereClause).eval(shown):
            return None
        fields: list[ua.Variant] = shown.to_event_fields(event_filter.SelectClauses)
        return fields


def _fill(fields: Any, event: PlantEvent) -> None:
    fields.Kind = str(event.kind)
    fields.EquipmentId = event.equipment_id
    fields.SerialNo = event.serial_no
    fields.Mode = event.mode
    fields.Value = float(event.value)
    fields.Porous = bool(event.porous)
    fields.Defect = bool(event.defect)
    fields.Text = event.text
    fields.Severity = SEVERITY.get(event.kind, INFORMATION)


def _message(event: PlantEvent) -> str:
    return " ".join(part for part in (event.equipment_id, str(event.kind), event.serial_no, event.text) if part)
