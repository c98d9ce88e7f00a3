from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lineside_workers import recordings
from lineside_workers.__main__ import main
from lineside_workers.errors import RecordingError
from lineside_workers.models.store import ModelStore

LEARNER = '''
import numpy as np
from lineside_plugins import (
    Advice, Channel, DataType, Inputs, Kind, OutputField, Outputs, TaskConfig, TrainableTask, TrainedModel, Trigger,
    WindowSpec,
)

class Learner(TrainableTask[TaskConfig]):
    """Learns the mean load."""

    config_type = TaskConfig

    def inputs(self):
        return Inputs(Trigger(every_s=60), deadline_s=30, window=WindowSpec((Channel("Load"),), 8, 1.0))

    def outputs(self):
        return Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "high"),), "flag")

    def load(self, model, device):
        self.mean = float(model.tensors["mean"][0])

    def recommend(self, batch):
        return [Advice({"flag": float(v.mean()) > self.mean}, 0.5) for v in batch.values]

    def fit(self, train, validation, *, seed, device):
        mean = np.mean([r.tags["A1"]["Load"].mean() for r in train], dtype=np.float32)
        rows = [{"candidate": "mean", "split": "validation", "error": _error(mean, validation)}]
        return TrainedModel({"seed": seed}, {"mean": np.array([mean])}, {"plants": len(train)}, tuple(rows))

    def evaluate(self, model, test, *, device):
        return {"error": _error(model.tensors["mean"][0], test), "plants": len(test)}

def _error(mean, units):
    return float(np.mean([abs(r.tags["A1"]["Load"].mean() - mean) for r in units]))
'''


def write_recording(root: Path, number: int) -> Path:
    """A recording as the simulated plant writes it: plant ``number`` has a mean load of ``number``."""
    folder = root / f"plant-{number}"
    folder.mkdir(parents=True)
    time = np.datetime64("2026-01-05T06:01:00", "us").astype(np.int64) + np.arange(10) * 60_000_000
    np.savez(
        folder / "recording.npz",
        **{
            "time": time,
            "tags/A1/Load": np.full(10, number, np.float32),
            "arrays/B1/ForceCurve/serial": np.array(["A1-0000001", "A1-0000002"]),
            "arrays/B1/ForceCurve/time": time[:2],
            "arrays/B1/ForceCurve/values": np.ones((2, 4), np.float16),
        },
    )
    event = {"stream": "events", "time": "2026-01-05T06:02:00+00:00", "equipment_id": "A1", "kind": "failure"}
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    (folder / "recording.json").write_text(json.dumps({"unit": folder.name, "period_s": 60}))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(6):
        write_recording(tmp_path / "recordings", number)
    return tmp_path / "recordings"


@pytest.fixture
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = tmp_path / "learner"
    (site / "learner_task").mkdir(parents=True)
    (site / "learner_task" / "__init__.py").write_text("")
    (site / "learner_task" / "task.py").write_text(LEARNER)
    info = site / "learner_task-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: learner-task\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lineside.tasks]\nlearner = learner_task.task:Learner\n")
    monkeypatch.syspath_prepend(str(site))
    yield site / "learner_task"
    for name in [n for n in sys.modules if n.partition(".")[0] == "learner_task"]:
        del sys.modules[name]


def test_a_recording_reads_as_the_contract_has_it(root: Path) -> None:
    """Tags, events and arrays per part come with their types and times."""
    recording = recordings.read(root / "plant-3")
    assert (recording.unit, recording.period_s) == ("plant-3", 60.0)
    assert recording.time[0] == np.datetime64("2026-01-05T06:01:00")
    assert recording.tags["A1"]["Load"].tolist() == [3.0] * 10
    assert recording.streams["events"][0]["kind"] == "failure"
    serials, times, values = recording.arrays["B1"]["ForceCurve"]
    assert serials.tolist() == ["A1-0000001", "A1-0000002"]
    assert (times.dtype, values.dtype, values.shape) == (np.dtype("datetime64[us]"), np.float32, (2, 4))


def test_what_the_simulated_plant_records_can_be_read(tmp_path: Path) -> None:
    """Writer and reader agree: six hours of a plant with events, curves and all five machines."""
    from lineside_plant import PlantSpec, baseline_policy
    from lineside_plant.recording import record

    folder = record(91, 92, baseline_policy(), 6.0, tmp_path, inspect_share=1.0)
    recording = recordings.read(folder)
    assert recording.unit == PlantSpec.draw(91).name
    assert set(recording.tags) == {"A1", "A2", "B1", "C1", "C2"}
    assert len(recording.time) == len(recording.tags["A1"]["VibRms"]) == 360
    assert recording.arrays["B1"]["ForceCurve"][2].shape[1] == 256
    assert {str(r["kind"]) for r in recording.streams["events"]} >= {"inspection"}


def test_training_writes_a_verified_model_from_split_units(
    root: Path, learner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fit, choice and test see different plants; the model, its version and its figures repeat with the seed."""
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        assert main(["train", "learner", "--recordings", str(root), "--out", str(out), "--seed", "5"]) == 0
    model, again = (ModelStore().load(out) for out in outs)
    units = model.metrics["units"]
    assert sorted(u for part in units.values() for u in part) == [f"plant-{i}" for i in range(6)]
    assert [len(units[p]) for p in ("train", "validation", "test")] == [4, 1, 1]
    expected = np.mean([int(u[-1]) for u in units["train"]])
    assert float(model.tensors["mean"][0]) == pytest.approx(expected)
    assert model.metrics["test"]["error"] == pytest.approx(abs(int(units["test"][0][-1]) - expected))
    assert (model.version, model.metrics) == (again.version, again.metrics)
    manifest = json.loads((outs[0] / "manifest.json").read_text())
    assert len(manifest["data_sha256"]) == len(manifest["code_sha256"]) == 64
    said = capsys.readouterr().out
    assert "candidate  split" in said
    assert "fit on 4 plants, choose by 1" in said
    assert learner.is_dir()


def test_without_out_the_shipped_weights_are_written(root: Path, learner: Path) -> None:
    """One command rebuilds what ships."""
    assert main(["train", "learner", "--recordings", str(root)]) == 0
    assert ModelStore().load(ModelStore().folder("learner")).name == "learner"
    assert (learner / "weights" / "manifest.json").is_file()


@pytest.mark.usefixtures("learner")
def test_a_model_is_measured_on_plants_it_has_not_seen(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plants that trained or chose it are left out, and none left is an error."""
    assert main(["train", "learner", "--recordings", str(root), "--out", str(tmp_path / "m")]) == 0
    measure = ["evaluate-model", "learner", "--model", str(tmp_path / "m"), "--recordings"]
    write_recording(root, 9)
    assert main([*measure, str(root)]) == 0
    assert "on 2 plants it has not seen" in capsys.readouterr().out
    units = ModelStore().load(tmp_path / "m").metrics["units"]
    seen = tmp_path / "seen"
    write_recording(seen, int(units["train"][0][-1]))
    assert main([*measure, str(seen)]) == 2
    assert "record other seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "schedule", "--recordings", "{root}"], "task 'schedule' does not learn from recordings"),
        (["train", "nothere", "--recordings", "{root}"], "task 'nothere' is not installed"),
        (["train", "learner", "--recordings", "{root}/none"], "holds no recordings; make some: python -m"),
        (["train", "learner", "--recordings", "{root}/few"], "2 recorded plants; a split"),
        (["evaluate-model", "learner", "--recordings", "{root}"], "ships no weights"),
        (["train", "learner", "--recordings", "{root}", "--device", "tpu"], "device 'tpu' is unknown"),
    ],
)
@pytest.mark.usefixtures("learner")
def test_what_cannot_be_trained_is_one_sentence_and_code_2(
    root: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each mistake names the subject and the next step."""
    for number in (7, 8):
        write_recording(root / "few", number)
    assert main([a.format(root=root) for a in arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_damaged_recording_is_named(root: Path) -> None:
    """A file cut short, a missing key or other shapes: which folder, what, and what to do."""
    archive = root / "plant-1" / "recording.npz"
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(RecordingError, match=r"plant-1 cannot be read: .*record it again"):
        recordings.read(root / "plant-1")
    np.savez(root / "plant-2" / "recording.npz", time=np.arange(3), **{"tags/A1/Load": np.zeros(2)})
    with pytest.raises(RecordingError, match=r"tags/A1/Load has shape \(2,\); expected \(3,\)"):
        recordings.read(root / "plant-2")


def test_a_split_is_by_unit_and_by_seed() -> None:
    """No unit is in two parts, every part has one, and another seed gives another split."""
    units = [f"p{i}" for i in range(12)]
    parts = recordings.split(units, 1)
    assert sorted(u for p in parts for u in p) == sorted(units)
    assert [len(p) for p in parts] == [8, 2, 2]
    assert parts == recordings.split(list(reversed(units)), 1)
    assert parts != recordings.split(units, 2)
