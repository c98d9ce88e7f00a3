"""The hosted server in a process of its own, open to anonymous readers and, secured, to users."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from lineside_gateway.hosting import Access, Role
from lineside_gateway.hosting.users import UsersFile
from lineside_gateway.opcua.security import Pki
from lineside_gateway.publish import HostedServer, HostedTask
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind

OUTPUTS = Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),), "flag")


async def main(folder: Path) -> None:
    """Serve until stdin closes."""
    UsersFile(folder / "users.yaml").add("otto", Role.OPERATOR, password="correct horse battery")  # noqa: S106
    access = Access(pki=Pki(folder / "pki", "target"), users=folder / "users.yaml")
    tasks = [HostedTask("maintenance", f"M{i}", OUTPUTS) for i in range(5)]
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "target", tasks, access=access)
    await server.start()
    sys.stdout.write(json.dumps({"endpoint": server.endpoint}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


asyncio.run(main(Path(sys.argv[1])))
