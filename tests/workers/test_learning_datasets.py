"""Public data sets as the benchmarks read them; skipped, with the reason, where the data is not here."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from lineside_workers.errors import DatasetError
from lineside_workers.learning.datasets import ai4i, cmapss, cwru, folder, skab, steel, tep


@pytest.fixture(scope="module")
def data() -> Path:
    try:
        return folder.root()
    except DatasetError as error:
        pytest.skip(str(error))


def test_a_missing_data_folder_names_the_variable_to_set(tmp_path: Path) -> None:
    """Without data the error says which folder was looked for and which variable points elsewhere."""
    with pytest.raises(DatasetError, match=r"nowhere.*LINESIDE_DATA"):
        folder.root({"LINESIDE_DATA": str(tmp_path / "nowhere")})


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    """A gzip file cut short is reported with its path rather than as an end of file."""
    (tmp_path / "ai4i").mkdir()
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    (tmp_path / "ai4i" / "ai4i2020.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"ai4i2020.csv.gz' is damaged"):
        ai4i.read(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A data set that is not there names the file and the way to leave it out."""
    with pytest.raises(DatasetError, match=r"tep_dat.tar.xz' is missing.*--only"):
        tep.read(tmp_path)


def test_ai4i_has_339_failures(data: Path) -> None:
    """AI4I has 10,000 operations of six tags, 339 of them failures, and no failure-mode column."""
    read = ai4i.read(data)
    assert read.values.shape == (10_000, len(ai4i.TAGS))
    assert read.failed.sum() == 339


def test_engines_end_at_failure_or_at_the_stated_remaining_life(data: Path) -> None:
    """Training engines of C-MAPSS end with no life left, test engines with the life their file states."""
    train = cmapss.read_training(data, "FD001")
    test = cmapss.read_test(data, "FD001")
    assert len(train) == len(test) == 100
    assert all(engine.life_left[-1] == 0 for engine in train)
    assert [engine.life_left[-1] for engine in test[:3]] == [112, 98, 69]
    assert np.all(np.diff(test[0].life_left) == -1)


def test_tennessee_eastman_has_two_runs_per_class(data: Path) -> None:
    """Each of 22 classes has a training run and a test run of 52 variables, the test fault from row 160 on."""
    train, test = tep.read(data)
    assert [len(run.values) for run in (train[0], train[1], test[0], test[1])] == [500, 480, 960, 960]
    assert {run.values.shape[1] for run in train + test} == {52}
    assert np.flatnonzero(test[7].label)[0] == tep.FAULT_FROM


def test_skab_experiments_hold_one_labelled_stretch(data: Path) -> None:
    """Each of SKAB's 34 experiments has eight finite sensors and an anomaly after a normal start."""
    experiments = skab.read(data)
    assert len(experiments) == 34
    assert all(np.isfinite(e.values).all() and e.anomalous.any() and not e.anomalous[0] for e in experiments)


def test_bearing_records_name_their_bearing(data: Path) -> None:
    """CWRU has 45 records of 12 bearings, one of them sound, each with the shaft's speed."""
    records = cwru.read(data)
    assert len(records) == 45
    assert len({r.bearing for r in records}) == 12
    assert all(28 < r.shaft_hz < 31 for r in records)


def test_steel_energy_is_a_gapless_year(data: Path) -> None:
    """The steel plant's year has one row per quarter of an hour, the last one at midnight."""
    read = steel.read(data)
    assert len(read.end) == 365 * 96
    assert str(read.end[-1]) == "2019-01-01T00:00"
