"""Recordings as the gateway writes them, read back by the workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lineside_workers.errors import RecordingError
from lineside_workers.recorded import reading


def test_what_was_recorded_is_read_back(make) -> None:
    """Values, times, units and events come back as they were written."""
    found = reading.read(make(machines=("M1",), hours=60))
    series = found.series["M1", "SpindleTemp"]
    assert series.units == ("degC",)
    assert len(series.value) == 360
    assert np.diff(series.time_us).tolist() == [600_000_000] * 359
    assert [e["kind"] for e in found.events] == ["failure", "repair"]
    assert found.skipped == {}


def test_a_truncated_file_is_named_and_the_rest_is_read(make) -> None:
    """A Parquet file that was cut short costs its day only, and is named."""
    root: Path = make(machines=("M1",), hours=72)
    whole = len(reading.read(root).series["M1", "VibRms"].value)
    victim = sorted(root.glob("day=*/tags-*.parquet"))[1]
    victim.write_bytes(victim.read_bytes()[:-40])
    told: list[str] = []
    found = reading.read(root, told.append)
    assert list(found.skipped) == [f"{victim.parent.name}/{victim.name}"]
    assert any(victim.name in line for line in told)
    assert 0 < len(found.series["M1", "VibRms"].value) < whole


def test_a_recording_that_cannot_be_read_at_all_is_an_error(make, tmp_path: Path) -> None:
    """No file, or none that can be read, is one sentence with the next step."""
    with pytest.raises(RecordingError, match="lineside record --out"):
        reading.read(tmp_path / "nothing")
    root: Path = make(machines=("M1",), hours=12)
    for path in root.glob("day=*/*.parquet"):
        path.write_bytes(b"PAR1")
    with pytest.raises(RecordingError, match="none of 1 files"):
        reading.read(root)


def test_plants_below_one_folder_keep_their_names(make) -> None:
    """Of several recordings in one folder each machine bears its plant's name, and the plant is the unit."""
    root: Path = make("all/plant-1", machines=("M1",), hours=12).parent
    make("all/plant-2", machines=("M1",), hours=12)
    found = reading.read(root)
    assert found.equipment_ids == ("plant-1/M1", "plant-2/M1")
    assert {reading.unit_of(e) for e in found.equipment_ids} == {"plant-1", "plant-2"}


def test_the_grid_holds_means_of_cells_and_nan_where_nothing_was_seen(make) -> None:
    """Cells are aligned with the epoch and cover (end - period, end]; a gap is NaN, never filled."""

    def spoil(_machine: str, tag: str, values: np.ndarray) -> np.ndarray:
        out = values.copy()
        if tag == "VibRms":
            out[6:12] = np.nan
        return out

    found = reading.read(make(machines=("M1",), hours=6, change=spoil))
    end_us, cells = reading.grid(found, "M1", ["VibRms", "SpindleTemp"], 3600.0)
    raw = found.series["M1", "SpindleTemp"].value
    assert (end_us % 3_600_000_000 == 0).all()
    assert cells.shape == (6, 2)
    assert np.isnan(cells[1, 0])
    assert np.isfinite(np.delete(cells[:, 0], 1)).all()
    assert cells[:, 1] == pytest.approx(raw.reshape(6, 6).mean(axis=1), rel=1e-5)


def test_wrong_units_stop_training(make) -> None:
    """A tag recorded in another unit than the model expects is named with both units and what to do."""
    root = make(machines=("M1",), hours=12, units={"VibRms": "in/s", "VibKurtosis": "", "SpindleTemp": "degC",
                                                  "SpindlePower": "kW"})  # fmt: skip
    with pytest.raises(RecordingError, match=r"M1\.VibRms was recorded in 'in/s', the model expects 'mm/s'"):
        reading.check_units(reading.read(root), {"VibRms": "mm/s"})
    with pytest.raises(RecordingError, match="no tag 'Flow'"):
        reading.check_units(reading.read(root), {"Flow": "l/min"})
