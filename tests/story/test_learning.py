"""From recorded tags to a version of a model, command by command, and each command's answer to bad input."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from lineside_gateway.recording import Archive, Recorder
from lineside_plugins import WindowBatch, recorded
from lineside_plugins.tasks.condition.config import TAGS, ConditionConfig
from lineside_plugins.testing import Outcome, check_task
from lineside_plugins.wire import BatchResult
from lineside_trials import record
from lineside_workers.__main__ import main
from lineside_workers.commands.retrain import abstained_share
from lineside_workers.condition import pretraining, windows
from lineside_workers.condition.run import Recipe
from lineside_workers.hosting.runner import Runner
from lineside_workers.models.store import ModelStore
from lineside_workers.models.versions import Stage, Versions
from lineside_workers.recorded import reading, splitting

pytestmark = pytest.mark.xdist_group("story")
Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return lambda: capsys.readouterr().err


def test_the_recording_passes_its_quality_report(recording: Path, labels: Path) -> None:
    """RefPlant's tags have their units, no gaps and no leaks: exit code 0."""
    assert (
        main(["data", "report", str(recording), "--labels", str(labels), "--out", str(labels.parent / "q.html")]) == 0
    )


def test_a_candidate_comes_out_and_beats_the_naive_rule(models: Path, encoder: Path) -> None:
    """Fine-tuning saves a signed candidate; trees and the naive rule are in its table, and what ships has won."""
    versions = Versions(ModelStore(models), "condition")
    assert versions.names() == ["week-1"]
    model = ModelStore(models).load(versions.folder("week-1"))
    losses = model.metrics["errors"]
    assert {"naive", "trees", "network_pretrained"} <= set(losses)
    assert losses[model.metrics["winner"]] == min(losses.values()) < losses["naive"]
    assert model.metrics["units"] == json.loads((encoder / "encoder.json").read_text())["split"]
    assert versions.rollout().stage_of("week-1") == "candidate"


def test_a_version_is_measured_on_units_it_has_not_seen(
    recording: Path, labels: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures with intervals, hours of warning and a page with plots, of the test unit alone."""
    folder, page = models / "condition" / "week-1", models.parent / "week-1.html"
    args = ["evaluate-model", "condition", "--recordings", str(recording), "--model", str(folder), "--out", str(page)]
    assert main([*args, "--labels", str(labels)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"auroc +0\.\d+ +", said)
    assert "events foreseen" in said
    (test,) = ModelStore().load(folder).metrics["units"]["test"]
    assert f"neither trained nor chose it: {test}." in page.read_text()
    assert page.read_text().count("data:image/png;base64,") == 6
    assert main(args) == 2
    assert "give --labels" in capsys.readouterr().err


def test_it_abstains_on_a_sensor_gone_astray_and_names_it(recording: Path, models: Path) -> None:
    """Recorded windows are answered; the same windows with one tag far beyond what was learned from are not."""
    found = reading.read(recording)
    _, cells = reading.grid(found, "plant-1/A1", list(TAGS), 600.0)
    runner = Runner("condition", {}, models / "condition" / "week-1", "cpu", store=ModelStore(models))
    runner.load()
    whole = np.stack([cells[i : i + 72] for i in range(0, 240, 24)])
    astray = whole.copy()
    astray[:, :, 0] *= 40.0

    def ask(values: np.ndarray) -> BatchResult:
        ends = np.datetime64("2026-01-05T12:00:00", "us") + np.arange(len(values)) * np.timedelta64(600, "s")
        names = ("A1",) * len(values)
        return runner.answer(WindowBatch(names, tuple(TAGS), values, np.isfinite(values), ends, 600.0))

    assert sum(r is not None for r in ask(whole).recommendations) >= 9
    refused = ask(astray).refused
    assert sum(r.abstained and "VibRms is unlike anything learned from" in r.why for r in refused) >= 8
    assert [d.tag for d in ask(astray).drift if d.equipment_id == "A1"] == ["VibRms"]


def test_an_interrupted_pretraining_goes_on_as_if_it_had_not_been(recording: Path, tmp_path: Path) -> None:
    """Stopped after two epochs and started again, it ends with the same weights."""

    data = windows.rows(reading.read(recording), ConditionConfig())
    split = splitting.propose(dict.fromkeys(set(data.unit.tolist()), 1), 0)

    def run(out: str, say: Callable[[str], None] = lambda _: None) -> pretraining.Pretrained:
        means = pretraining.Means(tmp_path / out, Recipe(epochs=4))
        return pretraining.pretrain(data, ConditionConfig(), split, means, say)

    def stop(text: str) -> None:
        if text.startswith("epoch 2"):
            raise KeyboardInterrupt

    told: list[str] = []
    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("parts", stop)
    parts = run("parts", told.append)
    assert told[0] == "going on after epoch 2"
    assert parts.losses == whole.losses
    for one, other in zip(whole.encoder.state_dict().values(), parts.encoder.state_dict().values(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy())
    assert (tmp_path / "parts" / "curves.csv").read_text().count("\n") == 5


def test_every_bad_input_is_one_sentence_with_the_next_step(
    recording: Path, labels: Path, encoder: Path, tmp_path: Path, said: Said
) -> None:
    """Wrong units, empty labels, a leaked split and a missing encoder end with code 2 and what to do."""
    rec, enc = str(recording), str(encoder)
    assert main(["pretrain", rec, "--tags", "VibRms [in/s]", "--out", str(tmp_path / "e")]) == 2
    assert "recorded in 'mm/s', the model expects 'in/s'" in said()
    empty = tmp_path / "empty.csv"
    empty.write_text("equipment_id,start,end,label\n")
    tune = ["finetune", rec, "--models", str(tmp_path / "m"), "--encoder"]
    assert main([*tune, enc, "--labels", str(empty)]) == 2
    assert "is empty; make some: lineside label" in said()
    used = json.loads((encoder / "encoder.json").read_text())["split"]
    leaked = tmp_path / "split.json"
    leaked.write_text(json.dumps({**used, "test": used["train"][:1], "train": used["test"]}))
    assert main([*tune, enc, "--labels", str(labels), "--split", str(leaked)]) == 2
    assert "the encoder was pretrained with it" in said()
    assert main([*tune, str(tmp_path), "--labels", str(labels)]) == 2
    assert "make one: lineside pretrain" in said()
    assert main(["label", rec, "--kind", "strike", "--out", str(tmp_path / "l.csv")]) == 2
    assert "no event of kind strike" in said()


def test_recording_names_what_it_cannot_do(tmp_path: Path, said: Said) -> None:
    """A drift of a tag that is not there, or a folder that holds a recording, ends with code 2."""
    assert record.main(["--drift", "A1:Colour:2", "--out", str(tmp_path)]) == 2
    assert "A1.Colour" in said()
    (tmp_path / "day=2026-01-05").mkdir()
    assert record.main(["--hours", "6", "--out", str(tmp_path)]) == 2
    assert "--append" in said()


def test_the_trained_task_keeps_the_contract(recording: Path, models: Path) -> None:
    """Every conformance check passes with a trained model, on synthetic and on recorded windows."""
    model = ModelStore(models).load(models / "condition" / "week-1")
    _, cells = reading.grid(reading.read(recording), "plant-1/A1", list(TAGS), 600.0)
    values = np.stack([cells[i : i + 72] for i in range(0, 200, 40)])
    ends = np.datetime64("2026-01-05T12:00:00", "us") + np.arange(len(values)) * np.timedelta64(600, "s")
    names = tuple(f"E{i}" for i in range(len(values)))
    empty = ({},) * len(values)
    batch = WindowBatch(names, tuple(TAGS), values, np.isfinite(values), ends, 600.0, empty, empty)
    results = [*check_task("condition", model), *check_task("condition", model, batch=batch)]
    assert [(r.name, r.detail) for r in results if r.outcome is not Outcome.PASSED] == []


def test_retraining_waits_for_a_reason_and_ends_in_shadow(
    recording: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Age, drift and new events are each a reason by themselves; without one nothing is trained."""
    copy, now = tmp_path / "models", tmp_path / "recorded"
    shutil.copytree(models, copy)
    shutil.copytree(recording, now)
    versions = Versions(ModelStore(copy), "condition")
    versions.promote("week-1", Stage.FULL)
    args = ["retrain", str(now), "--models", str(copy), "--work", str(tmp_path / "work"), "--epochs", "2"]
    args += ["--trials", "0"]

    def told(*more: str) -> str:
        assert main([*args, *more]) == 0
        return capsys.readouterr().out

    for when in ("schedule", "drift", "labels", "schedule,drift,labels"):
        assert "nothing to do" in told("--when", when)
    assert versions.names() == ["week-1"]
    assert main([*args, "--when", "full moon"]) == 2
    assert "expected one or more of always, schedule, drift, labels" in capsys.readouterr().err
    assert "is 0.0 h old" in told("--when", "schedule", "--every-h", "0", "--dry-run")
    assert "would retrain: 0 events more" in told("--when", "labels", "--min-labels", "0", "--dry-run")
    abstain(next(now.glob("plant-*")))
    assert "would retrain: 100.0% of the newest day's windows" in told("--when", "drift", "--dry-run")
    assert ": 100.0% of the newest" in told("--when", "schedule,drift,labels")
    rollout = versions.rollout()
    assert (rollout.full, len(rollout.shadow)) == ("week-1", 1)


def abstain(recording: Path) -> None:
    """Add ten windows of A1 from which the gateway's worker abstained."""
    recorder = Recorder(Archive(recording))
    begin = round(datetime(2026, 1, 8, tzinfo=UTC).timestamp() * 1e6)
    for i in range(10):
        row = {"task": "condition", "stage": "abstained", "cause": "A1.VibRms shows 2.2 times"}
        recorder.row(recorded.RECOMMENDATIONS, begin + 600_000_000 * i, "A1", "condition", row)
    recorder.write(recorder.take(), last=True)


def test_abstentions_of_the_newest_day_are_drift() -> None:
    """The share counts what answered or abstained on the newest day, not what stood in shadow or lay before."""
    day = [("2026-01-05T01:00:00+00:00", "abstained")] * 9
    day += [("2026-01-08T01:00:00+00:00", s) for s in ("full", "full", "abstained", "canary", "shadow")]
    rows = tuple({"time": t, "stage": s, "task": "condition", "equipment_id": "A1"} for t, s in day)
    found = reading.Recorded(Path(), {}, recommendations=rows)
    assert abstained_share(found) == 0.25
