"""A PLC of the plant: one OPC UA server with the tags of one machine and the PLC's interlocks behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from asyncua import ua
from asyncua.server.address_space import AttributeValue
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from lineside_plant.events import PlantEvent, time_us
from lineside_plant.servers.endpoint import Endpoint
from lineside_plant.servers.event_source import EventSource
from lineside_plant.servers.interlocks import WATCHDOG_S, Commands, InterlockedWrites, PlcLogic, WriteValue
from lineside_plant.servers.nodeids import ObjectIds, text
from lineside_plant.servers.published import PublishedValue, source_time
from lineside_plant.servers.samples import Sample
from lineside_plant.servers.tag_history import TagHistory
from lineside_plant.servers.units import VARIANT_TYPES, unit_information
from lineside_plant.tags import Tag, TagType, tags_of

VENDOR_URI = "urn:refplant:vendor:diagnostics"


_CONVERT: dict[TagType, Callable[[Any], Any]] = {
    TagType.DOUBLE: float,
    TagType.INT32: int,
    TagType.UINT32: int,
    TagType.STRING: str,
    TagType.BOOLEAN: bool,
    TagType.FLOAT_ARRAY: lambda values: np.asarray(values, dtype=np.float32).tolist(),
    TagType.BYTE_STRING: bytes,
}


@dataclass(slots=True)
class _Node:
    nodeid: ua.NodeId
    tag: Tag
    attribute: AttributeValue

    @property
    def monitored(self) -> bool:
        return bool(self.attribute.datachange_callbacks)


class Plc:
    """The PLC of ``machine``, serving at ``url``. ``now_s`` tells plant time in seconds."""

    def __init__(
        self,
        machine: str,
        url: str,
        commands: Commands,
        now_s: Callable[[], float],
        history: TagHistory | None = None,
        watchdog_s: float = WATCHDOG_S,
    ) -> None:
        """``history`` holds what a historian kept of the machine's tags before; what comes is added.

        ``watchdog_s`` is the wall time without the gateway's heartbeat after which the PLC is on its own.
        """
        self.machine = machine
        self.url = url
        self.uri = f"urn:refplant:plc:{machine}"
        self.hidden: set[str] = set()
        self.serving = False
        self._tags = {tag.name: tag for tag in tags_of(machine)}
        self.tag_names = tuple(self._tags)
        self._history = history or TagHistory(self._tags)
        self._logic = PlcLogic(machine, commands, watchdog_s)
        self._now_s = now_s
        self._latest: dict[str, PublishedValue] = {}
        self._nodes: dict[str, _Node] = {}

    async def start(self, *, reordered: bool = False) -> None:
        """Build the server and listen. ``reordered`` swaps its namespaces, as a firmware update may.

        Raises:
            PortBusyError: Another process has the port; choose another one.
        """
        namespaces = (VENDOR_URI, self.uri) if reordered else (self.uri, VENDOR_URI)
        self.endpoint = Endpoint(self.machine, self.url, f"{self.uri}:application", namespaces)
        await self.endpoint.build()
        self._index = self.endpoint.index[self.uri]
        self._machine_node = await self.endpoint.server.nodes.objects.add_object(
            text(self.machine, self._index), ua.QualifiedName(self.machine, ua.UInt16(self._index))
        )
        self._nodes = {}
        for tag in self._tags.values():
            if tag.name not in self.hidden:
                await self._add(tag)
        self._events = EventSource()
        await self._events.build(self.endpoint, self._index, self._machine_node.nodeid)
        self._intercept_writes()
        await self.endpoint.open()
        self.serving = True

    async def stop(self) -> None:
        """Close every session and stop listening; values and interlocks are kept for the next start."""
        if self.serving:
            self.serving = False
            await self.endpoint.close()

    async def reveal(self, tag: str) -> None:
        """Add a node that was hidden."""
        self.hidden.discard(tag)
        if self.serving and tag not in self._nodes:
            await self._add(self._tags[tag])
            self._intercept_writes()

    async def scan(self) -> None:
        """One scan cycle of the PLC's logic: flags whose work is done fall back."""
        await self.publish(
            [Sample(self._now_us(), tag, value) for tag, value in self._logic.scan(self._now_s()).items()]
        )

    async def publish(self, samples: Iterable[Sample]) -> None:
        """Write ``samples`` in order. Of a tag that nobody monitors, only the last one is written."""
        server_time = datetime.now(UTC)
        last: dict[str, Sample] = {}
        for sample in samples:
            self._history.note(sample)
            node = self._nodes.get(sample.tag)
            if node is not None and node.monitored:
                await self._write(sample, node, server_time)
            else:
                last[sample.tag] = sample
            if sample.tag == "MaintenanceRequest":
                self._logic.maintenance_changed(bool(sample.value))
        for tag, sample in last.items():
            await self._write(sample, self._nodes.get(tag), server_time)

    async def write_clock(self) -> None:
        """Keep the server's CurrentTime."""
        if self.serving:
            await self.endpoint.write_clock()

    async def emit(self, event: PlantEvent) -> None:
        """Emit an event on the machine's object and on the Server object."""
        if self.serving:
            await self._events.emit(event)

    def _now_us(self) -> int:
        return time_us(self._now_s())

    async def _write(self, sample: Sample, node: _Node | None, server_time: datetime) -> None:
        tag = self._tags[sample.tag]
        raw = sample.value
        lazy = callable(raw) and (node is None or not node.monitored)
        value = self._data_value(tag, sample, server_time, b"" if lazy else raw() if callable(raw) else raw)
        if node is not None and self.serving:
            await self.endpoint.space.write_attribute_value(node.nodeid, AttributeIds.Value, value)
            if lazy:
                # Rendered when somebody reads it: nobody has paid for a picture that nobody looks at.
                self.endpoint.server.set_attribute_value_callback(
                    node.nodeid, lambda *_: self._data_value(tag, sample, server_time, raw() if callable(raw) else raw)
                )
        self._latest[sample.tag] = value

    def _data_value(self, tag: Tag, sample: Sample, server_time: datetime, raw: Any) -> PublishedValue:
        variant = _variant(tag, raw)
        status = ua.StatusCode(ua.UInt32(sample.status))
        return PublishedValue(variant, status, source_time(sample.time), server_time)  # type: ignore[arg-type]

    async def _add(self, tag: Tag) -> None:
        nodeid = text(f"{self.machine}.{tag.name}", self._index)
        initial = self._latest.get(tag.name)
        if initial is None:
            status = StatusCodes.BadWaitingForInitialData if tag.sampled else StatusCodes.Good
            first = Sample(self._now_us(), tag.name, 0.0, status)
            initial = self._data_value(tag, first, datetime.now(UTC), tag.initial)
        trace = self._history.traces.get(tag.name)
        if trace is not None:
            self.endpoint.history.traces[nodeid] = trace, VARIANT_TYPES[tag.data_type]
        node = await self.endpoint.add_variable(
            self._machine_node,
            nodeid,
            _variant(tag, tag.initial),
            data_type=ua.NodeId(ua.Int32(VARIANT_TYPES[tag.data_type].value)),
            type_definition=ObjectIds.AnalogUnitRangeType if _analog(tag) else ObjectIds.BaseDataVariableType,
            writable=tag.writable,
            historized=trace is not None,
            description=tag.description,
        )
        if _analog(tag):
            await self._describe(node, tag)
        await self.endpoint.space.write_attribute_value(nodeid, AttributeIds.Value, initial)
        self._nodes[tag.name] = _Node(nodeid, tag, self.endpoint.space[nodeid].attributes[AttributeIds.Value])

    async def _describe(self, node: Any, tag: Tag) -> None:
        """EngineeringUnits and EURange, OPC UA Part 8, 5.3.2."""
        low, high = float(tag.low or 0.0), float(tag.high or 0.0)
        properties = {
            "EngineeringUnits": unit_information(tag.unit),
            "EURange": ua.Range(ua.Double(low), ua.Double(high)),
        }
        for name, value in properties.items():
            await node.add_property(
                text(f"{self.machine}.{tag.name}.{name}", self._index), ua.QualifiedName(name, ua.UInt16(0)), value
            )

    def _intercept_writes(self) -> None:
        writable = {
            n.nodeid: (name, VARIANT_TYPES[n.tag.data_type]) for name, n in self._nodes.items() if n.tag.writable
        }
        self.endpoint.server.iserver.attribute_service = InterlockedWrites(self.endpoint.space, writable, self._judge)

    async def _judge(self, tag: str, value: WriteValue) -> int:
        verdict = self._logic.write(tag, value, self._now_s())
        if verdict.stored is not None:
            stored = Sample(self._now_us(), tag, verdict.stored)
            await self._write(stored, self._nodes.get(tag), datetime.now(UTC))
        return verdict.status


def _analog(tag: Tag) -> bool:
    """Whether the tag is a measured or set quantity, with a unit and a range."""
    return tag.data_type in (TagType.DOUBLE, TagType.FLOAT_ARRAY)


def _variant(tag: Tag, value: Any) -> ua.Variant:
    array = tag.data_type is TagType.FLOAT_ARRAY
    return ua.Variant(_CONVERT[tag.data_type](value), VARIANT_TYPES[tag.data_type], is_array=array)
