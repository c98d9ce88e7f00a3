"""The plant in this process: its samples go straight into the gateway's tag table, commands straight into the plant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from lineside_gateway.guard.steps import WriteOutcome, taken
from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.delivery import Equipment, TagNode
from lineside_plant import (
    MACHINES,
    PLANT_EPOCH,
    SAMPLED_TAGS,
    JobOrder,
    MachineSamples,
    Plant,
    PlantEvent,
    tags_of,
    time_us,
)
from lineside_plant.orders import OrderState
from lineside_plant.tags import TagType
from lineside_plugins.types import Record, Scalar

OPEN_STATES = frozenset({OrderState.RUNNING, OrderState.ALLOWED_TO_START, OrderState.NOT_ALLOWED_TO_START})
_TEXT = {TagType.STRING, TagType.BYTE_STRING, TagType.FLOAT_ARRAY}


def iso(time: int) -> str:
    """ISO 8601 UTC of microseconds since 1970."""
    return datetime.fromtimestamp(time / 1e6, UTC).isoformat()


def event_record(event: PlantEvent) -> Record:
    """A plant event as the gateway's event subscription records it."""
    return {**asdict(event), "kind": event.kind.value, "time": iso(event.time)}


def order_record(order: JobOrder, time: str) -> Record:
    """A job order as the gateway reads it from the MES."""

    def at(plant_s: float) -> str:
        return (PLANT_EPOCH + timedelta(seconds=plant_s)).isoformat()

    return {
        "job_order_id": order.id,
        "family": f"F{order.family}",
        "quantity": order.quantity,
        "remaining": order.remaining,
        "release": at(order.release_s),
        "due": at(order.due_s),
        "priority": order.priority,
        "equipment": order.equipment or "",
        "equipment_id": order.equipment or "",
        "state": order.state.value,
        "time": time,
    }


ACKNOWLEDGES = ("MaintenanceTaken", "RejectsTaken", "OffsetsTaken")


class InProcessLink:
    """Advances ``plant`` and writes what its servers would show into ``table``; only tags that are bound are written.

    Also the ``PlantWriter`` of write-back: a command reaches the plant as a write to its PLC or MES would.
    """

    def __init__(self, plant: Plant, table: TagTable, tags: Mapping[str, frozenset[str]], receiver: str) -> None:
        """``tags`` are the bound tags by machine, ``receiver`` the name that the MES's counters are reported under."""
        self.plant = plant
        self._table = table
        self._receiver = receiver
        self.on_tag: Callable[[str, str, Scalar], None] = lambda _equipment, _tag, _value: None
        self._serial: dict[str, str] = {}
        self._rejects = dict.fromkeys(MACHINES, 0)
        self._orders: list[Record] = []
        self._sampled: list[tuple[str, str]] = []
        self._sampled_indices: list[int] = []
        self._indices: dict[int, NDArray[np.int64]] = {}  # tag of each sample, by the seconds of a tick
        self._changing: dict[str, frozenset[str]] = {}
        for machine in MACHINES:
            self._register(machine, tags.get(machine, frozenset()))

    def _register(self, machine: str, wanted: frozenset[str]) -> None:
        known = {t.name: t for t in tags_of(machine)}
        numeric = [t for t in SAMPLED_TAGS if t in wanted]
        self._sampled += [(machine, t) for t in numeric]
        self._sampled_indices += [self._table.add(machine, t) for t in numeric]
        self._changing[machine] = frozenset(t for t in wanted if t in known and t not in SAMPLED_TAGS)
        for tag in sorted(self._changing[machine]):
            if known[tag].data_type in _TEXT:
                self._table.declare(machine, tag)
            else:
                self._table.add(machine, tag)
            if tag in ACKNOWLEDGES:  # a server gives each subscriber the present value first
                self._table.put(machine, tag, time_us(0.0), 0)

    async def advance(self, to_s: float) -> None:
        """Run the plant to ``to_s``; afterwards all samples up to then are in the table."""
        self.plant.advance(to_s)
        out = self.plant.drain()
        self._write(out.machines)
        for machine, samples in out.machines.items():
            bound = self._changing[machine]
            for change in samples.changes:
                if change.tag in bound:
                    self._table.put(machine, change.tag, change.time, change.value)
                if change.tag in ACKNOWLEDGES and isinstance(change.value, int):
                    self.on_tag(machine, change.tag, change.value)
        for event in out.events:
            self._table.add_record("events", event_record(event))
        if out.job_orders_changed:
            at_us = time_us(to_s)
            self._orders = [order_record(o, iso(at_us)) for o in self.plant.job_orders() if o.state in OPEN_STATES]
            self._table.set_records("job_orders", self._orders, at_us)

    def _write(self, machines: Mapping[str, MachineSamples]) -> None:
        """All 1 Hz samples at once, as one publish of a server would bring them."""
        columns = [machines[m].columns[tag] for m, tag in self._sampled if m in machines and len(machines[m].times)]
        if not columns:
            return
        times = next(iter(machines.values())).times.astype(np.int64)
        count = len(times)
        if count not in self._indices:
            self._indices[count] = np.repeat(np.array(self._sampled_indices), count)
            self._indices[count].flags.writeable = False
        values = np.concatenate(columns, dtype=np.float64)
        self._table.adopt(self._indices[count], np.tile(times, len(columns)), values, None)

    def job_orders(self) -> list[Record]:
        """Orders that are running or still to come, as the MES last listed them."""
        return self._orders

    async def kpis(self) -> dict[str, float]:
        """The plant's KPIs so far."""
        return {k: float(v) for k, v in asdict(self.plant.kpis()).items()}

    async def write(self, equipment_id: str, tag: str, value: Scalar) -> WriteOutcome:
        """Do what the PLC does when a client writes ``tag``."""
        if tag == "MaintenanceRequest" and value is True:
            self.plant.request_maintenance(equipment_id)
        elif tag == "RejectSerialNo":
            self._serial[equipment_id] = str(value)
        elif tag == "RejectFlag" and value is True:
            if self.plant.reject(equipment_id, self._serial.get(equipment_id, "")):
                self._rejects[equipment_id] += 1
                self.on_tag(equipment_id, "RejectsTaken", self._rejects[equipment_id])
            return taken(False)
        elif tag == "SpeedOverride" and isinstance(value, int | float):
            self.plant.set_speed(equipment_id, float(value))
        elif tag == "ToolOffset" and isinstance(value, int | float):
            self.plant.set_tool_offset(equipment_id, float(value))
        else:
            return WriteOutcome("BadNotWritable", detail=f"{equipment_id}.{tag} takes no {value!r}")
        return taken(value)

    async def read(self, equipment_id: str, tag: str) -> Scalar:
        """Nothing: in one process every write is answered, so the plant is never asked what became of one."""
        del equipment_id, tag
        return None

    async def update_job_order(self, job_order_id: str, priority: int, equipment_id: str | None) -> WriteOutcome:
        """Set priority and mill of an order; refused when it is running or gone."""
        if not self.plant.update_job_order(job_order_id, priority, equipment_id):
            return WriteOutcome("BadInvalidState", detail=f"job order {job_order_id} is running or has ended")
        self.on_tag(self._receiver, "UpdatesTaken", self.plant.updates_taken)
        return taken(None)


def equipment_of(tags: Mapping[str, frozenset[str]]) -> list[Equipment]:
    """The plant's machines as the gateway would resolve them on its servers, with the bound tags they have."""
    out = []
    for machine in MACHINES:
        nodes = {
            t.name: TagNode(
                machine, t.name, ua.NodeId(), f"{machine}.{t.name}", _BUILT_IN[t.data_type], t.data_type.value,
                t.data_type is TagType.FLOAT_ARRAY, t.unit,
                None if t.low is None or t.high is None else (t.low, t.high), readable=True, writable=t.writable,
            )
            for t in tags_of(machine)
            if t.name in tags[machine]
        }  # fmt: skip
        out.append(Equipment(machine, machine, ua.NodeId(), machine, tags=nodes))
    return out


_BUILT_IN = {t: ua.VariantType.Float if t is TagType.FLOAT_ARRAY else ua.VariantType[t.value] for t in TagType}
