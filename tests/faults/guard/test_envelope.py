"""Generated attempts to write outside the envelope: none reaches the plant, each has its audit line.

``make test-faults`` makes 10,000 of them against a PLC that counts every Write it gets.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineside_gateway.audit import AuditLog, entries, verify
from lineside_gateway.guard import Policy, target
from lineside_gateway.settings.model import Limit, Mode, WriteSettings
from lineside_plugins.types import Kind, Recommendation

PER_EXAMPLE = 50
CONTROLS = 5
SPEED = WriteSettings(set={"Speed": "{value}"}, limits={"Speed": Limit(low=0.5, high=1.5, step=0.2)}, rate_per_min=6000)
ELSEWHERE = WriteSettings(set={"RejectsTaken": "{value}"}, rate_per_min=6000)
NOT_NUMBERS = st.text(max_size=8) | st.booleans() | st.none() | st.just(()) | st.just(({"row": 1},))
OUTSIDE = (
    st.floats(max_value=0.5, exclude_max=True)
    | st.floats(min_value=1.5, exclude_min=True)
    | st.integers(max_value=0)
    | st.integers(min_value=2)
)
BIG_STEPS = st.floats(0.5, 0.79) | st.floats(1.21, 1.5)
LATE_S = st.floats(31.0, 1e6)
ODD: dict[str, st.SearchStrategy[Any]] = {
    "value": OUTSIDE | BIG_STEPS | NOT_NUMBERS | st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    "flag": NOT_NUMBERS.filter(lambda v: v is not True) | st.integers() | st.floats(),
    "age_s": LATE_S | LATE_S.map(lambda s: -s - 31.0),
    "valid_s": st.floats(-1e6, -0.001),
    "quality": st.floats(0.0, 0.499) | st.just(float("nan")),
    "equipment": st.text(max_size=4).filter(lambda e: e != "A1"),
    "task": st.sampled_from(["advisory", "shadow", "elsewhere", "nobody"]),
}
SANE: dict[str, Any] = {
    "value": 1.1, "flag": True, "age_s": 1.0, "valid_s": 60.0, "quality": 0.9, "equipment": "A1", "task": "speed",
}  # fmt: skip


@st.composite
def attempts(draw: st.DrawFn) -> dict[str, Any]:
    """Sane in every way but one: an attempt wrong all over would be refused by any one check."""
    odd = draw(st.sampled_from(sorted(ODD)))
    return SANE | {odd: draw(ODD[odd])}


class Site:
    """PLC and gateway on a loop of their own, so that a plain test can drive them."""

    def __init__(self, folder: Path, plc: Any, new_gate: Any) -> None:
        self.loop, self.plc, self.numbers = asyncio.Runner(), plc, itertools.count()
        self.folder = folder
        self.audit = AuditLog(folder / "audit")

        async def start() -> Any:
            await plc.start()
            gate = new_gate(folder, plc.port, self.audit)
            await gate.ready()
            return gate

        self.gate = self.loop.run(start())

    def bind(self) -> None:
        """Put the rules of this test in force; the rig binds its own whenever its connection is made anew."""
        bound = frozenset({"A1"})
        for task, mode, rule in (
            ("speed", Mode.CLOSED_LOOP, SPEED),
            ("advisory", Mode.ADVISORY, SPEED),
            ("shadow", Mode.SHADOW, SPEED),
            ("elsewhere", Mode.CLOSED_LOOP, ELSEWHERE),
        ):
            self.gate.guard.bind(Policy(task, mode, "flag", 30.0, bound, (rule,)))
        self.gate.guard.allow(target("A1", "Speed", "Double", (0.0, 2.0), SPEED.limits["Speed"]))

    def attempt(self, tried: dict[str, Any]) -> Any:
        """Decide one attempt, and carry out what is allowed."""
        end = datetime.now(UTC) - timedelta(seconds=tried["age_s"])
        rec = Recommendation(
            task=tried["task"], kind=Kind.SET_POINT, equipment_id=tried["equipment"],
            value={"flag": tried["flag"], "value": tried["value"]}, confidence=0.9, interval=None, reasons=(),
            window_end=end, valid_until=datetime.now(UTC) + timedelta(seconds=tried["valid_s"]), model="m",
            model_version="1", key=f"k{next(self.numbers)}", quality=tried["quality"],
        )  # fmt: skip
        return self.gate.effects.decide(rec)

    def all(self, tried: list[dict[str, Any]]) -> list[Any]:
        async def go() -> list[Any]:
            self.bind()
            decisions = [self.attempt(one) for one in tried]
            await self.gate.idle()
            return decisions

        return self.loop.run(go())

    def close(self) -> None:
        async def stop() -> None:
            await self.gate.stop()
            await self.plc.stop()

        self.loop.run(stop())
        self.audit.close()
        self.loop.close()


@pytest.fixture
def site(tmp_path: Path, new_plc: Any, new_gate: Any) -> Iterator[Site]:
    made = Site(tmp_path, new_plc(), new_gate)
    yield made
    made.close()


@pytest.mark.parametrize("examples", [8, pytest.param(200, marks=[pytest.mark.faults, pytest.mark.timeout(3000)])])
def test_nothing_outside_the_envelope_reaches_the_plant(site: Site, examples: int) -> None:
    """Each attempt is odd in one way, is refused, is a line of the log where it asked to write, and writes nothing."""
    tried = itertools.count()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(batch=st.lists(attempts(), min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
    def batches(batch: list[dict[str, Any]]) -> None:
        for one, decision in zip(batch, site.all(batch), strict=True):
            next(tried)
            assert not decision.allowed, one
            assert decision.refused is not None

    batches()
    made = next(tried)
    assert made >= examples * PER_EXAMPLE
    assert not site.plc.written
    lines = list(entries(site.folder / "audit", event="decision"))
    assert len(lines) == made
    assert not any(e["allowed"] for e in lines)
    assert verify(site.folder / "audit").intact
    for _ in range(CONTROLS):  # the connection may have been lost meanwhile: nobody was there to keep it
        (allowed,) = site.all([SANE])
        assert allowed.allowed, "the guard refuses everything; the test shows nothing"
        if site.plc.written:
            break
    assert site.plc.written == {("Speed", 1.1): 1}
