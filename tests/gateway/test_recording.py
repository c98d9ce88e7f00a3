"""The archive and the recorder: whole files, bounds, means of cells."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lineside_gateway.recording import Archive, Bounds, Recorder, RecordingError
from lineside_plugins import recorded

DAY_US = 86_400_000_000
BEGIN_US = round(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1e6)
S = 1_000_000


def days(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir())


def rows(root: Path, table: str = recorded.TAGS) -> list[dict]:
    files = sorted(root.glob(f"day=*/{table}-*.parquet"))
    return pa.concat_tables([pq.read_table(f, partitioning=None) for f in files]).to_pylist()


def write(recorder: Recorder, times_us: list[int], values: list[float], *, status: int = 0, last: bool = True) -> None:
    recorder.name(0, "M1", "VibRms", "mm/s")
    count = len(times_us)
    codes = np.full(count, status, np.uint32)
    recorder.samples(np.zeros(count, np.int64), np.array(times_us), np.array(values), codes)
    recorder.write(recorder.take(), last=last)


def test_samples_lie_in_the_folder_of_their_day(tmp_path: Path) -> None:
    """A file per UTC day of event time, with unit and StatusCode of every sample."""
    write(Recorder(Archive(tmp_path)), [BEGIN_US - S, BEGIN_US + S], [1.0, 2.0])
    assert days(tmp_path) == ["day=2026-01-04", "day=2026-01-05"]
    (first, second) = rows(tmp_path)
    assert (first["equipment_id"], first["tag"], first["unit"], first["value"]) == ("M1", "VibRms", "mm/s", 1.0)
    assert (second["status"], second["samples"]) == (0, 1)


def test_thinned_tags_are_means_of_whole_cells(tmp_path: Path) -> None:
    """A cell covers (end - period, end]; one that is not over waits for the next write, Bad samples do not count."""
    recorder = Recorder(Archive(tmp_path), period_s=10.0)
    write(recorder, [BEGIN_US + n * S for n in (1, 10, 11)], [1.0, 3.0, 5.0], last=False)
    assert [(r["value"], r["samples"]) for r in rows(tmp_path)] == [(2.0, 2)]
    assert rows(tmp_path)[0]["time"] == datetime(2026, 1, 5, 0, 0, 10, tzinfo=UTC)
    recorder.samples(
        np.zeros(2, np.int64), np.array([BEGIN_US + 12 * S, BEGIN_US + 13 * S]), np.array([7.0, 99.0]),
        np.array([0, 0x8000_0000], np.uint32),
    )  # fmt: skip
    recorder.write(recorder.take(), last=True)
    assert [(r["value"], r["samples"]) for r in rows(tmp_path)] == [(2.0, 2), (6.0, 2)]


def test_of_states_and_counts_the_last_value_is_kept(tmp_path: Path) -> None:
    """The mean of a state means nothing."""
    recorder = Recorder(Archive(tmp_path), period_s=10.0)
    recorder.name(0, "M1", "State", "", held=True)
    recorder.samples(np.zeros(2, np.int64), np.array([BEGIN_US + S, BEGIN_US + 2 * S]), np.array([1.0, 4.0]), None)
    recorder.write(recorder.take(), last=True)
    assert [r["value"] for r in rows(tmp_path)] == [4.0]


def test_a_crash_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not finished bears another name, is not read, and is removed at the next start."""

    def cut(_table: pa.Table, file, **_: object) -> None:
        file.write(b"PAR1 and no more")
        raise OSError(28, "No space left on device")

    recorder = Recorder(Archive(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", cut)
        with pytest.raises(RecordingError, match="free the disk"):
            write(recorder, [BEGIN_US + S], [1.0])
    (tmp_path / "day=2026-01-05" / "tags-000007.tmp").write_bytes(b"left by a kill")
    archive = Archive(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    write(Recorder(archive), [BEGIN_US + S], [1.0])
    assert len(archive.files()) == 1


def test_the_oldest_days_go_first(tmp_path: Path) -> None:
    """By age and by size whole days are removed, never the newest one."""
    recorder = Recorder(Archive(tmp_path / "age", Bounds(max_days=2)))
    write(recorder, [BEGIN_US + n * DAY_US for n in range(5)], [1.0] * 5)
    assert days(tmp_path / "age") == ["day=2026-01-07", "day=2026-01-08", "day=2026-01-09"]
    recorder = Recorder(Archive(tmp_path / "size", Bounds(max_bytes=1)))
    write(recorder, [BEGIN_US, BEGIN_US + DAY_US], [1.0, 2.0])
    assert days(tmp_path / "size") == ["day=2026-01-06"]


def test_more_than_is_held_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not keep up costs samples that are counted, not memory."""
    monkeypatch.setattr("lineside_gateway.recording.recorder.MAX_SAMPLES", 3)
    recorder = Recorder(Archive(tmp_path))
    for _ in range(2):
        recorder.samples(np.zeros(2, np.int64), np.array([BEGIN_US, BEGIN_US + S]), np.ones(2), None)
    assert recorder.dropped == {recorded.TAGS: 2}


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """The path and the setting are named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"recording\.folder"):
        Archive(tmp_path / "file" / "below")
