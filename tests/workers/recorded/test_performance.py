"""What recorded recommendations were worth, once labels have arrived."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lineside_gateway.recording import Archive, Recorder
from lineside_plugins import recorded
from lineside_workers.__main__ import main
from tests.workers.recorded.conftest import BEGIN_US

ROWS = (  # hour, stage, version, flag, probability
    (1, "full", "v1", False, 0.1), (2, "full", "v1", True, 0.6), (3, "full", "v1", True, 0.8),
    (4, "full", "v1", False, 0.4), (3, "shadow", "v2", True, 0.9), (4, "shadow", "v2", True, 0.9),
    (1, "abstained", "", False, 0.0),
)  # fmt: skip


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A gateway's recommendations about M1 by two versions."""
    recorder = Recorder(Archive(tmp_path / "live"))
    recorder.name(0, "M1", "VibRms", "mm/s")
    recorder.samples([0], [BEGIN_US], [1.0], None)
    for hour, stage, version, flag, p in ROWS:
        row = {"task": "condition", "stage": stage, "model_version": version, "flag": flag, "failure_probability": p}
        recorder.row(recorded.RECOMMENDATIONS, BEGIN_US + round(3.6e9 * hour), "M1", "condition", row)
    recorder.write(recorder.take(), last=True)
    return tmp_path / "live"


def labels(path: Path, machine: str) -> Path:
    """Positive from 2:30 to 4:00, negative before, nothing known after."""
    begin = datetime(2026, 1, 5, tzinfo=UTC)
    turn = begin + timedelta(hours=2.5)
    path.write_text(
        "equipment_id,start,end,label\n"
        f"{machine},{begin.isoformat()},{turn.isoformat()},0\n"
        f"{machine},{turn.isoformat()},{(begin + timedelta(hours=4)).isoformat()},1\n"
    )
    return path


def test_labels_that_arrive_say_what_versions_were_worth(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Precision, recall and error by version and stage, as a table and as gauges; abstentions count for nobody."""
    gauges = tmp_path / "lineside.prom"
    args = ["models", "performance", str(recording), "--labels", str(labels(tmp_path / "l.csv", "M1"))]
    assert main([*args, "--prometheus", str(gauges)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("condition")]
    assert " ".join(lines[0]) == "condition v1 full M1 4 2 2 0.5 0.5 0.5 0.375 0.1925"
    assert " ".join(lines[2]) == "condition v2 shadow M1 2 2 2 1 1 1 0.1 0.01"
    wanted = 'lineside_model_precision{task="condition",version="v1",stage="full",equipment="all"} 0.5'
    assert wanted in gauges.read_text().splitlines()


def test_labels_of_other_machines_are_named(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels that fall on nothing end with code 2 and what to look at."""
    args = ["models", "performance", str(recording), "--labels", str(labels(tmp_path / "l.csv", "M9"))]
    assert main(args) == 2
    assert "no label falls on any of 7 recommendations" in capsys.readouterr().err
