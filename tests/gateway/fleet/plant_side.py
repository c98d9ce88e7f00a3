"""A plant in a process of its own: ten samples a second of each machine, and a line for each write it is given.

``python plant_side.py PORT FILE MACHINES``: lines are machine, value, wall clock.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime

from asyncua import Server, ua
from asyncua.common.callback import CallbackType


async def main(port: int, path: str, machines: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:test:plc")
    loads, keys = [], {}
    for name in (f"M{number + 1}" for number in range(machines)):
        machine = await server.nodes.objects.add_object(ua.NodeId(name, index), f"{index}:{name}")
        loads.append(
            await machine.add_variable(ua.NodeId(f"{name}.Load", index), f"{index}:Load", 1.0, ua.VariantType.Double)
        )
        key = await machine.add_variable(ua.NodeId(f"{name}.Key", index), f"{index}:Key", "", ua.VariantType.String)
        await key.set_writable()
        keys[key.nodeid] = name
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def wrote(event: object, _dispatcher: object) -> None:
        for item in event.request_params.NodesToWrite:
            if item.NodeId in keys:
                line = f"{keys[item.NodeId]} {item.Value.Value.Value} {time.time()}\n"
                os.write(file, line.encode())

    server.subscribe_server_callback(CallbackType.PreWrite, wrote)
    async with server:
        while True:
            value = ua.DataValue(ua.Variant(1.0, ua.VariantType.Double), SourceTimestamp=datetime.now(UTC))
            for node in loads:
                await node.write_value(value)
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
