"""Parquet files by day: each appears whole or not at all, the oldest go first where there are too many."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lineside_gateway.errors import LinesideError
from lineside_plugins import recorded

_TIME = pa.timestamp("us", tz="UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())
TAG_SCHEMA = pa.schema(
    [("time", _TIME), ("equipment_id", _WORD), ("tag", _WORD), ("unit", _WORD), ("value", pa.float64()),
     ("status", pa.uint32()), ("samples", pa.uint32())]
)  # fmt: skip
ROW_SCHEMA = pa.schema([("time", _TIME), ("equipment_id", _WORD), ("kind", _WORD), ("record", pa.string())])


class RecordingError(LinesideError):
    """What is recorded cannot be written or read; the message says which file and what to do."""


def schema_of(table: str) -> pa.Schema:
    """Columns of one of ``recorded.TABLES``."""
    return TAG_SCHEMA if table == recorded.TAGS else ROW_SCHEMA


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept at most: bytes of all files, days before the newest day."""

    max_bytes: int = 20 * 2**30
    max_days: int = 400


class Archive:
    """Writes below ``root``; one process at a time. Not thread-safe: one writing thread."""

    def __init__(self, root: Path, bounds: Bounds | None = None) -> None:
        """Make the folder, and remove what a crash left unfinished.

        Raises:
            RecordingError: The folder cannot be used.
        """
        self.root = root
        self.removed = 0
        self._bounds = bounds or Bounds()
        try:
            root.mkdir(parents=True, exist_ok=True)
            for left in root.glob(f"day=*/*{recorded.UNFINISHED}"):
                left.unlink()
        except OSError as e:
            raise RecordingError(
                f"recordings cannot be kept in {root}: {e.strerror or e}; set recording.folder to a writable one"
            ) from e
        self._next = 1 + max((_number(p) for p in self.files()), default=-1)

    def files(self) -> list[Path]:
        """Finished files, oldest day first."""
        return sorted(self.root.glob(f"day=*/*{recorded.SUFFIX}"))

    def write(self, table: str, rows: pa.Table) -> list[Path]:
        """Add ``rows`` (columns of ``schema_of``) as one file per day of their time; then keep to the bounds.

        Raises:
            RecordingError: The disk takes no more; nothing half-written is left.
        """
        made = []
        for day, part in _by_day(rows):
            folder = self.root / recorded.day_folder(day)
            target = folder / f"{table}-{self._next:06d}{recorded.SUFFIX}"
            self._next += 1
            try:
                _write_whole(target, part.sort_by("time"))
            except (OSError, pa.ArrowException) as e:
                raise RecordingError(f"{target} cannot be written: {e}; free the disk or lower recording.max_gb") from e
            made.append(target)
        self._prune()
        return made

    def _prune(self) -> None:
        days = sorted(p for p in self.root.glob("day=*") if p.is_dir())
        if not days:
            return
        sizes = {d: sum(f.stat().st_size for f in d.iterdir()) for d in days}
        total, newest = sum(sizes.values()), _day(days[-1])
        for day in days[:-1]:
            too_old = newest - _day(day) > timedelta(days=self._bounds.max_days)
            if not too_old and total <= self._bounds.max_bytes:
                break
            shutil.rmtree(day)
            total -= sizes[day]
            self.removed += 1


def _by_day(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    days = pc.strftime(rows["time"], format="%Y-%m-%d")
    for day in sorted(pc.unique(days).to_pylist()):
        yield day, rows.filter(pc.equal(days, day))


def _write_whole(target: Path, rows: pa.Table) -> None:
    """To a name nobody reads, to the disk, then to its own name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(recorded.UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            pq.write_table(rows, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _number(path: Path) -> int:
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1


def _day(folder: Path) -> datetime:
    return datetime.strptime(folder.name.removeprefix("day="), "%Y-%m-%d").replace(tzinfo=UTC)
