"""What a recommendation says, in the terms of a companion specification; follows its values and StatusCodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from asyncua import ua

from lineside_gateway.opcua.structures import Structure
from lineside_gateway.publish.nodeids import status_code
from lineside_gateway.publish.recommendation_nodes import RecommendationNodes, bad_or_no_data
from lineside_gateway.publish.variables import Builder, data_value

OK, NOT_OK = 1, 2  # ResultEvaluationEnum, OPC 40001-101, 10.1
NOT_ALLOWED_TO_START = 1  # StateNumber of ISA95JobOrderReceiverObjectType, OPC 10031-4, 6.2.1
_LOWEST, _HIGHEST = -(2**15), 2**15 - 1  # Priority is an Int16
_V = ua.VariantType


def said(nodes: RecommendationNodes, name: str) -> object:
    """Value of a field; None where the task has no such output or nothing was recommended yet."""
    cell = nodes.cells.get(name)
    return None if cell is None else cell.value


async def write(
    builder: Builder, node: ua.NodeId, value: object, kind: ua.VariantType, of: RecommendationNodes
) -> None:
    """Write ``value`` with the StatusCode and the time of the recommendation it is taken from."""
    source = None if of.shown is None else of.shown.window_end
    written = data_value(value, kind, of.status, source)
    if value is None:
        written = replace(written, StatusCode=status_code(bad_or_no_data(of.status)))
    await builder.write(node, written)


@dataclass(slots=True)
class Health:
    """DeviceHealth of DI's IDeviceHealthType (OPC 10000-100, 4.5.4), from the output ``device_health``."""

    builder: Builder
    node: ua.NodeId

    async def reflect(self, nodes: RecommendationNodes) -> None:
        """Follow the recommendation."""
        await write(self.builder, self.node, said(nodes, "device_health"), _V.Int32, nodes)


@dataclass(slots=True)
class Prognosis:
    """A MaintenancePrognosisType of MachineTool (OPC 40501-1, 8.6), from ``predicted_time`` and ``mode``."""

    builder: Builder
    predicted_time: ua.NodeId
    activity: ua.NodeId

    async def reflect(self, nodes: RecommendationNodes) -> None:
        """Follow the recommendation."""
        await write(self.builder, self.predicted_time, said(nodes, "predicted_time"), _V.DateTime, nodes)
        cause = said(nodes, "mode")
        words = "Maintenance" if cause in {None, "", "none"} else f"Maintenance: {cause}"
        shown = None if nodes.shown is None else ua.LocalizedText(words)
        await write(self.builder, self.activity, shown, _V.LocalizedText, nodes)


@dataclass(slots=True)
class Result:
    """A ResultType of Machinery/Result (OPC 40001-101, 9.1): the verdict on the last part."""

    builder: Builder
    node: ua.NodeId
    result: Structure
    meta_data: Structure

    async def reflect(self, nodes: RecommendationNodes) -> None:
        """Follow the recommendation."""
        value = None if nodes.shown is None else self.result.encode(self._content(nodes))
        await write(self.builder, self.node, value, _V.ExtensionObject, nodes)

    def _content(self, nodes: RecommendationNodes) -> Mapping[str, object]:
        rec = nodes.shown
        assert rec is not None  # noqa: S101 - reflect() has looked
        numbers = [c.value for c in nodes.cells.values() if c.shown.output and isinstance(c.value, float)]
        meta = {
            "ResultId": rec.key,
            "PartId": said(nodes, "serial_no"),
            "IsPartial": False,
            "CreationTime": rec.window_end,
            "ResultEvaluation": NOT_OK if rec.value.get(nodes.hosted.outputs.flag) is True else OK,
            "ResultEvaluationDetails": ua.LocalizedText(str(said(nodes, "reason") or "")),
        }
        content = [ua.Variant(n, _V.Double) for n in numbers]
        return {"ResultMetaData": self.meta_data.encode(meta), "ResultContent": content}


@dataclass(slots=True)
class JobOrders:
    """JobOrderList of an ISA95JobOrderReceiverObjectType (OPC 10031-4, 6.2.1): the proposed sequence, no methods."""

    builder: Builder
    job_orders: ua.NodeId
    equipment: ua.NodeId
    entry: Structure

    async def reflect(self, nodes: RecommendationNodes) -> None:
        """Follow the recommendation."""
        text = said(nodes, "sequence")
        rows = json.loads(text) if isinstance(text, str) else None
        orders = None if rows is None else [self.entry.encode(_order(row)) for row in rows]
        await write(self.builder, self.job_orders, orders, _V.ExtensionObject, nodes)
        machines = (
            None if rows is None else sorted({str(row["equipment_id"]) for row in rows if row.get("equipment_id")})
        )
        await write(self.builder, self.equipment, machines, _V.String, nodes)


def _order(row: Mapping[str, object]) -> Mapping[str, object]:
    state = {
        "BrowsePath": ua.RelativePath(),
        "StateText": ua.LocalizedText("NotAllowedToStart"),
        "StateNumber": NOT_ALLOWED_TO_START,
    }
    machine, rank = row.get("equipment_id"), row.get("priority")
    order = {
        "JobOrderID": str(row["job_order_id"]),
        "StartTime": _time(row.get("start")),
        "EndTime": _time(row.get("end")),
        "Priority": min(max(rank, _LOWEST), _HIGHEST) if isinstance(rank, int) else None,
        "EquipmentRequirements": [{"ID": str(machine)}] if machine else None,
    }
    return {"JobOrder": order, "State": [state]}


def _time(value: object) -> datetime | None:
    if not isinstance(value, str) or not value:
        return None
    at = datetime.fromisoformat(value)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
