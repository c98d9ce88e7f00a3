"""Companion specifications as node-opcua, a client of another make, decodes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.interop.conftest import HERE, Start
from tests.interop.line import ALARMED, line, show

FILES = Path(os.environ.get("LINESIDE_NODESETS", "nodesets-not-set"))
pytestmark = [
    pytest.mark.interop("node-opcua-client@2.186.4"),
    pytest.mark.skipif(
        not FILES.is_dir(),
        reason="LINESIDE_NODESETS names no folder with the official nodesets; "
        "get them from https://github.com/OPCFoundation/UA-Nodeset",
    ),
]
SEQUENCE = ({"job_order_id": "JO-2", "equipment_id": "A1", "priority": 10},)


async def test_node_opcua_decodes_results_and_job_orders(node: Start) -> None:
    """Structures with optional fields and with subtyped ones decode by the definitions that the server gives."""
    said = {**ALARMED, "schedule": {**ALARMED["schedule"], "sequence": SEQUENCE}}
    given = {
        "health": "A1/DeviceHealth", "result": "A1/ResultManagement/Results/reject",
        "orders": "refplant/ProposedJobOrders/JobOrderList",
    }  # fmt: skip
    async with line(FILES) as server:
        await show(server, said, 1)
        script = HERE / "companions_client.js"
        async with node(script, given={"endpoint": server.endpoint, **given}) as program:
            seen = await program.result()
    assert seen == {
        "health": 4,
        "result": ["reject|A1|1", "A1-0002", 2, [0.971]],
        "orders": [["JO-2", "A1", 10, "NotAllowedToStart"]],
    }
