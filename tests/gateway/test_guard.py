"""The guard, table by table, and against attempts nobody thought of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside_gateway.guard import (
    Decision,
    Guard,
    JobOrderNow,
    JobOrderUpdate,
    Policy,
    Refusal,
    TagWrite,
    Target,
    target,
)
from lineside_gateway.guard.effects import Acknowledgement, command_id
from lineside_gateway.settings.model import AcknowledgeBy, Limit, Mode, WriteSettings
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


@pytest.mark.parametrize(
    ("to", "speed", "current", "code"),
    [
        (target("A1", "SpeedOverride", "Double", (0.8, 1.15)), 1.15, 1.0, None),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.15)), 1.1500001, 1.0, Refusal.RANGE),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.15), Limit(high=1.05)), 1.1, 1.0, Refusal.RANGE),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.15), Limit(low=0.5)), 0.7, 1.0, Refusal.RANGE),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.15), Limit(low=1.2)), 1.2, 1.0, Refusal.RANGE),
        (target("A1", "SpeedOverride", "Double"), 1.0, 1.0, Refusal.RANGE),
        (target("A1", "SpeedOverride", "Double", None, Limit(low=0.8)), 1.0, 1.0, Refusal.RANGE),
        (target("A1", "SpeedOverride", "Double", None, Limit(low=0.8, high=1.1)), 1.0, 1.0, None),
        (target("A1", "SpeedOverride", "Double", (float("nan"), 2.0)), 1.0, 1.0, Refusal.RANGE),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.2), Limit(step=0.05)), 1.04, 1.0, None),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.2), Limit(step=0.05)), 1.06, 1.0, Refusal.STEP),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.2), Limit(step=0.05)), 1.04, None, Refusal.STEP),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.2), Limit(step=0.05)), 1.04, float("nan"), Refusal.STEP),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.2)), float("nan"), 1.0, Refusal.DATA_TYPE),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.2)), float("inf"), 1.0, Refusal.DATA_TYPE),
        (target("A1", "SpeedOverride", "Double", (0.0, 1.2)), True, 1.0, Refusal.DATA_TYPE),
        (target("A1", "SpeedOverride", "Double", (0.8, 1.2)), "1.0", 1.0, Refusal.DATA_TYPE),
        (target("A1", "SpeedOverride", "Boolean"), 1.0, 1.0, Refusal.DATA_TYPE),
        (target("A1", "SpeedOverride", "Int16", (0, 40_000)), 32_768, 1.0, Refusal.DATA_TYPE),
        (target("A1", "SpeedOverride", "Int16", (0, 40_000)), 1.0, 1.0, Refusal.DATA_TYPE),
        (target("A1", "SpeedOverride", "Int16", (0, 40_000)), 7, 1.0, None),
        (target("A1", "SpeedOverride", "DateTime", (0, 2)), 1.0, 1.0, Refusal.DATA_TYPE),
        (target("A2", "SpeedOverride", "Double", (0.8, 1.2)), 1.0, 1.0, Refusal.TARGET),
        (target("A1", "ToolOffset", "Double", (0.8, 1.2)), 1.0, 1.0, Refusal.TARGET),
    ],
)
def test_envelope_of_a_set_point(to: Target, speed: object, current: float | None, code: Refusal | None) -> None:
    """A number is written only to a listed tag, in its type, between the narrower bounds, within its step."""
    rec = advice(value={"flag": True, "speed": speed})
    assert speed_guard(to, current).decide(rec, SOON).reason is code


def test_one_bad_write_refuses_the_whole() -> None:
    """Of several effects none is written when one is outside its envelope."""
    made = Guard([policy(REJECT, SPEED)])
    for to in (*REJECT_TARGETS, target("A1", "SpeedOverride", "Double", (0.8, 0.9))):
        made.allow(to)
    assert made.decide(advice(), SOON).writes == ()


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


ANYTHING = st.floats() | st.integers() | st.booleans() | st.text(max_size=5) | st.none()
SANE = {
    "speed": st.floats(-2, 2),
    "at_s": st.floats(0, 29),
    "valid_s": st.floats(29, 60),
    "quality": st.floats(0.5, 1),
    "key": st.integers(0, 9),
    "flag": st.just(True),
}
ODD = {
    "speed": st.floats(-12, 12) | ANYTHING,
    "at_s": st.floats(-40, 40) | st.floats(-1e5, 1e5),
    "valid_s": st.floats(-40, 40),
    "quality": st.floats(0, 1) | st.just(float("nan")),
    "key": st.just(0),
    "flag": ANYTHING,
}


@st.composite
def attempt(draw: st.DrawFn) -> dict[str, Any]:
    """Sane in every way but one at most: an attempt that is wrong all over would be refused by any one check."""
    odd = draw(st.sampled_from([None, *ODD]))
    return {name: draw(ODD[name] if name == odd else SANE[name]) for name in SANE}


@settings(max_examples=300, deadline=None)
@given(
    attempts=st.lists(attempt(), min_size=1, max_size=15),
    eu=st.tuples(st.floats(-8, -1), st.floats(1, 8)),
    limit=st.tuples(st.floats(-8, -1), st.floats(1, 8)),
    step=st.floats(0.5, 5),
    rate=st.floats(0.1, 20),
    mode=st.sampled_from([*Mode, Mode.CLOSED_LOOP, Mode.CLOSED_LOOP, Mode.CLOSED_LOOP]),
    demoted=st.booleans(),
)
def test_nothing_outside_the_envelope_ever_passes(
    attempts: list[dict[str, Any]],
    eu: tuple[float, float],
    limit: tuple[float, float],
    step: float,
    rate: float,
    mode: Mode,
    demoted: bool,
) -> None:
    """Whatever is tried, at whatever time: only a fresh, good, new, slow enough value inside all bounds is written."""
    held: list[Any] = [0.0]
    rule = WriteSettings(set={"SpeedOverride": "{speed}"}, rate_per_min=rate)
    made = Guard([policy(rule, mode=mode)], current=lambda _equipment, _tag: held[0])
    made.allow(target("A1", "SpeedOverride", "Double", eu, Limit(low=limit[0], high=limit[1], step=step)))
    made.demote(demoted)
    written: list[tuple[int, datetime]] = []
    for tried in attempts:
        now, valid = END + timedelta(seconds=tried["at_s"]), END + timedelta(seconds=tried["valid_s"])
        value = {"flag": tried["flag"], "speed": tried["speed"]}
        rec = advice(f"k{tried['key']}", value=value, quality=tried["quality"], valid_until=valid)
        decision = made.decide(rec, now)
        if not decision.allowed:
            assert decision.writes == ()
            continue
        (write,) = decision.writes
        assert isinstance(write, TagWrite)
        assert (mode, demoted, tried["flag"]) == (Mode.CLOSED_LOOP, False, True)
        assert type(write.value) in {int, float}
        assert max(eu[0], limit[0]) <= write.value <= min(eu[1], limit[1])
        assert abs(write.value - held[0]) <= step
        assert now <= valid
        assert -30.0 <= tried["at_s"] <= 30.0
        assert tried["quality"] >= 0.5
        assert tried["key"] not in {key for key, _ in written}
        near = [at for _, at in written if abs(now - at) < timedelta(minutes=max(1.0, 1.0 / rate))]
        assert len(near) < max(1, int(rate))
        written.append((tried["key"], now))
        held[0] = write.value
