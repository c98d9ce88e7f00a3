"""Recommendations as conditions, answered from node-opcua, a client of another make. See test_hosted_node_opcua.py."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lineside_gateway.hosting import Access, HostedUser, Role
from lineside_gateway.publish import Answer, HistoryStore, HostedServer, HostedTask
from lineside_gateway.settings.model import Mode
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Reason, Recommendation

HERE = Path(__file__).parent
MODULES = Path(os.environ.get("LINESIDE_NODE_MODULES", HERE / "node_modules"))
END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
OUTPUTS = Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),), "flag")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (MODULES / "node-opcua-client").is_dir(),
        reason=f"no node-opcua-client in {MODULES}; npm install node-opcua-client@2.186.4 there",
    ),
]


@dataclass
class Desk:
    """Takes every answer."""

    taken: list[Answer] = field(default_factory=list)

    def take(self, answer: Answer) -> str:
        self.taken.append(answer)
        return ""

    async def hold(self, demoted: bool, user: str, why: str) -> None:
        raise AssertionError((demoted, user, why))


def advice(minute: int) -> Recommendation:
    end = END + timedelta(minutes=minute)
    return Recommendation(
        task="maintenance", kind=Kind.MAINTENANCE, equipment_id="A1", value={"flag": minute > 0}, confidence=0.9,
        interval=None, reasons=(Reason("VibRms", 0.7, "vibration doubled"),), window_end=end,
        valid_until=end + timedelta(minutes=10), model="m", model_version="1", key=f"A1|{minute}",
    )  # fmt: skip


async def talk(server: HostedServer) -> dict[str, object]:
    """Run the client; a recommendation is made once it watches."""
    command = ("node", str(HERE / "conditions_client.js"), server.endpoint, "A1")
    client = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "NODE_PATH": str(MODULES)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert client.stderr is not None
    async with asyncio.timeout(150):
        while (line := await client.stderr.readline()) and b"watching" not in line:
            pass
        await asyncio.sleep(0.5)
        await server.publish(advice(1))
        out, err = await client.communicate()
    assert client.returncode == 0, err.decode()
    found: dict[str, object] = json.loads(out.decode().splitlines()[-1])
    return found


async def test_node_opcua_answers_a_recommendation(tmp_path: Path) -> None:
    """node-opcua browses the types, gets the event with ConditionId, refreshes, answers it, and reads its history."""
    desk, store = Desk(), HistoryStore(tmp_path / "history.sqlite", 3600.0)
    task = HostedTask("maintenance", "A1", OUTPUTS, Mode.CONFIRM, ("", "", "Milling"))
    server = HostedServer(
        "opc.tcp://127.0.0.1:0/lineside",
        "l",
        [task],
        answers=desk,
        access=Access(anonymous_user=HostedUser(name="anna", granted=Role.OPERATOR)),
    )
    await server.start(store)
    try:
        await server.publish(advice(0))
        seen = await talk(server)
    finally:
        await server.stop()
        store.close()
    raised = {
        "message": "A1: vibration doubled", "severity": 760, "retain": True, "acked": False, "confirmed": False,
        "comment": None, "user": None, "key": "A1|1", "state": 0, "flag": True, "reasons": [["VibRms", 0.7]],
    }  # fmt: skip
    event = seen["event"]
    assert isinstance(event, dict)
    assert {**event, "comment": event["comment"] or None, "user": event["user"] or None} == raised
    assert seen["conditionId"] is True
    assert seen["types"] == [
        "MaintenanceAdviceType", "MaintenanceRecommendationType", "RecommendationType", "AcknowledgeableConditionType",
        "ConditionType", "BaseEventType", "BaseObjectType",
    ]  # fmt: skip
    assert seen["states"] == ["proposed", "accepted", "rejected", "written", "acknowledged", "expired", "refused"]
    said = {**raised, "comment": "on my way", "user": "anna"}
    assert seen["comment"] == ["Good", said]
    assert seen["acknowledge"] == ["Good", {**said, "comment": "seen", "acked": True}]
    assert seen["again"] == "BadConditionBranchAlreadyAcked"
    assert seen["confirm"] == ["Good", {**said, "comment": "done", "acked": True, "confirmed": True}]
    assert seen["refreshed"] == "A1|1"
    assert (seen["stale"], seen["accept"], seen["reject"]) == ("BadInvalidState", "Good", "Good")
    assert seen["wrong"] == "BadInvalidArgument"
    assert seen["history"] == [["2026-01-05T07:00:00.000Z", False], ["2026-01-05T07:01:00.000Z", True]]
    assert [a.verdict.value for a in desk.taken] == ["comment", "acknowledge", "confirm", "accept", "reject"]
