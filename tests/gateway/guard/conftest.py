"""The PLC and the bench of write-back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from asyncua import Client, Server, ua

from tests.gateway.guard.plant import TAGS, Bench, OverOpcUa, Plc


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plc() -> AsyncIterator[Plc]:
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/plc")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:test:plc")
    machine = await server.nodes.objects.add_object(f"ns={index};s=A1", f"{index}:A1")
    nodes = {}
    for tag, start in TAGS.items():
        nodes[tag] = await machine.add_variable(f"ns={index};s=A1.{tag}", f"{index}:{tag}", start)
        if tag not in {"ReadOnly", "RejectsTaken", "MaintenanceTaken", "CmdAck"}:
            await nodes[tag].set_writable()
    async with server:
        made = Plc(server, nodes)
        scan = asyncio.create_task(made.scan())
        yield made
        scan.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await scan


@pytest_asyncio.fixture(loop_scope="module")
async def bench(plc: Plc) -> AsyncIterator[Bench]:
    plc.scan_s = 0.01
    plc.taken.clear()
    assert plc.server.bserver is not None
    async with Client(f"opc.tcp://127.0.0.1:{plc.server.bserver.port}/plc") as client:
        index = await client.get_namespace_index("urn:test:plc")
        made = Bench(plc, OverOpcUa(client, index))

        class Tags:
            def datachange_notification(self, node: Any, value: object, _data: object) -> None:
                equipment, tag = str(node.nodeid.Identifier).split(".")
                made.write_back.on_tag(equipment, tag, value)

        subscription = await client.create_subscription(20, Tags())
        watched = ("CmdAck", "RejectsTaken", "MaintenanceTaken", "MaintenanceRequest", "RejectFlag")
        await subscription.subscribe_data_change([plc.nodes[t] for t in watched], queuesize=100)
        await asyncio.sleep(0.1)
        yield made
        await subscription.delete()
