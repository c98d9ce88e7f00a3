"""Recommendations, rules and guards that tests of the guard start from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from lineside_gateway.guard import (
    Guard,
    Policy,
    Target,
)
from lineside_gateway.settings.model import Mode, WriteSettings
from lineside_plugins.types import Kind, Recommendation

END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)


SOON = END + timedelta(seconds=1)


REJECT = WriteSettings(set={"RejectSerialNo": "{serial_no}", "RejectFlag": True}, acknowledge="RejectsTaken")


SPEED = WriteSettings(set={"SpeedOverride": "{speed}"})


ORDERS = WriteSettings(update_job_orders="sequence", acknowledge="UpdatesTaken")


REJECT_TARGETS = (Target("A1", "RejectSerialNo", "String"), Target("A1", "RejectFlag", "Boolean"))


def advice(key: str = "k1", **changes: object) -> Recommendation:
    rec = Recommendation(
        task="t",
        kind=Kind.REJECT,
        equipment_id="A1",
        value={"flag": True, "serial_no": "A1-0001234", "speed": 1.0},
        confidence=0.9,
        interval=None,
        reasons=(),
        window_end=END,
        valid_until=END + timedelta(seconds=50),
        model="m",
        model_version="1",
        key=key,
    )
    return replace(rec, **changes)  # type: ignore[arg-type]


def policy(*rules: WriteSettings, mode: Mode = Mode.CLOSED_LOOP, **changes: object) -> Policy:
    made = Policy("t", mode, "flag", deadline_s=30.0, equipment_ids=frozenset({"A1"}), write=rules)
    return replace(made, **changes)  # type: ignore[arg-type]


def guard(*rules: WriteSettings, targets: tuple[Target, ...] = REJECT_TARGETS, **changes: object) -> Guard:
    made = Guard([policy(*(rules or (REJECT,)), **changes)])
    for to in targets:
        made.allow(to)
    return made


def speed_guard(to: Target, current: float | None = 1.0) -> Guard:
    made = Guard([policy(SPEED)], current=lambda _equipment, _tag: current)
    made.allow(to)
    return made
