"""Plant events as OPC UA events of an own type, ``PlantEventType``, derived from BaseEventType."""

from __future__ import annotations

from asyncua import ua
from asyncua.server.event_generator import EventGenerator

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


class EventSource:
    """Emits plant events of one server on its Server object and on the objects given."""

    def __init__(self) -> None:
        self._generators: list[EventGenerator] = []

    async def build(self, endpoint: Endpoint, index: int, *emitters: ua.NodeId) -> None:
        """Add the event type in namespace ``index``, and a generator for the Server object and each emitter."""
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
            fields = generator.event
            fields.Kind = str(event.kind)
            fields.EquipmentId = event.equipment_id
            fields.SerialNo = event.serial_no
            fields.Mode = event.mode
            fields.Value = float(event.value)
            fields.Porous = bool(event.porous)
            fields.Defect = bool(event.defect)
            fields.Text = event.text
            fields.Severity = SEVERITY.get(event.kind, INFORMATION)
            message = " ".join(
                part for part in (event.equipment_id, str(event.kind), event.serial_no, event.text) if part
            )
            await generator.trigger(time_attr=source_time(event.time), message=message)
