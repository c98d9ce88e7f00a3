"""Each head of the condition task: fine-tuned on a small recording, its table, and what it says when it is served."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lineside_plugins import WindowBatch
from lineside_plugins.tasks.condition.config import TAGS, ConditionConfig
from lineside_plugins.testing import Outcome, check_task
from lineside_plugins.types import ModelData
from lineside_workers.__main__ import main
from lineside_workers.condition import pretraining
from lineside_workers.errors import WorkerError
from lineside_workers.hosting.runner import Runner
from lineside_workers.models.store import ModelStore
from lineside_workers.models.versions import Stage, Versions
from lineside_workers.recorded import labels, reading

WITHOUT_TORCH = Path(__file__).with_name("without_torch.py")
pytestmark = pytest.mark.xdist_group("heads")
Make = Callable[..., Path]
CANDIDATES = {
    "naive", "trees", "trees_on_embedding", "network_from_scratch", "network_pretrained", "network_head_only",
    "network_lora",
}  # fmt: skip
HEADS: dict[str, tuple[list[str], Mapping[str, object]]] = {
    "regression": (["--unit", "h", "--alarm-below", "8"], {"unit": "h"}),
    "quantiles": (["--unit", "h", "--quantiles", "0.1,0.5,0.9"], {"unit": "h", "quantiles": [0.1, 0.5, 0.9]}),
    "forecasting": (
        ["--forecast", "SpindleTemp", "--ahead-h", "3,12"],
        {"forecast": "SpindleTemp", "ahead_h": [3, 12]},
    ),
    "anomaly": ([], {}),
    "classes": (["--classes", "normal,worn,ending"], {"classes": ["normal", "worn", "ending"]}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


@pytest.fixture
def recording(make: Make, folder: Path) -> Path:
    """Four machines that wear, an encoder of them, and both kinds of labels; made once."""
    out = folder / "recorded"
    if not out.exists():
        made = make(machines=tuple(f"M{i}" for i in range(1, 5)), hours=130.0)
        made.rename(out)
        assert main(["pretrain", str(out), "--epochs", "2", "--out", str(folder / "encoder")]) == 0
        assert main(["label", str(out), "--horizon-h", "20", "--out", str(folder / "labels.csv")]) == 0
        hours = ["--quantity", "hours-left", "--horizon-h", "20", "--out", str(folder / "hours.csv")]
        assert main(["label", str(out), *hours]) == 0
        left = labels.read(folder / "hours.csv")
        modes = [replace(r, value=None if r.value is None else float((r.value < 20) + (r.value < 8))) for r in left]
        labels.write(folder / "modes.csv", modes)
    return out


def tuned(recording: Path, head: str) -> ModelData:
    """A version named like its head; made once."""
    folder = recording.parent
    made = folder / "models" / "condition" / head
    if made.exists():
        return ModelStore(folder / "models").load(made)
    files = {"forecasting": "", "anomaly": "labels.csv", "classes": "modes.csv"}
    file = files.get(head, "hours.csv")
    given = ["--labels", str(folder / file)] if file else []
    args = ["--encoder", str(folder / "encoder"), "--models", str(folder / "models"), "--version", head, *given]
    assert main(["finetune", str(recording), *args, "--trials", "0", "--head", head, *HEADS[head][0]]) == 0
    return ModelStore(folder / "models").load(made)


@pytest.mark.parametrize("head", HEADS)
def test_what_ships_has_won_against_trees_and_the_naive_rule(recording: Path, head: str) -> None:
    """All ways of training are in the table; the least error on validation units ships, and keeps the contract."""
    model = tuned(recording, head)
    errors = model.metrics["errors"]
    assert set(errors) >= CANDIDATES
    assert errors[model.metrics["winner"]] == min(errors.values()) < errors["naive"]
    config = {**HEADS[head][1], "head": head}
    values, batch = _windows(recording, "M1")
    results = check_task("condition", model, config=config, batch=batch)
    assert [(r.name, r.detail) for r in results if r.outcome is Outcome.FAILED] == []
    runner = _runner(recording, head, config)
    said = [r for r in runner.answer(batch).recommendations if r is not None]
    assert len(said) > len(values) // 2
    if head not in {"anomaly", "classes"}:
        name = {"regression": "value", "quantiles": "value_q50", "forecasting": "ahead_12h"}[head]
        assert all(r.interval[0] <= r.value[name] <= r.interval[1] for r in said)
    assert {reason.tag for r in said for reason in r.reasons} <= {*TAGS, ""}


def test_hours_left_fall_as_the_end_comes_near_and_vibration_is_the_reason(recording: Path) -> None:
    """Far from a failure the value is high; just before one it is low, flagged, and a tag that wears is named."""
    tuned(recording, "regression")
    runner = _runner(recording, "regression", {"head": "regression", "unit": "h"})
    _, batch = _windows(recording, "M2", hours=(30.0, 59.5))
    fresh, worn = runner.answer(batch).recommendations
    assert fresh.value["value"] > worn.value["value"] + 5
    assert (fresh.value["flag"], worn.value["flag"]) == (False, True)
    assert worn.reasons[0].tag != "SpindlePower"


def test_few_labels_are_spread_along_lives_that_have_none(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the first round says of an unlabelled life's rows agrees on its end; all candidates learn from that too."""
    folder = recording.parent
    encoder = pretraining.load(folder / "encoder")
    few = [row for row in labels.read(folder / "hours.csv") if row.equipment_id != encoder.split.train[0]]
    labels.write(folder / "few.csv", few)
    args = ["--encoder", str(folder / "encoder"), "--models", str(folder / "models"), "--version", "spread"]
    args += ["--labels", str(folder / "few.csv"), "--trials", "0", "--head", "regression", "--unit", "h", "--spread"]
    assert main(["finetune", str(recording), *args]) == 0
    assert "windows in 3 lives that had no label" in capsys.readouterr().out
    errors = ModelStore(folder / "models").load(folder / "models" / "condition" / "spread").metrics["errors"]
    again = {name for name in errors if name.endswith("_spread")}
    assert again == {f"{name}_spread" for name in CANDIDATES - {"naive", "network_from_scratch"}}
    assert errors["trees_spread"] != errors["trees"]


def test_a_forecast_needs_no_labels_and_other_heads_do(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without labels every other head ends with what to do; without values the heads that predict one do."""
    base = ["finetune", str(recording), "--encoder", str(recording.parent / "encoder"), "--trials", "0"]
    base += ["--models", str(recording.parent / "none")]
    given, modes = (["--labels", str(recording.parent / f"{n}.csv")] for n in ("labels", "modes"))
    for args, why in (
        (["--head", "anomaly"], "head 'anomaly' learns from labels; give --labels"),
        (["--head", "regression", *given], "has a value: bring a CSV with a column value, or lineside label"),
        (["--head", "classes", *given], "classes are not given; name two or more"),
        (["--head", "classes", "--classes", "normal,worn", *modes], "value 2 is the number of no class; the classes"),
        (["--head", "forecasting", "--forecast", "Colour"], "forecast 'Colour' is none of the tags"),
        (["--head", "forecasting", "--ahead-h", "9,6"], "ahead_h 9, 6 do not rise"),
        (["--head", "forecasting", "--ahead-h", "soon"], "--ahead-h soon is no list of numbers"),
        (["--head", "forecasting", "--ahead-h", "500"], "look less far ahead with --ahead-h"),
        (["--head", "quantiles", *given, "--spread"], "--spread needs time that is left, not head 'quantiles' in ''"),
        (["--head", "anomaly", *given, "--device", "cuda:7"], "device 'cuda:7' is not here"),
    ):
        assert main([*base, *args]) == 2
        assert why in capsys.readouterr().err
    assert not (recording.parent / "none").exists()


def test_a_model_of_another_head_or_unit_is_refused(recording: Path) -> None:
    """The configuration must be the one the model was trained for; the message says which key differs."""
    tuned(recording, "regression")
    for config, key in (({"head": "anomaly"}, "head"), ({"head": "regression", "unit": "d"}, "unit")):
        with pytest.raises(WorkerError, match=f"set config.{key} of task 'condition'"):
            _runner(recording, "regression", config)


def test_a_regression_is_measured_on_machines_it_has_not_seen(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Error, coverage and width with intervals over machines, and a page."""
    tuned(recording, "regression")
    folder, page = recording.parent / "models" / "condition" / "regression", recording.parent / "page.html"
    args = ["--recordings", str(recording), "--labels", str(recording.parent / "hours.csv"), "--model", str(folder)]
    assert main(["evaluate-model", "condition", *args, "--out", str(page)]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in ("rmse", "mae", "coverage", "width"))
    assert "Head: regression" in page.read_text()


def test_several_classes_are_told_apart_on_a_machine_it_has_not_seen(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Probabilities add up to one, macro F1 is far above guessing, and the page has the confusion matrix."""
    tuned(recording, "classes")
    runner = _runner(recording, "classes", {"head": "classes", "classes": ["normal", "worn", "ending"]})
    _, batch = _windows(recording, "M2", hours=(30.0, 59.5))
    fresh, worn = runner.answer(batch).recommendations
    for said in (fresh, worn):
        assert sum(said.value[f"p_{c}"] for c in ("normal", "worn", "ending")) == pytest.approx(1.0)
    assert (fresh.value["flag"], worn.value["flag"]) == (False, True)
    assert worn.value["p_ending"] > 0.5 > fresh.value["fault_probability"]
    folder, page = recording.parent / "models" / "condition" / "classes", recording.parent / "classes.html"
    args = ["--recordings", str(recording), "--labels", str(recording.parent / "modes.csv"), "--model", str(folder)]
    assert main(["evaluate-model", "condition", *args, "--out", str(page)]) == 0
    figures = dict(re.findall(r"^(\w+) +([\d.]+)", capsys.readouterr().out, re.M))
    assert float(figures["macro_f1"]) > 0.8
    assert float(figures["cost_per_window"]) < float(figures["cost_never_flag"])
    assert "Confusion" in page.read_text()


def test_versions_are_compared_as_they_were_trained(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another head, unit, or set of tags: each version gets what it reads; table and page tell the rest."""
    tuned(recording, "regression"), tuned(recording, "forecasting")
    folder, page = recording.parent, recording.parent / "compared.html"
    few = ["--head", "forecasting", "--tags", "VibRms [mm/s], SpindleTemp [degC]", "--version", "few", "--trials", "0"]
    base = ["--encoder", str(folder / "encoder"), "--models", str(folder / "models")]
    assert main(["finetune", str(recording), *base, *few]) == 0
    for other in ("forecasting", "few"):
        capsys.readouterr()
        asked = ["--recording", str(recording), "--models", str(folder / "models"), "--html", str(page)]
        assert main(["models", "compare", "regression", other, *asked]) == 0
        differ = int(re.search(r"^(\d+) windows differ", capsys.readouterr().out, re.M)[1])
        assert 0 < differ < 2000  # where the flags do; hours left and vibration are not compared
        assert f"regression beside {other}" in page.read_text()
        assert page.read_text().count("<img") == 4


def test_retraining_asks_what_the_version_in_full_is_asked(
    recording: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Head, unit, alarm, tags and costs are those of the version in full; values it learns from have to be named."""
    tuned(recording, "regression")
    models = tmp_path / "models"
    shutil.copytree(recording.parent / "models", models)
    versions = Versions(ModelStore(models), "condition")
    versions.promote("regression", Stage.FULL, skip=True)
    args = ["retrain", str(recording), "--models", str(models), "--work", str(tmp_path / "work"), "--trials", "0"]
    assert main(args) == 2
    assert "learns from values; say which: --quantity hours-left" in capsys.readouterr().err
    args += ["--quantity", "hours-left", "--horizon-h", "20", "--epochs", "2"]
    assert main([*args, "--when", "labels"]) == 0
    assert "nothing to do: 0 events more" in capsys.readouterr().out
    assert main(args) == 0
    (name,) = versions.rollout().shadow
    old, new = (versions.store.load(versions.folder(v)).config for v in ("regression", name))
    assert (new["task"], new["costs"]) == (old["task"], old["costs"])


def test_a_distilled_version_is_served_without_torch_and_says_the_same(
    recording: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A process that can import neither torch nor scikit-learn hosts the int8 network, asked as it was trained."""
    tuned(recording, "regression")
    models, windows = tmp_path / "models", tmp_path / "windows.npy"
    shutil.copytree(recording.parent / "models", models)
    args = ["models", "distil", "regression", str(recording), "--models", str(models), "--version", "small"]
    assert main([*args, "--labels", str(recording.parent / "hours.csv")]) == 0
    capsys.readouterr()
    whole, _, small = ModelStore(models).load(models / "condition" / "small").metrics["distilled"]
    assert small["kB"] < 0.5 * whole["kB"]
    assert small["error"] < whole["error"] + 0.1
    Versions(ModelStore(models), "condition").promote("small", Stage.FULL, skip=True)
    values, batch = _windows(recording, "M1")
    np.save(windows, values)
    config = {"head": "regression", "unit": "h"}
    given = [str(models), json.dumps(config), str(windows)]
    done = subprocess.run([sys.executable, str(WITHOUT_TORCH), *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {row[1] for row in said if row} == {"small"}
    taught = _runner(recording, "regression", config).answer(batch).recommendations
    apart = [abs(a[0] - b.value["value"]) for a, b in zip(said, taught, strict=True) if a and b]
    assert len(apart) > len(values) // 2
    assert np.mean(apart) < 3.0  # of 20 h


def _runner(recording: Path, head: str, config: Mapping[str, object]) -> Runner:
    models = recording.parent / "models"
    assert head in Versions(ModelStore(models), "condition").names()
    runner = Runner("condition", config, models / "condition" / head, "cpu", store=ModelStore(models))
    runner.load()
    return runner


def _windows(recording: Path, machine: str, hours: tuple[float, ...] = ()) -> tuple[np.ndarray, WindowBatch]:
    """Windows of a machine that end at ``hours``, else one every two hours."""
    _, cells = reading.grid(reading.read(recording), machine, list(TAGS), 600.0)
    length = ConditionConfig().length
    at = [round(6 * h) for h in hours] or list(range(length, len(cells), 12))
    values = np.stack([cells[i - length : i] for i in at])
    ends = np.datetime64("2026-01-05T12:00:00", "us") + np.arange(len(values)) * np.timedelta64(600, "s")
    names, empty = tuple(f"{machine}-{i}" for i in range(len(values))), ({},) * len(values)
    return values, WindowBatch(names, tuple(TAGS), values, np.isfinite(values), ends, 600.0, empty, empty)
