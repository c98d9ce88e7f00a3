"""Recommendations as conditions, answered from node-opcua, a client of another make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import HERE, Start
from tests.interop.house import OTTO, VIV, advice, house

pytestmark = pytest.mark.interop("node-opcua-client@2.186.4")

BASIC = {"policy": "Basic256Sha256", "mode": "SignAndEncrypt"}
AES = {"policy": "Aes256_Sha256_RsaPss", "mode": "SignAndEncrypt"}
DENIED = "BadUserAccessDenied"


def expected(machine: str, user: str) -> dict[str, object]:
    """What an operator meets; without ``user`` what a viewer does."""
    raised = {
        "message": f"{machine}: vibration doubled", "severity": 760, "retain": True, "acked": False, "confirmed": False,
        "comment": None, "user": None, "key": f"{machine}|1", "state": 0, "flag": True, "reasons": [["VibRms", 0.7]],
    }  # fmt: skip
    said = {**raised, "comment": "on my way", "user": user}
    answers: dict[str, object] = {
        "comment": ["Good", said],
        "acknowledge": ["Good", {**said, "comment": "seen", "acked": True}],
        "again": "BadConditionBranchAlreadyAcked",
        "confirm": ["Good", {**said, "comment": "done", "acked": True, "confirmed": True}],
        "stale": "BadInvalidState",
        "accept": "Good",
        "reject": "Good",
        "wrong": "BadInvalidArgument",
    }
    refused = {k: [DENIED] if isinstance(v, list) else DENIED for k, v in answers.items()}
    return {
        "types": [
            "MaintenanceAdviceType", "MaintenanceRecommendationType", "RecommendationType",
            "AcknowledgeableConditionType", "ConditionType", "BaseEventType", "BaseObjectType",
        ],
        "states": ["proposed", "accepted", "rejected", "written", "acknowledged", "expired", "refused"],
        "event": raised,
        "conditionId": True,
        **(answers if user else refused),
        "refreshed": f"{machine}|1",
        "write": DENIED,
        "history": [["2026-01-05T07:00:00.000Z", False], ["2026-01-05T07:01:00.000Z", True]],
    }  # fmt: skip


async def test_node_opcua_answers_recommendations_as_far_as_its_user_may(tmp_path: Path, node: Start) -> None:
    """Operators with password or certificate, under both policies, do all there is; viewers see all and do nothing."""
    machines = [f"A{i}" for i in range(6)]
    async with house(tmp_path, machines, anonymous=True) as home:
        ways: list[dict[str, str]] = [
            {**way, **user} for way in (BASIC, AES) for user in (OTTO, home.cora)
        ] + [{}, {**AES, **VIV}]  # fmt: skip
        names = ["otto", "cora", "otto", "cora", "", ""]
        comers: list[dict[str, Any]] = [{"machine": m, **way} for m, way in zip(machines, ways, strict=True)]
        for machine in machines:
            await home.server.publish(advice(machine, 0))
        async with node(HERE / "conditions_client.js", given={**home.way_in, "comers": comers}) as program:
            for machine in machines:
                await program.step(f"{machine} is watched")
                await home.server.publish(advice(machine, 1))
            met = await program.result()
    for machine, name, seen, comer in zip(machines, names, met, comers, strict=True):
        seen["write"] = DENIED if DENIED in seen["write"] else seen["write"]
        assert seen == expected(machine, name), comer
    answered = [(a.rec.equipment_id, a.user, a.verdict.value) for a in home.desk.taken]
    verdicts = ("comment", "acknowledge", "confirm", "accept", "reject")
    assert answered == [(m, n, v) for m, n in zip(machines, names, strict=True) if n for v in verdicts]
