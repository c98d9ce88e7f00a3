"""The hosted server seen by node-opcua, a client of another make.

Needs node and ``npm install node-opcua-client@2.186.4`` in this folder, or its node_modules in
``LINESIDE_NODE_MODULES``; skipped without.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lineside_gateway.publish import HostedServer, HostedTask
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


def advice() -> Recommendation:
    return Recommendation(
        task="maintenance",
        kind=Kind.MAINTENANCE,
        equipment_id="A1",
        value={"flag": True},
        confidence=0.9,
        interval=None,
        reasons=(Reason("VibRms", 0.7, "vibration doubled"),),
        window_end=END,
        valid_until=END + timedelta(minutes=1),
        model="maintenance",
        model_version="1.2.0",
        key="k",
    )


async def test_node_opcua_reads_watches_and_is_kept_out() -> None:
    """node-opcua finds the recommendation by names, decodes its reasons, sees it turn stale, and changes nothing."""
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", [HostedTask("maintenance", "A1", OUTPUTS)])
    await server.start()
    try:
        await server.publish(advice())
        client = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "hosted_client.js"),
            server.endpoint,
            "1500",
            env={**os.environ, "NODE_PATH": str(MODULES)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert client.stderr is not None
        async with asyncio.timeout(120):
            while (line := await client.stderr.readline()) and b"watching" not in line:
                pass
            await asyncio.sleep(0.5)
            await server.expire(END + timedelta(minutes=2))
            out, err = await client.communicate()
    finally:
        await server.stop()
    assert client.returncode == 0, err.decode()
    seen = json.loads(out.decode().splitlines()[-1])
    assert seen["values"] == {
        "Flag": ["Good", True],
        "Confidence": ["Good", 0.9],
        "Reason": ["Good", "vibration doubled"],
        "ModelVersion": ["Good", "1.2.0"],
        "WindowEnd": ["Good", "2026-01-05T07:00:00.000Z"],
        "Reasons": ["Good", [{"tag": "VibRms", "weight": 0.7, "text": "vibration doubled"}]],
    }
    assert seen["statuses"] == ["Good", "UncertainLastUsableValue"]
    assert "BadUserAccessDenied" in seen["write"]
    assert seen["admin"] == "refused"
