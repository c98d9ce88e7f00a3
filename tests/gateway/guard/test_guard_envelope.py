"""The envelope of what may be written: type, range, step, and attempts nobody thought of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside_gateway.guard import (
    Guard,
    Refusal,
    TagWrite,
    Target,
    target,
)
from lineside_gateway.settings.model import Limit, Mode, WriteSettings
from tests.gateway.guard.attempts import (
    END,
    REJECT,
    REJECT_TARGETS,
    SOON,
    SPEED,
    advice,
    policy,
    speed_guard,
)


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
