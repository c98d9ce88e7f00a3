from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from lineside_plugins import Abstention, Advice, ContractError, DataType, Kind, OutputField, Outputs, Reason
from lineside_plugins.enforcement import AdviceCheck, RefusedError, check_advice
from lineside_plugins.wire import Status
from lineside_workers.errors import DeviceError, ModelError
from lineside_workers.hosting.device import choose
from lineside_workers.hosting.runner import Runner
from lineside_workers.hosting.stamp import Stamp


@pytest.fixture
def runner(tiny: str):
    r = Runner(tiny, device="cpu")
    r.load()
    yield r
    r.close()


def test_a_recommendation_is_stamped_with_who_when_and_which_model(runner: Runner, make_batch) -> None:
    """Key, validity, quality and model come from the runtime, in event time."""
    (r,) = runner.run(make_batch(1.0, serials=("A1-0000001",)))
    end = datetime(2026, 1, 5, 7, tzinfo=UTC)
    assert (r.value["flag"], r.value["mean"], r.value["serial_no"]) == (True, 2.0, "A1-0000001")
    assert type(r.value["mean"]) is float
    assert (r.window_end, r.valid_until) == (end, end + timedelta(seconds=30))
    assert r.key == "tiny|tiny:1.0|M0|2026-01-05T07:00:00+00:00"
    assert (r.kind, r.model, r.model_version, r.quality) == (Kind.REJECT, "tiny", "1.0", 1.0)


def test_intervals_and_reasons_stay_with_their_window(make_batch) -> None:
    """Where only some windows have them."""
    why = (Reason("Load", 0.7, "high"), Reason("Kurtosis", 0.3, ""))
    said = {
        0: Advice({"flag": False}, 0.5),
        1: Advice({"flag": True}, 0.9, reasons=why),
        2: Advice({"flag": True}, 0.8, interval=(1.0, 2.5), valid_for_s=4.0),
    }
    stamp = Stamp("tiny", Outputs(Kind.REJECT, (OutputField("flag", DataType.BOOLEAN, ""),), flag="flag"), 30.0)
    found = stamp(make_batch(1.0, 2.0, 3.0), said, np.ones(3, np.float32), "tiny", "1.0")
    assert [r.reasons for r in found] == [(), why, ()]
    assert [r.interval for r in found] == [None, None, (1.0, 2.5)]
    assert [(r.valid_until - r.window_end).total_seconds() for r in found] == [30.0, 30.0, 4.0]


def test_one_bad_window_does_not_spoil_the_batch(runner: Runner, make_batch) -> None:
    """A raise, a value out of bounds and silence each cost their own window only, and are counted."""
    result = runner.answer(make_batch(1.0, (-1000,), (-4000,), (-5000,), 0.0))
    assert result.status is Status.ANSWERED
    assert [r is not None for r in result.recommendations] == [True, False, False, False, True]
    assert [r.index for r in result.refused] == [1, 2]
    assert "ValueError: the window is cursed" in result.refused[0].why
    assert "mean is 1e+06; bounds are -100..100" in result.refused[1].why
    assert runner.counts == {"recommended": 2, "refused": 2, "silent": 1}


def test_a_poor_window_is_refused_before_the_task_sees_it(runner: Runner, make_batch) -> None:
    """Below min_good there is no recommendation; an optional channel does not count."""
    batch = make_batch(1.0, (math.nan,) * 8, 1.0)
    batch.good[2, :, 1] = False
    result = runner.answer(batch)
    assert [r is not None for r in result.recommendations] == [True, False, True]
    assert "only 0% of the window is Good; it needs 10%" in result.refused[0].why
    assert result.recommendations[2].quality == 1.0


def test_a_batch_for_another_version_of_the_task_fails_as_a_whole(runner: Runner, make_batch) -> None:
    """Other channels, another length or period are one sentence, not wrong numbers."""
    batch = make_batch(1.0)
    result = runner.answer(dataclasses.replace(batch, tags=("Load", "Other")))
    assert result.status is Status.FAILED
    assert "install the same version" in result.error
    assert "period of 2.0 s" in runner.answer(dataclasses.replace(batch, period_s=2.0)).error
    with pytest.raises(ContractError, match="samples of"):
        runner.run(dataclasses.replace(batch, values=batch.values[:, 1:], good=batch.good[:, 1:]))


def test_a_wrong_number_of_entries_fails_the_batch(tiny: str, make_batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody guesses which entry belongs to which window."""
    r = Runner(tiny, device="cpu")
    r.load()
    from tiny_task.task import TinyTask

    monkeypatch.setattr(TinyTask, "recommend", lambda _self, _batch: [None])
    assert "returned 1 entries for 2 windows" in r.answer(make_batch(1.0, 1.0)).error


def test_config_reaches_the_task(tiny: str, make_batch) -> None:
    """The binding's configuration decides, not the default."""
    r = Runner(tiny, {"threshold": 50.0}, device="cpu")
    r.load()
    assert r.run(make_batch(1.0))[0].value["flag"] is False


def test_a_corrupt_model_stops_the_load(tiny: str, tiny_site: Path) -> None:
    """A runner never starts on a model that does not verify."""
    path = tiny_site / "tiny_task" / "weights" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ModelError, match=r"model\.safetensors was changed"):
        Runner(tiny, device="cpu").load()


def test_devices_are_chosen_or_refused_in_a_sentence() -> None:
    """auto always finds one; a device that is not here is named with its remedy."""
    assert choose("auto") == "cpu" or choose("auto").startswith("cuda:")
    with pytest.raises(DeviceError, match="'cuda:77' is not here"):
        choose("cuda:77")
    with pytest.raises(DeviceError, match="'gpu' is unknown"):
        choose("gpu")


OUTPUTS = Outputs(
    Kind.SCHEDULE,
    (
        OutputField("flag", DataType.BOOLEAN, ""),
        OutputField("count", DataType.INT32, ""),
        OutputField("share", DataType.DOUBLE, "", low=0.0, high=1.0),
        OutputField("text", DataType.STRING, ""),
        OutputField("at", DataType.DATE_TIME, ""),
        OutputField("rows", DataType.RECORDS, ""),
    ),
    flag="flag",
)
GOOD = {"flag": True, "count": 3, "share": 1, "text": "t", "at": "2026-01-05T07:00:00+00:00", "rows": ({"a": 1},)}


def test_numpy_scalars_and_lists_become_plain_values() -> None:
    """A task may answer in numpy; what travels is plain Python."""
    value = {
        **GOOD,
        "flag": np.bool_(True),
        "count": np.int64(3),
        "share": np.float32(0.5),
        "rows": [{"a": np.int32(1)}],
    }
    advice = check_advice(Advice(value, confidence=np.float32(0.5), interval=(0, 1)), OUTPUTS)
    assert advice.value == {**GOOD, "share": 0.5}
    assert [type(v) for v in advice.value.values()] == [bool, int, float, str, str, tuple]
    assert check_advice(Advice({**GOOD, "at": None, "share": None}, 0.5), OUTPUTS).value["at"] is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"flag": 1}, "'flag' is int '1'; declared Boolean"),
        ({"flag": None}, "flag 'flag' is None"),
        ({"count": True}, "'count' is bool"),
        ({"count": 2**31}, "bounds are"),
        ({"count": 1.0}, "declared Int32"),
        ({"share": math.nan}, "share is nan; expected a finite"),
        ({"share": 1.01}, r"share is 1.01; bounds are 0..1"),
        ({"share": "1"}, "declared Double"),
        ({"text": b"x"}, "declared String"),
        ({"at": "yesterday"}, "ISO 8601"),
        ({"at": "2026-01-05T07:00:00"}, "without a time zone"),
        ({"rows": ({"a": [1]},)}, "'rows.a' is list"),
        ({"rows": (1,)}, "a row of 'rows' is int"),
        ({"other": 1}, "undeclared 'other'"),
    ],
)
def test_every_broken_value_is_refused_by_name_and_bound(change: dict[str, object], why: str) -> None:
    """Each rule of the contract has its sentence."""
    with pytest.raises(RefusedError, match=why):
        check_advice(Advice({**GOOD, **change}, 0.5), OUTPUTS)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"confidence": 1.5}, "confidence is 1.5"),
        ({"confidence": math.nan}, "confidence is nan"),
        ({"confidence": None}, "confidence is NoneType"),
        ({"interval": (2.0, 1.0)}, "runs backwards"),
        ({"interval": (0.0, math.inf)}, "interval is inf"),
        ({"valid_for_s": 0.0}, "more than 0"),
    ],
)
def test_confidence_interval_and_validity_are_checked(fields: dict[str, object], why: str) -> None:
    """Numbers beside the value are bounded too."""
    with pytest.raises(RefusedError, match=why):
        check_advice(Advice(**{"value": GOOD, "confidence": 0.5, **fields}), OUTPUTS)


def test_a_missing_field_and_a_wrong_type_are_refused() -> None:
    """An advice has every declared field and is an Advice."""
    with pytest.raises(RefusedError, match="lacks 'rows'"):
        check_advice(Advice({k: v for k, v in GOOD.items() if k != "rows"}, 0.5), OUTPUTS)
    with pytest.raises(RefusedError, match="returned dict"):
        check_advice({}, OUTPUTS)
    for value, name in ((["flag"] * len(GOOD), "list"), (None, "NoneType"), (0.5, "float")):
        with pytest.raises(RefusedError, match=f"the value is a {name}; expected a dict of flag"):
            check_advice(Advice(value, 0.5), OUTPUTS)


PLAIN = Outputs(
    Kind.REJECT,
    (OutputField("flag", DataType.BOOLEAN, ""), OutputField("share", DataType.DOUBLE, "", low=0.0, high=1.0)),
    flag="flag",
)


@pytest.mark.parametrize(
    "odd",
    [
        Advice({"flag": True, "share": math.nan}, 0.5),
        Advice({"flag": True, "share": 1.5}, 0.5),
        Advice({"flag": True, "share": np.float32(0.5)}, 0.5),
        Advice({"flag": 1, "share": 0.5}, 0.5),
        Advice({"flag": True, "share": 0.5, "more": 1.0}, 0.5),
        Advice({"flag": True, "other": 0.5}, 0.5),
        Advice({"flag": True, "share": 0.5}, math.nan),
        Advice([True, 0.5], 0.5),
        Advice(None, 0.5),
        Advice({"flag": True, "share": 0.5}, 0.5, valid_for_s=-1.0),
        Abstention("strange"),
        None,
    ],
)
def test_a_batch_is_let_through_as_a_whole_only_where_each_advice_is_plain(odd: object) -> None:
    """One advice that needs a closer look sends all of them there, wherever it stands."""
    good = Advice({"flag": True, "share": 0.5}, 0.5)
    check = AdviceCheck(PLAIN)
    assert check.all_plain([good, good])
    for batch in ([odd, good], [good, odd, good], [good, good, odd]):
        assert not check.all_plain(batch)
