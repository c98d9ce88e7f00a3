"""A hosted server with the built-in tasks on machine A1, as the ready projects for HMIs show it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lineside_gateway.publish import HostedServer, HostedTask
from lineside_plugins import registry
from lineside_plugins.types import Reason, Recommendation

MACHINE, LINE = "A1", "refplant"
END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
QUIET: dict[str, dict[str, object]] = {
    "maintenance": {
        "flag": False, "failure_probability": 0.01, "rul_h": 170.5, "rul_low_h": 120.0, "rul_high_h": 240.0,
        "mode": "none", "device_health": 0, "predicted_time": END + timedelta(hours=170),
    },
    "reject": {"flag": False, "serial_no": "A1-0001", "defect_probability": 0.006},
    "schedule": {"flag": False, "sequence": (), "changed": 0, "summary": "the agreed sequence stands"},
}  # fmt: skip
ALARMED: dict[str, dict[str, object]] = {
    "maintenance": {
        **QUIET["maintenance"], "flag": True, "failure_probability": 0.91, "rul_h": 6.2, "mode": "bearing",
        "device_health": 4,
    },
    "reject": {"flag": True, "serial_no": "A1-0002", "defect_probability": 0.971},
    "schedule": {**QUIET["schedule"], "flag": True, "changed": 2, "summary": "2 job orders change: JO-2 before JO-1"},
}  # fmt: skip


@contextlib.asynccontextmanager
async def line(nodesets: Path | None = None) -> AsyncIterator[HostedServer]:
    """Anonymous readers, as in the demo."""
    outputs = {name: registry.create(name, {}).outputs() for name in QUIET}
    tasks = [HostedTask(name, LINE if name == "schedule" else MACHINE, outputs[name]) for name in QUIET]
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", LINE, tasks, nodesets=nodesets)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def show(server: HostedServer, said: dict[str, dict[str, object]], minute: int) -> None:
    """Publish what each task says at ``minute``."""
    end = END + timedelta(minutes=minute)
    for task, value in said.items():
        equipment = LINE if task == "schedule" else MACHINE
        kind = registry.create(task, {}).outputs().kind
        await server.publish(Recommendation(
            task=task, kind=kind, equipment_id=equipment, value=value, confidence=0.9, interval=None,
            reasons=(Reason("VibRms", 0.7, f"reason of {task}"),), window_end=end,
            valid_until=end + timedelta(minutes=10), model=task, model_version="1.2.0",
            key=f"{task}|{equipment}|{minute}",
        ))  # fmt: skip
