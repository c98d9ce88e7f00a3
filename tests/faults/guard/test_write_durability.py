"""The write oracle: every writer remembers its last write, and at rest the plant holds it, written once.

Between the gateway's client and the PLC stands a proxy that cuts the connection before a Write request reaches the
PLC, or before its answer comes back. PLC and gateway are restarted in the middle of a write, and some writes are of
types and nodes the PLC refuses. ``make test-faults`` runs 240 cycles.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from lineside_gateway.audit import AuditLog, entries, verify
from lineside_plugins.types import Kind, Recommendation

DEADLINE_S = 60.0
WRITERS = ("speed", "count", "note", "reject", "locked")


class Fault(StrEnum):
    NONE = "none"
    CUT_BEFORE = "cut_before"
    CUT_AFTER = "cut_after"
    PLC_RESTART = "plc_restart"
    GATEWAY_RESTART = "gateway_restart"


class Oracle:
    """The writers: what each wrote last, and what each asked for in all."""

    def __init__(self) -> None:
        self.number = 0
        self.last: dict[str, Any] = {"speed": 1.0, "count": 0, "note": ""}
        self.rejects: list[str] = []
        self.refused = 0
        self.asked = 0
        self.cycle: list[Recommendation] = []

    def redeliver(self, gate: Any) -> None:
        """What the request store does after a restart: it delivers again what it does not know to be done."""
        self.asked += len(self.cycle)
        for rec in self.cycle:
            gate.effects.decide(rec)

    async def look_at(self, plc: Any, why: object) -> None:
        """At rest the plant holds every last write, has taken every reject, and was given none twice."""
        for task, value in self.last.items():
            assert await plc.value(task.capitalize()) == value, (task, why)
        assert plc.taken == self.rejects, why
        twice = {what: n for what, n in plc.written.items() if n > 1 and what != ("RejectFlag", True)}
        assert not twice, (twice, why)

    def write(self, gate: Any, task: str, *, odd: bool) -> None:
        """One recommendation with a value never used before; ``odd`` is of a type or size the node does not take."""
        self.number += 1
        self.asked += 1
        n = self.number
        value: Any = {"speed": n + 0.5, "count": n, "note": f"note {n}", "reject": f"S-{n}", "locked": float(n)}[task]
        if odd:
            value = {"speed": "fast", "count": 40_000, "note": 7, "reject": True, "locked": "x"}[task]
        now = datetime.now(UTC)
        rec = Recommendation(
            task=task, kind=Kind.REJECT, equipment_id="A1", value={"flag": True, "value": value}, confidence=0.9,
            interval=None, reasons=(), window_end=now, valid_until=now + timedelta(seconds=DEADLINE_S), model="m",
            model_version="1", key=f"{task}|{n}",
        )  # fmt: skip
        self.cycle.append(rec)
        decision = gate.effects.decide(rec)
        assert decision.allowed != odd, decision.refused
        if odd or task == "locked":
            self.refused += 1
        elif task == "reject":
            self.rejects.append(value)
        else:
            self.last[task] = value


@pytest.mark.parametrize("cycles", [8, pytest.param(240, marks=[pytest.mark.faults, pytest.mark.timeout(3000)])])
async def test_at_rest_the_plant_holds_every_last_write(
    plc: Any, new_proxy: Any, new_gate: Any, tmp_path: Path, cycles: int
) -> None:
    """Through cuts, restarts and refusals no write is lost, none is made twice, and each has its audit lines."""
    chance, oracle = random.Random(29), Oracle()
    proxy = new_proxy(plc.port)
    port = await proxy.start()
    audit = AuditLog(tmp_path / "audit")
    gate = new_gate(tmp_path, port, audit)
    await gate.ready()
    gate.resume()
    faults = list(Fault) * (cycles // len(Fault) + 1)
    for fault in faults[:cycles]:
        proxy.armed = fault.value if fault in {Fault.CUT_BEFORE, Fault.CUT_AFTER} else ""
        oracle.cycle.clear()
        for task in chance.sample(WRITERS, 3):
            oracle.write(gate, task, odd=chance.random() < 0.15)
        await asyncio.sleep(chance.random() * 0.03)
        if fault is Fault.PLC_RESTART:
            await plc.stop()
            await asyncio.sleep(chance.random() * 0.2)
            await plc.start()
        elif fault is Fault.GATEWAY_RESTART:
            await gate.stop()
            gate = new_gate(tmp_path, port, audit)
            await gate.ready()
            gate.resume()
            oracle.redeliver(gate)
        await gate.idle()
        await oracle.look_at(plc, (fault, gate.steps[-6:]))
    assert await plc.value("Locked") == 1.0
    await gate.stop()
    await proxy.stop()
    audit.close()
    assert verify(tmp_path / "audit").intact
    decisions = list(entries(tmp_path / "audit", event="decision"))
    assert len(decisions) == oracle.asked
    ends = {e["key"]: e["step"] for e in entries(tmp_path / "audit", event="step") if e["step"] != "read_back"}
    assert {e["key"] for e in decisions if e["allowed"]} == set(ends)
