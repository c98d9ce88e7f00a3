"""The MES of the plant: Job Control, counters of what it did with updates, the plant's events, and the Simulation."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Protocol

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from lineside_plant.events import PlantEvent, time_us
from lineside_plant.kpis import Kpis
from lineside_plant.servers.arguments import Argument, Method, add_method
from lineside_plant.servers.endpoint import Endpoint
from lineside_plant.servers.event_history import EventHistory
from lineside_plant.servers.event_source import EventSource
from lineside_plant.servers.job_control import JobControl, JobOrders
from lineside_plant.servers.job_types import JOB_CONTROL_URI
from lineside_plant.servers.nodeids import ObjectIds, standard, text
from lineside_plant.servers.published import PublishedValue, source_time

MES = "MES"
MES_URI = "urn:refplant:mes"


class Office(JobOrders, Protocol):
    """What the MES asks of the plant."""

    now_s: float

    @property
    def updates_taken(self) -> int:
        """Updates accepted."""

    @property
    def dispatches_by_priority(self) -> int:
        """Orders that a priority set by Update chose."""

    def kpis(self) -> Kpis:
        """KPIs from the end of the warm-up to now."""


class Mes:
    """The MES server at ``url``. ``advance`` runs a lock-step plant to a plant time; None when the wall clock does."""

    def __init__(
        self,
        url: str,
        office: Office,
        advance: Callable[[float], Awaitable[float]] | None,
        past: Iterable[PlantEvent] = (),
    ) -> None:
        """``past`` are the events before serving began, for HistoryRead."""
        self._office = office
        self._advance = advance
        self.url = url
        self._job_control = JobControl(office, self.publish)
        self._variables: dict[str, ua.NodeId] = {}
        self._history = EventHistory(past)

    async def start(self) -> None:
        """Build the server and listen.

        Raises:
            PortBusyError: Another process has the port; choose another one.
        """
        self.endpoint = Endpoint(MES, self.url, f"{MES_URI}:application", (JOB_CONTROL_URI, MES_URI))
        await self.endpoint.build()
        index = self.endpoint.index[MES_URI]
        receiver = await self._job_control.build(self.endpoint, index)
        for name in ("UpdatesTaken", "DispatchesByPriority"):
            await self._add_variable(receiver, name, ua.Variant(0, ua.VariantType.UInt32))
        await self._add_simulation(index)
        self._events = EventSource()
        await self._events.build(self.endpoint, index)
        self.endpoint.history.events = self._history, self._events
        notifier = ua.EventNotifier.SubscribeToEvents.mask | ua.EventNotifier.HistoryRead.mask
        value = ua.DataValue(ua.Variant(notifier, ua.VariantType.Byte))
        await self.endpoint.space.write_attribute_value(standard(ObjectIds.Server), AttributeIds.EventNotifier, value)
        await self.endpoint.open()

    async def stop(self) -> None:
        """Close every session and stop listening."""
        await self.endpoint.close()

    async def publish(self, *, job_orders_changed: bool = True) -> None:
        """Write counters, plant time and, when it changed, the list of job orders."""
        office = self._office
        now_us = time_us(office.now_s)
        if job_orders_changed:
            await self._job_control.publish(now_us)
        await self._write("UpdatesTaken", ua.Variant(office.updates_taken, ua.VariantType.UInt32))
        await self._write("DispatchesByPriority", ua.Variant(office.dispatches_by_priority, ua.VariantType.UInt32))
        await self._write("PlantTime", ua.Variant(float(office.now_s), ua.VariantType.Double))

    async def write_clock(self) -> None:
        """Keep the server's CurrentTime."""
        await self.endpoint.write_clock()

    async def emit(self, event: PlantEvent) -> None:
        """Emit an event on the Server object, and keep it."""
        self._history.add(event)
        await self._events.emit(event)

    async def _add_simulation(self, index: int) -> None:
        simulation = await self.endpoint.server.nodes.objects.add_object(
            text("Simulation", index), ua.QualifiedName("Simulation", ua.UInt16(index))
        )
        await self._add_variable(simulation, "PlantTime", ua.Variant(0.0, ua.VariantType.Double))
        await self._add_variable(simulation, "LockStep", ua.Variant(self._advance is not None, ua.VariantType.Boolean))
        to_s = Argument("to_s", ua.VariantType.Double, "Plant time to run to (s); the connection waits")
        plant_time = Argument("PlantTime", ua.VariantType.Double, "Plant time reached, seconds")
        kpis = Argument("Kpis", ua.VariantType.String, "JSON object of the seven KPIs; null where nothing was counted")
        for method in (
            Method("Advance", self._call_advance, (to_s,), (plant_time,)),
            Method("Kpis", self._call_kpis, (), (kpis,)),
        ):
            await add_method(simulation, index, index, method)

    async def _call_advance(self, to_s: float) -> tuple[float] | int:
        if self._advance is None:
            return StatusCodes.BadInvalidState
        if not math.isfinite(to_s):
            return StatusCodes.BadOutOfRange
        return (await self._advance(to_s),)

    async def _call_kpis(self) -> tuple[str]:
        return (kpis_json(self._office.kpis()),)

    async def _add_variable(self, parent: object, name: str, value: ua.Variant) -> None:
        nodeid = text(f"{parent.nodeid.Identifier}.{name}", self.endpoint.index[MES_URI])  # type: ignore[attr-defined]
        data_type = ua.NodeId(ua.Int32(value.VariantType.value))
        await self.endpoint.add_variable(parent, nodeid, value, data_type=data_type)  # type: ignore[arg-type]
        self._variables[name] = nodeid

    async def _write(self, name: str, value: ua.Variant) -> None:
        stamped = PublishedValue(
            value, ua.StatusCode(), source_time(time_us(self._office.now_s)), datetime.now(UTC)  # type: ignore[arg-type]
        )  # fmt: skip
        await self.endpoint.space.write_attribute_value(self._variables[name], AttributeIds.Value, stamped)


def kpis_json(kpis: Kpis) -> str:
    """The KPIs as a JSON object; a share of nothing is null, since JSON has no NaN."""
    return json.dumps({name: value if math.isfinite(value) else None for name, value in asdict(kpis).items()})
