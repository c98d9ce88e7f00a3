"""Three RefPlants recorded for three and a half days each: short lives, so that there is something to learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineside_trials import record
from lineside_workers.__main__ import main

HOURS = "84"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of ten minutes of three plants."""
    out = tmp_path_factory.mktemp("story") / "recorded"
    assert record.main(["--plants", "3", "--hours", HOURS, "--policy", "0", "--period", "600", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def labels(recording: Path) -> Path:
    out = recording.parent / "labels.csv"
    assert main(["label", str(recording), "--horizon-h", "24", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def models(recording: Path, labels: Path, encoder: Path) -> Path:
    """A models directory with candidate week-1."""
    out = recording.parent / "models"
    args = ["--encoder", str(encoder), "--labels", str(labels), "--models", str(out), "--version", "week-1"]
    args += ["--trials", "0"]
    assert main(["finetune", str(recording), *args]) == 0
    return out


@pytest.fixture(scope="module")
def encoder(recording: Path) -> Path:
    out = recording.parent / "encoder"
    assert main(["pretrain", str(recording), "--epochs", "3", "--out", str(out)]) == 0
    return out
