"""What the guard plans to write: templates, commands with an id, job orders."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lineside_gateway.guard import (
    Guard,
    JobOrderNow,
    JobOrderUpdate,
    Refusal,
    TagWrite,
    Target,
    target,
)
from lineside_gateway.guard.effects import Acknowledgement, command_id
from lineside_gateway.settings.model import AcknowledgeBy, Limit, WriteSettings
from lineside_plugins.types import Recommendation
from tests.gateway.guard.attempts import (
    END,
    ORDERS,
    SOON,
    advice,
    guard,
    policy,
)


def test_template_keeps_the_data_type_and_fills_text() -> None:
    """``{name}`` alone is the value itself; within text it is replaced; nothing else in braces is looked up."""
    rule = WriteSettings(set={"SpeedOverride": "{speed}", "Note": "reject {serial_no} {not.looked.up}"})
    made = guard(rule, targets=(target("A1", "SpeedOverride", "Double", (0.0, 2.0)), Target("A1", "Note", "String")))
    written = {w.tag: w.value for w in made.decide(advice(), SOON).writes if isinstance(w, TagWrite)}
    assert written == {"SpeedOverride": 1.0, "Note": "reject A1-0001234 {not.looked.up}"}


COMMAND = WriteSettings(
    set={"CmdValue": "{speed}", "CmdValidUntil": "{valid_until}", "CmdId": "{command_id}"},
    acknowledge="CmdAck",
    acknowledge_by=AcknowledgeBy.COMMAND_ID,
)


def test_a_command_carries_its_id_and_stands_until_it_is_echoed() -> None:
    """Value, validity and id go out in order; the next command to the same tags waits for the first one's echo."""
    made = guard(
        COMMAND,
        targets=(
            target("A1", "CmdValue", "Double", (0.0, 2.0)),
            target("A1", "CmdValidUntil", "DateTime"),
            target("A1", "CmdId", "UInt32", None, Limit(low=1, high=2**31)),
        ),
    )
    first = made.decide(advice("a"), SOON)
    number = command_id("a")
    assert [w.value for w in first.writes if isinstance(w, TagWrite)] == [
        1.0,
        (END + timedelta(seconds=50)).isoformat(),
        number,
    ]
    assert first.effects[0].acknowledge == Acknowledgement("A1", "CmdAck", number)
    assert made.decide(advice("b"), SOON).reason is Refusal.STANDING
    made.settle(first)
    assert made.decide(advice("b"), SOON).allowed
    assert 0 < command_id("b") != number


def test_a_command_id_needs_a_tag_and_an_echo() -> None:
    """Without a tag that carries the id, or without the tag that echoes it, the settings say so."""
    for wrong in ({"acknowledge": None}, {"set": {"CmdValue": "{speed}"}}):
        with pytest.raises(ValueError, match="acknowledge_by command_id needs"):
            WriteSettings.model_validate(COMMAND.model_dump() | wrong)


def orders_guard(now: dict[str, JobOrderNow]) -> Guard:
    line = policy(ORDERS, equipment_ids=frozenset({"A1"}), assignable=frozenset({"A1", "A2"}))
    return Guard([line], orders=lambda: now)


def sequence(*rows: tuple[object, object, object]) -> Recommendation:
    records = tuple({"job_order_id": o, "priority": p, "equipment_id": e} for o, p, e in rows)
    return advice(value={"flag": True, "sequence": records})


def test_only_changed_job_orders_are_sent() -> None:
    """Orders that stand as advised, or have left the MES's list, are left out; the rest keep their order."""
    now = {"JO-1": JobOrderNow(3, "A1"), "JO-2": JobOrderNow(0, None), "JO-3": JobOrderNow(1, "A1")}
    rec = sequence(("JO-2", 9, "A2"), ("JO-1", 3, "A1"), ("JO-9", 5, "A1"), ("JO-3", 8, None))
    assert orders_guard(now).decide(rec, SOON).writes == (
        JobOrderUpdate("JO-2", 9, "A2"),
        JobOrderUpdate("JO-3", 8, None),
    )
    unchanged = sequence(("JO-1", 3, "A1"))
    assert orders_guard(now).decide(unchanged, SOON).reason is Refusal.NO_EFFECT


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (("JO-1", 32_768, "A1"), Refusal.PLAN),
        (("JO-1", -1, "A1"), Refusal.PLAN),
        (("JO-1", True, "A1"), Refusal.PLAN),
        (("JO-1", 2.0, "A1"), Refusal.PLAN),
        (("", 2, "A1"), Refusal.PLAN),
        (("JO-1", 2, 7), Refusal.PLAN),
        (("JO-1", 2, "B1"), Refusal.TARGET),
    ],
)
def test_malformed_job_order_refuses_the_sequence(row: tuple[object, object, object], code: Refusal) -> None:
    """One record that is not a job order for this line refuses the whole sequence."""
    now = {"JO-1": JobOrderNow(0, None), "JO-2": JobOrderNow(0, None)}
    assert orders_guard(now).decide(sequence(("JO-2", 1, "A1"), row), SOON).reason is code
