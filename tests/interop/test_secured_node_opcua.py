"""The hosted server behind certificates and users, seen by node-opcua.

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

from lineside_gateway.hosting import Access, Role
from lineside_gateway.hosting.users import UsersFile
from lineside_gateway.opcua.security import Pki
from lineside_gateway.publish import HostedServer, HostedTask
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Recommendation

HERE = Path(__file__).parent
MODULES = Path(os.environ.get("LINESIDE_NODE_MODULES", HERE / "node_modules"))
END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
OUTPUTS = Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),), "flag")
PASSWORD = "correct horse battery"  # noqa: S105 - of the users made here

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
        task="maintenance", kind=Kind.MAINTENANCE, equipment_id="A1", value={"flag": True}, confidence=0.9,
        interval=None, reasons=(), window_end=END, valid_until=END + timedelta(minutes=1), model="maintenance",
        model_version="1.2.0", key="k",
    )  # fmt: skip


async def visit(given: dict[str, object]) -> list[dict[str, object]]:
    """What each user of ``given`` met."""
    client = await asyncio.create_subprocess_exec(
        "node", str(HERE / "secured_client.js"), env={**os.environ, "NODE_PATH": str(MODULES)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(150):
        out, err = await client.communicate(json.dumps(given).encode())
    assert client.returncode == 0, err.decode()
    seen: list[dict[str, object]] = json.loads(out.decode().splitlines()[-1])
    return seen


async def test_node_opcua_comes_in_over_every_policy_with_its_rights_only(tmp_path: Path) -> None:
    """Users with password or certificate come in under Basic256Sha256 and Aes256 with their role; others do not."""
    mine, person = Pki(tmp_path / "client", "client"), Pki(tmp_path / "person", "person")
    users = UsersFile(tmp_path / "users.yaml")
    users.add("viv", Role.VIEWER, password=PASSWORD)
    users.add("otto", Role.OPERATOR, password=PASSWORD)
    users.add("cora", Role.OPERATOR, certificate=person.own()[0].read_bytes())
    trusted = tmp_path / "pki" / "trusted"
    trusted.mkdir(parents=True)
    shutil.copy(mine.own()[0], trusted / "client.der")
    access = Access(anonymous=False, pki=Pki(tmp_path / "pki", "line-1"), users=users.path)
    task = HostedTask("maintenance", "A1", OUTPUTS)
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", [task], access=access)
    await server.start()
    viv, otto = {"name": "viv", "password": PASSWORD}, {"name": "otto", "password": PASSWORD}
    cora = {"certificate": str(person.own()[0]), "key": str(person.own()[1])}
    ways = [
        (policy, mode) for policy in ("Basic256Sha256", "Aes256_Sha256_RsaPss") for mode in ("Sign", "SignAndEncrypt")
    ]
    comers = [{**who, "policy": policy, "mode": mode} for policy, mode in ways for who in (viv, otto, cora)]
    basic = {"policy": "Basic256Sha256", "mode": "SignAndEncrypt"}
    strangers = [{"name": "admin", "password": "guess", **basic}, {**viv, "password": "guess", **basic}, basic,
                 {"policy": "None", "mode": "None"}]  # fmt: skip
    try:
        await server.publish(advice())
        seen = await visit({
            "endpoint": server.endpoint, "uri": mine.application_uri, "certificate": str(mine.own()[0]),
            "key": str(mine.own()[1]), "pki": str(tmp_path / "node-pki"), "users": comers + strangers,
        })  # fmt: skip
    finally:
        await server.stop()
    viewer = {"flag": True, "write": "BadUserAccessDenied", "call": "BadUserAccessDenied", "few": "BadUserAccessDenied"}
    operator = {"flag": True, "write": "BadUserAccessDenied", "call": "Good", "few": "BadArgumentsMissing"}
    for way, met in zip(comers, seen, strict=False):
        wanted = viewer if way.get("name") == "viv" else operator
        met["write"] = "BadUserAccessDenied" if "BadUserAccessDenied" in str(met.get("write")) else met.get("write")
        assert met == wanted, way
    assert all("refused" in met for met in seen[len(comers) :]), seen[len(comers) :]
