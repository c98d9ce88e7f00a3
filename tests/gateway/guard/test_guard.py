"""The guard, table by table: who may write what, when, and how often."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from lineside_gateway.guard import (
    Decision,
    Guard,
    Refusal,
    TagWrite,
    Target,
)
from lineside_gateway.settings.model import Mode
from lineside_plugins.types import Recommendation
from tests.gateway.guard.attempts import (
    END,
    REJECT,
    REJECT_TARGETS,
    SOON,
    SPEED,
    advice,
    guard,
    policy,
)


def test_allowed_decision_carries_the_writes_in_order() -> None:
    """A recommendation inside the envelope is allowed, with the serial number before the flag and its last moment."""
    decision = guard().decide(advice(), SOON)
    assert decision.allowed
    assert decision.writes == (TagWrite("A1", "RejectSerialNo", "A1-0001234"), TagWrite("A1", "RejectFlag", True))
    assert decision.write_by == END + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("rec", "now", "code"),
    [
        (advice(value={"flag": False}), SOON, Refusal.NO_EFFECT),
        (advice(value={}), SOON, Refusal.NO_EFFECT),
        (advice(value={"flag": 1}), SOON, Refusal.NO_EFFECT),
        (advice(), END + timedelta(seconds=30.001), Refusal.LATE),
        (advice(valid_until=END + timedelta(seconds=5)), END + timedelta(seconds=5.001), Refusal.LATE),
        (advice(window_end=END.replace(tzinfo=None)), SOON, Refusal.LATE),
        (advice(), SOON.replace(tzinfo=None), Refusal.LATE),
        (advice(), END - timedelta(seconds=31), Refusal.FUTURE),
        (advice(quality=0.49), SOON, Refusal.QUALITY),
        (advice(quality=float("nan")), SOON, Refusal.QUALITY),
        (advice(equipment_id="A2"), SOON, Refusal.UNBOUND),
        (advice(task="other"), SOON, Refusal.UNBOUND),
        (advice(value={"flag": True}), SOON, Refusal.PLAN),
        (advice(value={"flag": True, "serial_no": ""}), SOON, Refusal.PLAN),
        (advice(value={"flag": True, "serial_no": ({"a": 1},)}), SOON, Refusal.PLAN),
        (advice(value={"flag": True, "serial_no": 7}), SOON, Refusal.DATA_TYPE),
        (advice(value={"flag": True, "serial_no": "x" * 257}), SOON, Refusal.RANGE),
        (advice(value={"flag": True, "serial_no": "A1\n0"}), SOON, Refusal.RANGE),
    ],
)
def test_refusals_by_recommendation(rec: Recommendation, now: datetime, code: Refusal) -> None:
    """What is late, poor, empty, unbound or of the wrong type is refused with its code and writes nothing."""
    made = guard()
    decision = made.decide(rec, now)
    assert (decision.allowed, decision.reason, decision.writes) == (False, code, ())
    assert decision.refused is not None
    assert decision.refused.text
    assert made.counts == {code.value: 1}


def test_deadline_is_inclusive_and_late_answers_are_counted() -> None:
    """At window_end + deadline a write is still allowed, a moment later it never is, and each one counts."""
    made = guard()
    assert made.decide(advice("a"), END + timedelta(seconds=30)).allowed
    for key in ("b", "c"):
        assert made.decide(advice(key), END + timedelta(seconds=31)).reason is Refusal.LATE
    assert made.counts[Refusal.LATE.value] == 2


@pytest.mark.parametrize(
    ("mode", "demoted", "code"),
    [
        (Mode.OFF, False, Refusal.MODE),
        (Mode.SHADOW, False, Refusal.MODE),
        (Mode.ADVISORY, False, Refusal.MODE),
        (Mode.CONFIRM, False, Refusal.OPERATOR),
        (Mode.CLOSED_LOOP, False, None),
        (Mode.CONFIRM, True, Refusal.DEMOTED),
        (Mode.CLOSED_LOOP, True, Refusal.DEMOTED),
    ],
)
def test_only_closed_loop_writes_at_once(mode: Mode, demoted: bool, code: Refusal | None) -> None:
    """Of all modes only closed_loop writes without an answer, and the plant-wide switch stops that too."""
    made = guard(mode=mode)
    made.demote(demoted)
    assert made.decide(advice(), SOON).reason is code


def test_confirm_waits_for_the_operator() -> None:
    """In confirm mode nothing is written until accept, once, and the checks run again then."""
    made = guard(mode=Mode.CONFIRM)
    assert made.decide(advice(), SOON).writes == ()
    accepted = made.accept("k1", SOON)
    assert accepted is not None
    assert accepted.writes
    assert made.accept("k1", SOON) is None
    made.decide(advice("k2", value={"flag": True, "serial_no": "A1-2"}), SOON)
    late = made.accept("k2", END + timedelta(minutes=5))
    assert late is not None
    assert late.reason is Refusal.LATE


def test_demotion_drops_what_waits_for_the_operator() -> None:
    """After the plant-wide switch was thrown an old proposal cannot be accepted, not even once it is back."""
    made = guard(mode=Mode.CONFIRM)
    made.decide(advice(), SOON)
    made.demote(True)
    made.demote(False)
    assert made.accept("k1", SOON) is None


def test_newer_proposal_replaces_the_waiting_one() -> None:
    """One proposal per task and machine waits for the operator: the newest."""
    made = guard(mode=Mode.CONFIRM)
    made.decide(advice("old"), SOON)
    made.decide(advice("new"), SOON)
    assert made.accept("old", SOON) is None
    assert made.accept("new", SOON) is not None


def test_one_effect_per_key() -> None:
    """The same key is written once, however often it is delivered."""
    made = guard()
    assert made.decide(advice(), SOON).allowed
    assert made.decide(advice(), SOON).reason is Refusal.DUPLICATE


def test_unanswered_request_is_not_repeated() -> None:
    """The same request under a new key waits until the plant has answered the first, or its bound has passed."""
    made = guard(acknowledge_within_s=20.0)
    first = made.decide(advice("a"), SOON)
    assert made.decide(advice("b"), SOON).reason is Refusal.STANDING
    made.settle(first)
    assert made.decide(advice("c"), SOON).allowed
    assert made.decide(advice("d"), SOON + timedelta(seconds=21)).allowed


def test_rate_is_bounded_per_minute_of_plant_time() -> None:
    """Two a minute means a third one waits for the first to be a minute old."""
    rule = REJECT.model_copy(update={"rate_per_min": 2.0})
    made = guard(rule, deadline_s=300.0)

    def reject(n: int, after_s: float) -> Decision:
        value = {"flag": True, "serial_no": f"A1-{n}"}
        rec = advice(f"k{n}", value=value, valid_until=END + timedelta(hours=1))
        return made.decide(rec, END + timedelta(seconds=after_s))

    assert [reject(1, 0).allowed, reject(2, 10).allowed] == [True, True]
    assert reject(3, 20).reason is Refusal.RATE
    assert reject(4, 60).allowed
    assert reject(5, 61).reason is Refusal.RATE


def test_slow_rate_spans_more_than_a_minute() -> None:
    """A rate below one a minute is one write per its own, longer span."""
    made = guard(REJECT.model_copy(update={"rate_per_min": 0.5}), deadline_s=300.0)
    valid = END + timedelta(hours=1)
    assert made.decide(advice("a", valid_until=valid), END).allowed
    other = {"flag": True, "serial_no": "A1-2"}
    assert made.decide(advice("b", value=other, valid_until=valid), END + timedelta(seconds=119)).reason is Refusal.RATE
    assert made.decide(advice("c", value=other, valid_until=valid), END + timedelta(seconds=120)).allowed


def test_equipment_that_comes_up_later_is_bound_then() -> None:
    """A machine is refused until a policy names it; binding again keeps what was remembered."""
    made = guard()
    assert made.decide(advice(), SOON).allowed
    assert made.decide(advice("k2", equipment_id="A2"), SOON).reason is Refusal.UNBOUND
    made.bind(policy(REJECT, equipment_ids=frozenset({"A1", "A2"})))
    made.allow(Target("A2", "RejectSerialNo", "String"))
    made.allow(Target("A2", "RejectFlag", "Boolean"))
    assert made.decide(advice("k2", equipment_id="A2"), SOON).allowed
    assert made.decide(advice(), SOON).reason is Refusal.DUPLICATE


def test_a_silent_plc_is_not_written_to() -> None:
    """While the heartbeat of the equipment stands still each write to it is refused, and the reason names the cause."""
    why = {"A1": "the PLC is silent: A1.Heartbeat has stood still for over 12 s"}
    judge = Guard([policy(REJECT)], silent=lambda equipment_id: why.get(equipment_id, ""))
    for to in REJECT_TARGETS:
        judge.allow(to)
    refused = judge.decide(advice(), SOON).refused
    assert refused is not None
    assert (refused.code, refused.text) == (Refusal.SILENT, why["A1"])
    why.clear()
    assert judge.decide(advice(), SOON).allowed


def test_binding_a_task_twice_is_an_error() -> None:
    """Two policies for one task would leave it open which holds; the guard refuses to start."""
    with pytest.raises(ValueError, match="task 't' has two policies"):
        Guard([policy(REJECT), policy(SPEED)])
