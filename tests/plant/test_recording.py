"""Recordings on disk: the documented format, the right means, and nothing hidden."""

import json

import numpy as np
import pytest

from lineside_plant import Observe, Plant, PlantSpec, Policy, RecordingError, baseline_policy
from lineside_plant.recording import main, record


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("recordings")
    return record(4, 44, baseline_policy(), 12.0, out, inspect_share=1.0, curve_every=2)


def test_cells_are_means_of_the_seconds_a_gateway_would_see(folder):
    """Each cell of a measured tag is the mean of its 60 one-second samples; State is the last one."""
    plant = Plant(PlantSpec.draw(4), 44, baseline_policy(), observe=Observe.FULL, label_share=1.0)
    plant.advance(12 * 3600)
    columns = plant.drain().machines["C1"].columns
    with np.load(folder / "recording.npz", allow_pickle=False) as data:
        assert data["tags/C1/VibRms"].dtype == np.float32
        assert np.allclose(data["tags/C1/VibRms"], columns["VibRms"].reshape(-1, 60).mean(axis=1), rtol=1e-5)
        assert np.array_equal(data["tags/C1/State"], columns["State"][59::60])
        step = np.diff(data["time"])
        assert len(data["time"]) == 720
        assert set(step) == {60_000_000}


def test_each_part_has_its_curve_and_label(folder):
    """Serial numbers join force curves, tool counts of the mill, and inspection events."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    labels = {e["serial_no"]: e["defect"] for e in events if e["kind"] == "inspection"}
    assert all(e["stream"] == "events" and e["equipment_id"] for e in events)
    with np.load(folder / "recording.npz", allow_pickle=False) as data:
        pressed = data["arrays/B1/CycleTime/serial"]
        curves = data["arrays/B1/ForceCurve/values"]
        assert curves.shape == (len(pressed) // 2, 256)
        milled = set(data["arrays/A1/ToolCount/serial"]) | set(data["arrays/A2/ToolCount/serial"])
        assert set(pressed) <= milled
        assert np.isfinite(curves).all()
    assert len(labels) > 300
    assert set(labels) <= milled


def test_nothing_hidden_is_recorded(folder):
    """Tags in a recording are tags of the catalogue: no degradation, wear or true dimension."""
    with np.load(folder / "recording.npz", allow_pickle=False) as data:
        names = {k.split("/")[2] for k in data.files if "/" in k}
    assert names == {
        "SpindlePower", "SpindleTemp", "VibRms", "VibKurtosis", "State", "Energy", "ActiveFamily", "PartCount",
        "CycleTime", "ToolCount", "ToolOffset", "SpeedOverride", "ForceCurve",
    }  # fmt: skip
    facts = json.loads((folder / "recording.json").read_text())
    assert facts["unit"] == folder.name == "plant-4"


def test_a_labelling_campaign_changes_nothing():
    """Measuring every part for labels leaves the plant's KPIs as they were."""
    kpis = []
    for share in (0.0, 1.0):
        plant = Plant(PlantSpec.draw(4), 5, Policy(), horizon_h=24.0, warmup_h=0.0, label_share=share)
        plant.advance(24 * 3600)
        kpis.append(plant.kpis())
    assert kpis[0] == kpis[1]


def test_a_grid_that_does_not_fit_is_refused(tmp_path):
    """Hours and cell length that do not divide are refused with their bound."""
    with pytest.raises(RecordingError, match="hours is 7; expected a multiple of 6"):
        record(1, 1, baseline_policy(), 7.0, tmp_path)
    with pytest.raises(RecordingError, match="period_s is 7"):
        record(1, 1, baseline_policy(), 6.0, tmp_path, period_s=7)


def test_the_command_records_several_plants(tmp_path, capsys):
    """``record --plants 2`` writes two folders and says so; a folder that cannot be made ends with code 2."""
    assert main(["--plants", "2", "--hours", "5", "--seed", "9", "--out", str(tmp_path), "--curve-every", "50"]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"plant-9", "plant-10"}
    assert "2 of 2" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert main(["--plants", "1", "--hours", "6", "--out", str(tmp_path / "file")]) == 2
    assert "cannot record" in capsys.readouterr().err
