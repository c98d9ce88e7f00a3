"""ISA-95 Job Control (OPC 10031-4): the MES's job orders as records, and Update calls that change them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asyncua import ua

from lineside_gateway.errors import JobControlError, NodeError
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.nodes import find, local
from lineside_gateway.opcua.standard import AttributeIds, UaError
from lineside_gateway.opcua.structures import Structure, StructureTypes
from lineside_gateway.opcua.values import event_time_us, iso, scalar
from lineside_gateway.opcua.writer import PASSING
from lineside_gateway.settings import JobControlSettings
from lineside_plugins.types import Record, Scalar

logger = logging.getLogger(__name__)

STREAM = "job_orders"
_RETURN_STATUS = {
    0: "no error",
    1: "unknown job order ID",
    3: "the job order's state does not allow it",
    4: "the MES is unable to accept it",
    32: "invalid request",
}
"""Bits of ReturnStatus that a receiver sets (OPC 10031-4 v2.00, Annex B.2)."""
_NO_ERROR = 1


@dataclass(frozen=True, slots=True)
class Updated:
    """What the MES answered to an Update; ``accepted`` is False where it refused, with the reason in words."""

    job_order_id: str
    accepted: bool
    return_status: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ListType:
    """Structures of a JobOrderList: its entries, and the job order inside an entry."""

    entry: Structure
    order: Structure


async def open_job_control(connection: Connection, settings: JobControlSettings) -> JobControl:
    """Find the receiver with its list and its Update method, and read their structures.

    Raises:
        JobControlError: No receiver there, a part of it is missing, or its structures cannot be read.
    """
    try:
        receiver = (await find(connection, settings.browse))[0].node_id
        below = (await connection.browse([receiver]))[0]
        nodes = {str(r.BrowseName.Name): local(r.NodeId) for r in below}
        for part in ("JobOrderList", "Update"):
            if part not in nodes:
                raise JobControlError(
                    f"job_control: '{settings.browse}' on server '{connection.server.name}' has no {part}; "
                    "point browse at an ISA-95 job order receiver"
                )
        return JobControl(connection, receiver, nodes, await _list_type(connection, nodes["JobOrderList"]))
    except NodeError as e:
        raise JobControlError(f"job_control: {e.sentence}", e.detail) from e


async def _list_type(connection: Connection, list_node: ua.NodeId) -> ListType:
    dv = (await connection.read([list_node], AttributeIds.DataType))[0]
    if dv.Value is None or not isinstance(dv.Value.Value, ua.NodeId):
        raise NodeError(f"JobOrderList of server '{connection.server.name}' has no data type")
    entry = await StructureTypes(connection).load(dv.Value.Value)
    order = next((f.kind for f in entry.fields if f.name == "JobOrder"), None)
    if not isinstance(order, Structure):
        raise NodeError(
            f"JobOrderList of server '{connection.server.name}' holds {entry.name}; expected "
            "ISA95JobOrderAndStateDataType with its JobOrder"
        )
    return ListType(entry, order)


class JobControl:
    """The job order receiver of one connection. ``take`` keeps the list that Update calls start from."""

    def __init__(
        self, connection: Connection, receiver: ua.NodeId, nodes: Mapping[str, ua.NodeId], of: ListType
    ) -> None:
        self._connection = connection
        self._receiver = receiver
        self._nodes = nodes
        self._type = of
        self._orders: dict[str, dict[str, Any]] = {}

    @property
    def list_node(self) -> ua.NodeId:
        """JobOrderList, to be monitored."""
        return self._nodes["JobOrderList"]

    def node(self, name: str) -> ua.NodeId | None:
        """A Variable beside the list, such as UpdatesTaken."""
        return self._nodes.get(name)

    def take(self, dv: ua.DataValue) -> tuple[Record, ...]:
        """Keep a value of JobOrderList and give its records, in the MES's order.

        A record has job_order_id, family (work master), quantity, remaining, release, due (ISO 8601), priority,
        equipment, equipment_id, state and time (of the list). What the MES leaves out is None, or "" for text.

        Raises:
            JobControlError: The value is not a list of job orders.
        """
        time = iso(event_time_us(dv))
        value = dv.Value.Value if dv.Value is not None else None
        if not isinstance(value, list | tuple | None):
            raise JobControlError(f"JobOrderList of server '{self._connection.server.name}' is not an array")
        entries = [e for e in (self._type.entry.decode(v) for v in value or ()) if e is not None and e.get("JobOrder")]
        self._orders = {str(e["JobOrder"]["JobOrderID"]): e["JobOrder"] for e in entries}
        return tuple(_record(e["JobOrder"], e.get("State") or (), time) for e in entries)

    async def update(self, job_order_id: str, priority: int, equipment_id: str | None) -> Updated:
        """Call Update with the order as last seen, its Priority and EquipmentRequirements replaced.

        ``equipment_id`` None leaves the order to any equipment.

        Raises:
            JobControlError: The order is not in the MES's list, or the call itself failed.
        """
        order = self._orders.get(job_order_id)
        name = self._connection.server.name
        if order is None:
            raise JobControlError(
                f"job order '{job_order_id}' is not in the list of server '{name}'; it may have ended",
                permanent=True,
                status="BadNotFound",
            )
        requirements = [{"ID": equipment_id}] if equipment_id else []
        changed = order | {"Priority": priority, "EquipmentRequirements": requirements}
        request = ua.CallMethodRequest()
        request.ObjectId = self._receiver
        request.MethodId = self._nodes["Update"]
        comment = ua.Variant([ua.LocalizedText("Lineside")], ua.VariantType.LocalizedText, is_array=True)
        request.InputArguments = [ua.Variant(self._type.order.encode(changed), ua.VariantType.ExtensionObject), comment]
        try:
            result = (await self._connection.client.uaclient.call([request]))[0]
        except (OSError, TimeoutError, UaError) as e:
            sentence = f"Update of job order '{job_order_id}' got no answer from server '{name}'"
            raise JobControlError(sentence, repr(e), status="BadTimeout") from e
        if not result.StatusCode.is_good():
            raise JobControlError(
                f"server '{name}' refuses Update of job order '{job_order_id}': {result.StatusCode.name}",
                result.StatusCode.doc,
                permanent=result.StatusCode.value not in PASSING,
                status=result.StatusCode.name,
            )
        status = int(result.OutputArguments[0].Value) if result.OutputArguments else _NO_ERROR
        # A receiver of the first version answers 0 for success, one of the second sets bit 0.
        accepted = status in {0, _NO_ERROR}
        return Updated(job_order_id, accepted, status, "" if accepted else _reason(status))


def _record(order: Mapping[str, Any], states: Sequence[Mapping[str, Any]], time: str) -> Record:
    parameters = {p["ID"]: _number(p.get("Value")) for p in order.get("JobOrderParameters") or ()}
    equipment = next((str(e["ID"]) for e in order.get("EquipmentRequirements") or ()), "")
    masters = order.get("WorkMasterID") or ()
    state = states[-1] if states else {}
    return {
        "job_order_id": str(order["JobOrderID"]),
        "family": str(masters[0]["ID"]) if masters else "",
        "quantity": parameters.get("Quantity"),
        "remaining": parameters.get("Remaining"),
        "release": _time(order.get("StartTime")),
        "due": _time(order.get("EndTime")),
        "priority": int(order.get("Priority") or 0),
        "equipment": equipment,
        "equipment_id": equipment,
        "state": str(scalar(state.get("StateText")) or ""),
        "time": time,
    }


def _number(value: Any) -> Scalar:
    plain = scalar(value.Value if isinstance(value, ua.Variant) else value)
    if isinstance(plain, str):
        try:
            return float(plain)
        except ValueError:
            return None
    return plain


def _time(value: object) -> str | None:
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()


def _reason(status: int) -> str:
    bits = [bit for bit in range(64) if status >> bit & 1]
    return ", ".join(_RETURN_STATUS.get(bit, f"ReturnStatus bit {bit}") for bit in bits) or f"ReturnStatus {status}"
