"""Several versions of one task in one worker: who answers, who is only recorded, who is taken back."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from lineside_plugins import Kind, TrainedModel
from lineside_plugins.types import Recommendation
from lineside_plugins.wire import BatchResult, Refusal, Status, decode_result, encode_result
from lineside_workers.__main__ import main
from lineside_workers.errors import ModelError
from lineside_workers.hosting.candidate_watch import CandidateWatch
from lineside_workers.hosting.staged import Staged
from lineside_workers.models import promotion
from lineside_workers.models.store import ModelStore, Origin
from lineside_workers.models.versions import Limits, Stage, Versions
from lineside_workers.requests.figures import Figures
from lineside_workers.supervision.metrics import WorkerCollector
from lineside_workers.watching.side_by_side import Pair, SideBySide, rows


@pytest.fixture
def versions(tiny: str, tmp_path: Path, tiny_model: TrainedModel) -> Versions:
    """Versions of the tiny task whose scale is their number."""
    made = Versions(ModelStore(tmp_path / "models"), tiny)
    for number in (1, 2, 3):
        scale = np.array([number], dtype=np.float32)
        model = replace(tiny_model, config={"scale": float(number)}, tensors={"scale": scale})
        made.add(model, f"v{number}", Origin())
    return made


def staged(versions: Versions) -> Staged:
    made = Staged(versions.task, {}, device="cpu", store=versions.store)
    made.load()
    return made


def means(result) -> list[tuple[str, float]]:
    return [(r.model_version, r.value["mean"]) for r in result.recommendations]


def test_each_stage_has_its_say(versions: Versions, make_batch) -> None:
    """Full answers, canary answers for its equipment alone, shadow stands beside and survives the wire."""
    versions.promote("v1", Stage.FULL)
    worker = staged(versions)
    assert means(worker.answer(make_batch(1.0, 1.0))) == [("v1", 1.0), ("v1", 1.0)]
    versions.promote("v2", Stage.CANARY, equipment=("M1",), skip=True)
    versions.promote("v3", Stage.SHADOW)
    result = decode_result(encode_result(worker.answer(make_batch(1.0, 1.0))))
    assert means(result) == [("v1", 1.0), ("v2", 2.0)]
    assert result.meta["canary"] == "v2"
    assert [(r.model_version, r.equipment_id, r.value["mean"]) for r in result.shadow] == [
        ("v3", "M0", 3.0), ("v3", "M1", 3.0),
    ]  # fmt: skip


def test_a_promotion_and_a_rollback_reach_a_running_worker(versions: Versions, make_batch) -> None:
    """What `lineside models` changes holds from the next batch on, without a restart."""
    versions.promote("v1", Stage.FULL)
    worker = staged(versions)
    versions.promote("v3", Stage.FULL, skip=True)
    assert means(worker.answer(make_batch(1.0))) == [("v3", 3.0)]
    assert worker.model_version == "v3"
    versions.rollback("worse")
    assert means(worker.answer(make_batch(1.0))) == [("v1", 1.0)]


def test_a_first_version_may_begin_in_shadow(versions: Versions, tiny_site: Path, make_batch) -> None:
    """Where nothing is in full and nothing ships, shadow is recorded and nobody answers."""
    shutil.rmtree(tiny_site / "tiny_task" / "weights")
    with pytest.raises(ModelError, match="ships no weights"):
        staged(versions)
    versions.promote("v1", Stage.SHADOW)
    result = staged(versions).answer(make_batch(1.0))
    assert result.recommendations == (None,)
    assert [r.model_version for r in result.shadow] == ["v1"]


@pytest.mark.parametrize(("scale", "cause"), [(float("nan"), "errors"), (4.0, "drift")])
def test_a_version_that_breaks_its_limits_is_taken_back(
    versions: Versions, tiny_model: TrainedModel, make_batch, scale: float, cause: str
) -> None:
    """A canary that errs, or flags what full does not, goes by itself; full answers on, the cause is in the history."""
    bad = replace(tiny_model, tensors={"scale": np.array([scale], dtype=np.float32)})
    versions.add(bad, "bad", Origin())
    versions.promote("v1", Stage.FULL)
    versions.promote("bad", Stage.CANARY, equipment=("M0",), skip=True)
    worker = staged(versions)
    for _ in range(40):
        result = worker.answer(make_batch(0.3, 0.3))  # below the threshold for v1, above it for four times as much
    assert {version for version, _ in means(result)} == {"v1"}
    step = versions.rollout().history[-1]
    assert (step.action, step.version, step.by) == ("rolled back", "bad", "worker")
    assert step.cause.startswith(cause)


def test_a_slow_version_has_to_go() -> None:
    """Latency beyond the floor and the ratio to the version in full is a cause of its own."""
    answered = BatchResult(Status.ANSWERED, (None,) * 16)
    watch = CandidateWatch(Limits(), "flag")
    assert [watch.see(answered, 0.19, answered, 0.01, 16) for _ in range(4)] == ["", "", "", ""]
    watch = CandidateWatch(Limits(), "flag")
    said = [watch.see(answered, 0.3, answered, 0.01, 16) for _ in range(2)]
    assert said[0] == ""
    assert said[1].startswith("latency: 300 ms a batch, at most 200")


def test_the_version_in_full_goes_back_to_the_one_before_when_it_errs(
    versions: Versions, tiny_model: TrainedModel, make_batch
) -> None:
    """Answers that break the contract cost the version in full its place, with the cause in the history."""
    versions.add(replace(tiny_model, tensors={"scale": np.array([np.nan], dtype=np.float32)}), "bad", Origin())
    versions.promote("v1", Stage.FULL)
    versions.promote("bad", Stage.FULL, skip=True)
    worker = staged(versions)
    for _ in range(20):
        result = worker.answer(make_batch(1.0, 1.0))
    assert means(result) == [("v1", 1.0), ("v1", 1.0)]
    step = versions.rollout().history[-1]
    assert (step.version, step.stage, step.by) == ("bad", "full", "worker")
    assert step.cause.startswith("errors")


def test_windows_too_poor_for_any_model_take_no_version_back(versions: Versions, make_batch) -> None:
    """A plant that sends nothing is not the model's fault: every version keeps its stage."""
    versions.promote("v1", Stage.FULL)
    versions.promote("v2", Stage.CANARY, equipment=("M0",), skip=True)
    worker = staged(versions)
    batch = make_batch(1.0, 1.0)
    empty = replace(batch, values=np.full_like(batch.values, np.nan), good=np.zeros_like(batch.good))
    for _ in range(40):
        assert len(worker.answer(empty).refused) == 2
    assert (versions.rollout().full, versions.rollout().canary) == ("v1", "v2")


def test_a_version_that_answers_where_full_abstains_stays() -> None:
    """To abstain less is what retraining is for; to abstain much more is a cause to go."""
    quiet = BatchResult(Status.ANSWERED, (None,) * 4, tuple(Refusal(i, "strange", abstained=True) for i in range(4)))
    loud = BatchResult(Status.ANSWERED, (None,) * 4)
    assert {CandidateWatch(Limits(min_windows=4), "flag").see(loud, 0.0, quiet, 0.0, 4)} == {""}
    assert CandidateWatch(Limits(min_windows=4), "flag").see(quiet, 0.0, loud, 0.0, 4).startswith("drift: abstains")


def test_a_version_in_shadow_is_compared_live_before_it_may_go_on(
    versions: Versions, make_batch, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`models show` tells machine by machine how far it stands apart; until enough windows were seen it stays there."""
    monkeypatch.setattr("lineside_workers.hosting.staged.TOLD_EVERY_S", 0.0)
    root = ["--models", str(versions.store.root)]
    versions.promote("v1", Stage.FULL)
    assert main(["models", "promote", "v3", "--to", "shadow", *root]) == 0
    go_on = ["models", "promote", "v3", "--to", "canary", "--equipment", "M0", *root]
    assert main(go_on) == 2
    assert "v3 has not been asked by any worker in shadow, and 30 are needed" in capsys.readouterr().err
    worker = staged(versions)
    worker.answer(make_batch(1.0, 1.0))
    assert main(go_on) == 2
    assert "was asked about 2 windows in shadow" in capsys.readouterr().err
    for _ in range(14):
        worker.answer(make_batch(1.0, 1.0))
    assert main(["models", "show", "v3", *root]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"M1 +15 +15 .*2\.000 / 2\.000", shown)
    assert re.search(r"all +30 +30 ", shown)
    told = {s.name: s.value for family in WorkerCollector(Figures(), dict, lambda: by_task(worker)).collect()
            for s in family.samples if s.labels.get("side", "own") == "own"}  # fmt: skip
    assert (told["lineside_version_windows_total"], told["lineside_version_apart_total"]) == (30, 60)
    assert main(go_on) == 0
    assert promotion.seen(versions, "v3") == {}


def by_task(worker: Staged) -> dict[tuple[str, str, str], Pair]:
    return {(worker.task, version, stage): pair for (version, stage), pair in worker.compared().items()}


def test_a_comparison_counts_silence_flags_intervals_and_distance() -> None:
    """Numbers are compared where both answered; who abstained, flagged or gave wide intervals is counted each."""
    now = datetime(2026, 1, 5, tzinfo=UTC)

    def rec(value: float, *, flag: bool, width: float) -> Recommendation:
        return Recommendation(
            task="t", kind=Kind.MAINTENANCE, equipment_id="M1", value={"flag": flag, "p": value}, confidence=0.5,
            interval=(value, value + width), reasons=(), window_end=now, valid_until=now, model="m", model_version="1",
            key="k", quality=1.0,
        )  # fmt: skip

    beside = SideBySide("flag")
    own = BatchResult(Status.ANSWERED, (rec(0.5, flag=True, width=0.2), None), refused=(Refusal(1, "strange", True),))
    full = BatchResult(Status.ANSWERED, (rec(0.2, flag=False, width=0.4), rec(0.2, flag=False, width=0.4)))
    beside.see(("M1", "M1"), own, 0.01, full, 0.02)
    pair = beside.pairs["M1"]
    assert (pair.windows, pair.both, pair.flags_differ, pair.apart) == (2, 1, 1, pytest.approx(0.3))
    assert (pair.own.abstained, pair.other.abstained, pair.own.flags, pair.other.flags) == (1, 0, 1, 0)
    (row,) = rows(beside.pairs, "new", "old")
    assert (row["interval width"], row["ms a window"]) == ("0.2 / 0.4", "5.00 / 10.00")
