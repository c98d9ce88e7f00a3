"""Recommendations of machines, and how a plain client reads their nodes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from asyncua import Client, ua

from lineside_gateway.publish import (
    NAMESPACE_URI,
)
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Reason, Recommendation

END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)


OUTPUTS = Outputs(
    kind=Kind.MAINTENANCE,
    flag="flag",
    fields=(
        OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),
        OutputField("failure_probability", DataType.DOUBLE, "Within the horizon", low=0.0, high=1.0),
        OutputField("rul_h", DataType.DOUBLE, "Remaining useful life", unit="h"),
        OutputField("mode", DataType.STRING, "Likely cause"),
        OutputField("device_health", DataType.INT32, "NAMUR NE 107", low=0, high=4),
        OutputField("predicted_time", DataType.DATE_TIME, "When it would fail"),
        OutputField("quality", DataType.RECORDS, "Bears the name of a common Variable on purpose"),
    ),
)


def advice(equipment_id: str = "M0", **changes: object) -> Recommendation:
    rec = Recommendation(
        task="maintenance",
        kind=Kind.MAINTENANCE,
        equipment_id=equipment_id,
        value={
            "flag": True,
            "failure_probability": 0.83,
            "rul_h": 6.5,
            "mode": "bearing",
            "device_health": 4,
            "predicted_time": "2026-01-05T13:30:00+00:00",
            "quality": ({"row": 1},),
        },
        confidence=0.9,
        interval=(4.0, 9.0),
        reasons=(Reason("VibRms", 0.7, "vibration doubled"), Reason("SpindleTemp", 0.3, "temperature rises")),
        window_end=END,
        valid_until=END + timedelta(minutes=10),
        model="maintenance",
        model_version="1.2.0",
        key=f"maintenance|maintenance:1.2.0|{equipment_id}|2026-01-05T07:00:00+00:00",
        quality=0.95,
    )
    return replace(rec, **changes)  # type: ignore[arg-type]


async def by_name(client: Client, path: str) -> ua.DataValue:
    index = await client.get_namespace_index(NAMESPACE_URI)
    node = await client.nodes.objects.get_child([f"{index}:{name}" for name in path.split("/")])
    return await node.read_data_value(raise_on_bad_status=False)


async def twin(client: Client, identifier: str) -> ua.DataValue:
    index = await client.get_namespace_index(NAMESPACE_URI)
    return await client.get_node(f"ns={index};s={identifier}").read_data_value(raise_on_bad_status=False)


def status(value: ua.DataValue) -> str:
    return value.StatusCode.name
