"""Labels from events, answers and CSV, joined by machine and time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from lineside_gateway.recording import Archive, Recorder
from lineside_plugins import recorded
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers.condition import windows
from lineside_workers.errors import LabelError
from lineside_workers.recorded import labels, reading

BEGIN_US = round(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1e6)
HOUR = 3_600_000_000


def at(hours: list[float]) -> np.ndarray:
    return np.array([BEGIN_US + round(h * HOUR) for h in hours])


def test_windows_before_a_failure_are_positive_and_repair_time_is_unknown(make) -> None:
    """Positive within the horizon, negative before it, unknown until the machine is back and at the open end."""
    found = reading.read(make(machines=("M1",), hours=100))
    rows = labels.from_events(found, labels.Question(horizon_h=24))
    ends = at([10, 35.9, 36.1, 60, 60.5, 62, 75.9, 76.1])
    assert labels.join(rows, "M1", ends, BEGIN_US + 100 * HOUR).tolist() == [0, 0, 1, 1, -1, 0, 0, -1]


def test_nothing_is_known_before_its_delay_is_over(make) -> None:
    """A label counts from known_at on: what becomes known an hour later is unknown until then."""
    found = reading.read(make(machines=("M1",), hours=100))
    rows = labels.from_events(found, labels.Question(horizon_h=24, delay_h=2))
    before, after = (labels.join(rows, "M1", at([50]), BEGIN_US + round(h * HOUR)) for h in (61, 62.1))
    assert (before.tolist(), after.tolist()) == ([-1], [1])


def test_an_event_that_never_happened_is_an_error_with_the_kinds_there_are(make) -> None:
    """Empty labels are refused, and the kinds that were recorded are named."""
    found = reading.read(make(machines=("M1",), hours=100))
    with pytest.raises(LabelError, match=r"no event of kind explosion.*failure 1, repair 1"):
        labels.from_events(found, labels.Question(kinds=("explosion",)))


def test_labels_survive_their_file(make, tmp_path: Path) -> None:
    """What is written as CSV is read back the same."""
    rows = labels.from_events(reading.read(make(machines=("M1", "M2"), hours=100)), labels.Question())
    labels.write(tmp_path / "labels.csv", rows)
    assert labels.read(tmp_path / "labels.csv") == sorted(rows, key=lambda r: (r.equipment_id, r.start))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("equipment_id,start,end,label\n", "is empty"),
        ("equipment_id,start,end,label\nM1,,2026-01-05T07:00,2\n", "line 2: label 2"),
        ("equipment_id,start,end,label\nM1,,soon,1\n", "line 2: ValueError"),
        ("machine,when\nM1,now\n", "no column 'equipment_id'; it has machine, when"),
    ],
)
def test_a_file_of_labels_that_does_not_fit_is_named_by_line(tmp_path: Path, text: str, why: str) -> None:
    """Empty and malformed files end with the line and what was expected."""
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=why):
        labels.read(path)


def test_operators_answers_are_labels_of_their_window(tmp_path: Path) -> None:
    """Accept is 1 and Reject is 0 for the window that was answered, and for no other."""
    recorder = Recorder(Archive(tmp_path / "r"))
    recorder.name(0, "M1", "VibRms", "mm/s")
    recorder.samples(np.zeros(6, np.int64), at([1, 2, 3, 4, 5, 6]), np.ones(6), None)
    for hour, verdict in ((2, "accept"), (4, "reject")):
        end = datetime.fromtimestamp((BEGIN_US + hour * HOUR) / 1e6, UTC).isoformat()
        row = {"verdict": verdict, "task": "condition", "window_end": end, "at": end}
        recorder.row(recorded.ANSWERS, BEGIN_US + hour * HOUR, "M1", verdict, row)
    recorder.write(recorder.take(), last=True)
    found = reading.read(tmp_path / "r")
    rows = labels.from_answers(found, task="condition")
    assert labels.join(rows, "M1", at([1, 2, 3, 4, 5]), BEGIN_US + 10 * HOUR).tolist() == [-1, 1, -1, 0, -1]
    with pytest.raises(LabelError, match="no Accept or Reject"):
        labels.from_answers(found, task="reject")


def test_a_stretch_in_a_file_may_be_longer_than_the_recording(make, tmp_path: Path) -> None:
    """A day of which only the morning was recorded counts for the morning."""
    path = tmp_path / "labels.csv"
    path.write_text("equipment_id,start,end,label\nM1,2026-01-05,2026-02-05,0\n")
    data = windows.rows(reading.read(make(machines=("M1",), hours=24)), ConditionConfig(length=12))
    assert (data.labelled(labels.read(path)).label == 0).all()
