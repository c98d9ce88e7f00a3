"""The hosted server seen by node-opcua, a client of another make."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineside_gateway.publish import HostedServer, HostedTask
from tests.interop.conftest import HERE, Start
from tests.interop.house import END, OTTO, OUTPUTS, VIV, advice, house

pytestmark = pytest.mark.interop("node-opcua-client@2.186.4")


async def test_node_opcua_reads_watches_and_is_kept_out(node: Start) -> None:
    """node-opcua finds the recommendation by names, decodes its reasons, sees it turn stale, and changes nothing."""
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", [HostedTask("maintenance", "A1", OUTPUTS)])
    await server.start()
    try:
        await server.publish(advice("A1", 1))
        async with node(HERE / "hosted_client.js", given={"endpoint": server.endpoint}) as program:
            await program.step("watching")
            await server.expire(END.replace(hour=8))
            seen = await program.result()
    finally:
        await server.stop()
    assert seen["values"] == {
        "Flag": ["Good", True],
        "Confidence": ["Good", 0.9],
        "Reason": ["Good", "vibration doubled"],
        "ModelVersion": ["Good", "1.2.0"],
        "WindowEnd": ["Good", "2026-01-05T07:01:00.000Z"],
        "Reasons": ["Good", [{"tag": "VibRms", "weight": 0.7, "text": "vibration doubled"}]],
    }
    assert seen["statuses"] == ["Good", "UncertainLastUsableValue"]
    assert "BadUserAccessDenied" in seen["write"]
    assert seen["admin"] == "refused"


async def test_node_opcua_comes_in_over_every_policy_with_its_rights_only(tmp_path: Path, node: Start) -> None:
    """Users with password or certificate come in under Basic256Sha256 and Aes256 with their role; others do not."""
    policies, modes = ("Basic256Sha256", "Aes256_Sha256_RsaPss"), ("Sign", "SignAndEncrypt")
    ways = [{"policy": policy, "mode": mode} for policy in policies for mode in modes]
    async with house(tmp_path, ["A1"], anonymous=False) as home:
        comers = [{**who, **way} for way in ways for who in (VIV, OTTO, home.cora)]
        strangers = [{**who, "password": "guess", **way} for way in ways for who in ({"name": "admin"}, VIV)]
        await home.server.publish(advice("A1", 1))
        async with node(
            HERE / "secured_client.js", given={**home.way_in, "users": [*comers, *strangers, *ways]}
        ) as program:
            seen = await program.result()
    viewer = {"flag": True, "write": "BadUserAccessDenied", "call": "BadUserAccessDenied", "few": "BadUserAccessDenied"}
    operator = {"flag": True, "write": "BadUserAccessDenied", "call": "Good", "few": "BadArgumentsMissing"}
    for way, met in zip(comers, seen, strict=False):
        wanted = viewer if way.get("name") == "viv" else operator
        met["write"] = "BadUserAccessDenied" if "BadUserAccessDenied" in str(met.get("write")) else met.get("write")
        assert met == wanted, way
    kept_out = seen[len(comers) :]
    assert len(kept_out) == len(strangers) + len(ways)
    assert all("refused" in met for met in kept_out), kept_out
    assert home.desk.held == ["otto", "cora"] * len(ways)
