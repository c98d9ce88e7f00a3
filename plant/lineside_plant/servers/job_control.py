"""ISA-95 Job Control over the plant's job orders (OPC 10031-4 v2.00): the object JobOrderReceiver.

States are the standard's: an order of the plant's own pool is AllowedToStart; one that a client has stored waits in
NotAllowedToStart until Start. ReturnStatus is the bit map of Annex B.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from enum import IntFlag
from typing import Any, Protocol

from asyncua import ua
from asyncua.common.node import Node
from asyncua.ua.attribute_ids import AttributeIds

from lineside_plant.events import PLANT_EPOCH, time_us
from lineside_plant.orders import JobOrder
from lineside_plant.servers.arguments import Argument, Method, add_method
from lineside_plant.servers.endpoint import Endpoint
from lineside_plant.servers.job_types import (
    EQUIPMENT,
    JOB_CONTROL_URI,
    JOB_ORDER,
    JOB_ORDER_AND_STATE,
    PARAMETER,
    STATE,
    WORK_MASTER,
    build_job_types,
)
from lineside_plant.servers.nodeids import text
from lineside_plant.servers.published import PublishedValue, source_time
from lineside_plant.spec import FAMILIES, MILLS

# Source: OPC 10031-4 v2.00, 7.2.1, StateNumber of the states of ISA95JobOrderReceiverObjectType.
STATE_NUMBERS = {
    "NotAllowedToStart": 1,
    "AllowedToStart": 2,
    "Running": 3,
    "Interrupted": 4,
    "Ended": 5,
    "Aborted": 6,
}

FAMILY_IDS = tuple(f"F{family}" for family in range(FAMILIES))
MAX_QUANTITY = 10_000


class ReturnStatus(IntFlag):
    """Annex B.2, Table 95: the value of the bit that a method's ReturnStatus sets."""

    NO_ERROR = 1 << 0
    UNKNOWN_JOB_ORDER = 1 << 1
    INVALID_JOB_ORDER_STATUS = 1 << 3
    UNABLE_TO_ACCEPT = 1 << 4
    INVALID_REQUEST = 1 << 32


class JobOrders(Protocol):
    """What Job Control asks of the plant; each change takes effect when the plant is next advanced."""

    def job_orders(self) -> Sequence[JobOrder]:
        """Running and waiting orders."""

    def update_job_order(self, order_id: str, priority: int, equipment: str | None) -> bool:
        """Set priority and mill of a waiting order; False if it is unknown or no longer waits."""

    def store_job_order(self, order_id: str, family: int, quantity: int, due_s: float) -> bool:
        """Add an order that waits for its release; False if its id is taken."""

    def hold_job_order(self, order_id: str) -> bool:
        """Keep a waiting order from being dispatched."""

    def release_job_order(self, order_id: str) -> bool:
        """Let a waiting order be dispatched."""

    def abort_job_order(self, order_id: str) -> bool:
        """Take a waiting order out for good."""


class JobControl:
    """The object JobOrderReceiver of the MES server; awaits ``changed`` after every call that the plant has taken."""

    def __init__(self, orders: JobOrders, changed: Callable[[], Awaitable[None]]) -> None:
        self._orders = orders
        self._changed = changed

    async def build(self, endpoint: Endpoint, index: int) -> Node:
        """Add structures, object, list and methods to ``endpoint``; its own nodes in namespace ``index``."""
        self._endpoint = endpoint
        self._index = index
        self._standard_index = endpoint.index[JOB_CONTROL_URI]
        self._types = await build_job_types(endpoint.server, self._standard_index)
        objects = endpoint.server.nodes.objects
        receiver = await objects.add_object(
            text("JobOrderReceiver", index), ua.QualifiedName("JobOrderReceiver", ua.UInt16(index))
        )
        self._list = text("JobOrderReceiver.JobOrderList", index)
        await endpoint.add_variable(
            receiver,
            self._list,
            self._job_order_list(),
            data_type=self._types.data_types[JOB_ORDER_AND_STATE],
            name_index=self._standard_index,
            description="Running and waiting job orders",
        )
        for method in self._methods():
            await add_method(receiver, index, self._standard_index, method)
        return receiver

    async def publish(self, time_us: int) -> None:
        """Write the present list of job orders, of plant time ``time_us``."""
        value = PublishedValue(
            self._job_order_list(), ua.StatusCode(), source_time(time_us), datetime.now(UTC)  # type: ignore[arg-type]
        )  # fmt: skip
        await self._endpoint.space.write_attribute_value(self._list, AttributeIds.Value, value)

    def _methods(self) -> tuple[Method, ...]:
        order = Argument(
            "JobOrder",
            ua.VariantType.ExtensionObject,
            structure=self._types.classes[JOB_ORDER],
            structure_id=self._types.data_types[JOB_ORDER],
        )
        order_id = Argument("JobOrderID", ua.VariantType.String)
        comment = Argument("Comment", ua.VariantType.LocalizedText, array=True)
        status = (Argument("ReturnStatus", ua.VariantType.UInt64, "Bit map of OPC 10031-4, Annex B.2"),)
        return (
            Method("Store", self._store, (order, comment), status),
            Method("Start", self._start, (order_id, comment), status),
            Method("Pause", self._pause, (order_id, comment), status),
            Method("Resume", self._start, (order_id, comment), status),
            Method("Abort", self._abort, (order_id, comment), status),
            Method("Update", self._update, (order, comment), status),
        )

    def _find(self, order_id: str) -> JobOrder | None:
        return next((order for order in self._orders.job_orders() if order.id == order_id), None)

    async def _answer(self, status: ReturnStatus) -> tuple[int]:
        if status is ReturnStatus.NO_ERROR:
            await self._changed()
        return (int(status),)

    def _verdict(self, order_id: str, done: bool) -> ReturnStatus:
        """What a refusal of the plant means: an unknown order, or one that no longer waits."""
        if done:
            return ReturnStatus.NO_ERROR
        known = self._find(order_id) is not None
        return ReturnStatus.INVALID_JOB_ORDER_STATUS if known else ReturnStatus.UNKNOWN_JOB_ORDER

    async def _start(self, order_id: str, _comment: object) -> tuple[int]:
        return await self._answer(self._verdict(order_id, self._orders.release_job_order(order_id)))

    async def _pause(self, order_id: str, _comment: object) -> tuple[int]:
        """Hold a waiting order. A lot in a mill is never interrupted: INVALID_JOB_ORDER_STATUS."""
        return await self._answer(self._verdict(order_id, self._orders.hold_job_order(order_id)))

    async def _abort(self, order_id: str, _comment: object) -> tuple[int]:
        return await self._answer(self._verdict(order_id, self._orders.abort_job_order(order_id)))

    async def _update(self, job_order: Any, _comment: object) -> tuple[int]:
        """Take Priority and the one mill of EquipmentRequirements; a field left out keeps its value."""
        present = self._find(job_order.JobOrderID)
        if present is None:
            return await self._answer(ReturnStatus.UNKNOWN_JOB_ORDER)
        priority = present.priority if job_order.Priority is None else int(job_order.Priority)
        equipment = present.equipment
        if job_order.EquipmentRequirements is not None:
            mills = [requirement.ID for requirement in job_order.EquipmentRequirements]
            if len(mills) > 1 or any(mill not in MILLS for mill in mills):
                return await self._answer(ReturnStatus.INVALID_REQUEST)
            equipment = mills[0] if mills else None
        if priority < 0:
            return await self._answer(ReturnStatus.INVALID_REQUEST)
        done = self._orders.update_job_order(present.id, priority, equipment)
        return await self._answer(self._verdict(present.id, done))

    async def _store(self, job_order: Any, _comment: object) -> tuple[int]:
        """Add an order that Start will release: a product family as work master, a Quantity, a due time."""
        try:
            family = FAMILY_IDS.index(job_order.WorkMasterID[0].ID)
            quantity = next(int(p.Value.Value) for p in job_order.JobOrderParameters if p.ID == "Quantity")
            due_s = (job_order.EndTime.replace(tzinfo=UTC) - PLANT_EPOCH).total_seconds()
        except (TypeError, ValueError, IndexError, AttributeError, StopIteration):
            return await self._answer(ReturnStatus.INVALID_REQUEST)
        if not job_order.JobOrderID or not 1 <= quantity <= MAX_QUANTITY:
            return await self._answer(ReturnStatus.INVALID_REQUEST)
        stored = self._orders.store_job_order(job_order.JobOrderID, family, quantity, due_s)
        if stored:
            self._orders.hold_job_order(job_order.JobOrderID)
        return await self._answer(ReturnStatus.NO_ERROR if stored else ReturnStatus.UNABLE_TO_ACCEPT)

    def _job_order_list(self) -> ua.Variant:
        orders = [self._structure(order) for order in self._orders.job_orders()]
        return ua.Variant(orders, ua.VariantType.ExtensionObject, is_array=True)

    def _structure(self, order: JobOrder) -> Any:
        make = self._types.make
        parameters = {"Quantity": order.quantity, "Remaining": order.remaining}
        job_order = make(
            JOB_ORDER,
            JobOrderID=order.id,
            WorkMasterID=[make(WORK_MASTER, ID=FAMILY_IDS[order.family])],
            StartTime=source_time(time_us(order.release_s)),
            EndTime=source_time(time_us(order.due_s)),
            Priority=ua.Int16(order.priority),
            JobOrderParameters=[
                make(PARAMETER, ID=name, Value=ua.Variant(value, ua.VariantType.UInt32))
                for name, value in parameters.items()
            ],
            EquipmentRequirements=[make(EQUIPMENT, ID=order.equipment)] if order.equipment else None,
        )
        state = make(
            STATE,
            StateText=ua.LocalizedText(str(order.state)),
            StateNumber=ua.UInt32(STATE_NUMBERS[str(order.state)]),
        )
        return make(JOB_ORDER_AND_STATE, JobOrder=job_order, State=[state])
