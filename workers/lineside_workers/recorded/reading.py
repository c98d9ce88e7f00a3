"""A gateway's Parquet files as columns in memory. A file that cannot be read is named and left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lineside_plugins import recorded
from lineside_plugins.types import Record
from lineside_workers.errors import RecordingError

Say = Callable[[str], None]
Floats = NDArray[np.float64]
Times = NDArray[np.int64]


def _quiet(_text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class TagSeries:
    """One tag of one machine: ``time_us`` int64 (N,) rising, ``value`` (N,) NaN where not Good, units it was in."""

    time_us: Times
    value: Floats
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What lies below ``root``: series by (equipment_id, tag), rows of events and answers, files left out with why."""

    root: Path
    series: Mapping[tuple[str, str], TagSeries]
    events: tuple[Record, ...] = ()
    answers: tuple[Record, ...] = ()
    recommendations: tuple[Record, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def equipment_ids(self) -> tuple[str, ...]:
        """Machines with at least one tag."""
        return tuple(sorted({e for e, _ in self.series}))

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags that at least one machine has."""
        return tuple(sorted({t for _, t in self.series}))

    def span_us(self, equipment_id: str) -> tuple[int, int]:
        """Time of the first and the last sample of a machine."""
        own = [s.time_us for (e, _), s in self.series.items() if e == equipment_id]
        return min(int(t[0]) for t in own), max(int(t[-1]) for t in own)


def unit_of(equipment_id: str) -> str:
    """What a split keeps whole: the plant where several were read, else the machine itself."""
    return equipment_id.partition("/")[0]


def read(root: Path, say: Say = _quiet) -> Recorded:
    """Everything below ``root``: one recording, or a folder of one per plant; then machines are ``plant/machine``.

    Raises:
        RecordingError: There is nothing, or nothing that can be read.
    """
    plants = sorted({p.parent.name for p in root.glob("*/day=*") if p.is_dir()})
    if any(root.glob("day=*")) or not plants:
        return _read_one(root, say)
    found = [(name, _read_one(root / name, say)) for name in plants]

    def renamed(kind: str) -> tuple[Record, ...]:
        rows = ((name, row) for name, one in found for row in getattr(one, kind))
        return tuple({**row, "equipment_id": f"{name}/{row['equipment_id']}"} for name, row in rows)

    return Recorded(
        root=root,
        series={(f"{name}/{e}", t): s for name, one in found for (e, t), s in one.series.items()},
        events=renamed("events"),
        answers=renamed("answers"),
        recommendations=renamed("recommendations"),
        skipped={f"{name}/{path}": why for name, one in found for path, why in one.skipped.items()},
    )


def _read_one(root: Path, say: Say) -> Recorded:
    files = sorted(root.glob(f"day=*/*{recorded.SUFFIX}"))
    if not files:
        raise RecordingError(f"{root} holds no recording; make one: lineside record --out {root}, or lineside import")
    skipped: dict[str, str] = {}
    tables: dict[str, list[pa.Table]] = {t: [] for t in recorded.TABLES}
    for path in files:
        kind = path.name.rpartition("-")[0]
        if kind not in tables:
            continue
        try:
            tables[kind].append(_table(path, kind))
        except (OSError, pa.ArrowException, RecordingError) as e:
            name = str(path.relative_to(root))
            skipped[name] = " ".join(str(e).split())[:200]
            say(f"left out {name}: {skipped[name]}")
    if not tables[recorded.TAGS]:
        raise RecordingError(f"none of {len(files)} files below {root} can be read as tags; record or import again")
    rows = {t: _rows(tables[t]) for t in recorded.TABLES[1:]}
    found = Recorded(
        root, _series(pa.concat_tables(tables[recorded.TAGS], promote_options="permissive")), rows[recorded.EVENTS],
        rows[recorded.ANSWERS], rows[recorded.RECOMMENDATIONS], skipped,
    )  # fmt: skip
    say(
        f"read {root}: {len(files) - len(skipped)} files, {len(found.equipment_ids)} machines, "
        f"{len(found.events)} events"
    )
    return found


def check_units(found: Recorded, expected: Mapping[str, str]) -> None:
    """Compare recorded units with those a model is to be trained for, on machines that have all its tags.

    Raises:
        RecordingError: A tag is missing everywhere, or was recorded in another unit.
    """
    missing = [t for t in expected if t not in found.tags]
    if missing:
        raise RecordingError(
            f"{found.root} has no tag '{missing[0]}'; it has {', '.join(found.tags)}; choose others with --tags"
        )
    able = {e for e in found.equipment_ids if all((e, t) in found.series for t in expected)}
    for (equipment, tag), series in found.series.items():
        if equipment not in able:
            continue
        wrong = [u for u in series.units if u and expected.get(tag) and u != expected[tag]]
        if wrong:
            raise RecordingError(
                f"{equipment}.{tag} was recorded in '{wrong[0]}', the model expects '{expected[tag]}'; convert it "
                f"with lineside import --unit {tag}={expected[tag]}, or train for it with --tags '{tag} [{wrong[0]}]'"
            )


def grid(found: Recorded, equipment_id: str, tags: Sequence[str], period_s: float) -> tuple[Times, NDArray[np.float32]]:
    """Ends of cells, int64 (N,) us, and the mean of each cell, float32 (N, C); NaN where no Good sample fell.

    Cells are aligned with the epoch, as the gateway's windows are, from the machine's first sample to its last.
    """
    period = round(1e6 * period_s)
    first, last = found.span_us(equipment_id)
    begin, end = first // period, -(-last // period)
    out = np.full((end - begin, len(tags)), np.nan, dtype=np.float32)
    for c, tag in enumerate(tags):
        series = found.series.get((equipment_id, tag))
        if series is None:
            continue
        seen = np.isfinite(series.value)
        cell = -(-series.time_us[seen] // period) - begin - 1
        inside = cell >= 0
        count = np.bincount(cell[inside], minlength=end - begin)
        total = np.bincount(cell[inside], series.value[seen][inside], minlength=end - begin)
        filled = count > 0
        out[filled, c] = (total[filled] / count[filled]).astype(np.float32)
    return (begin + 1 + np.arange(end - begin, dtype=np.int64)) * period, out


def _table(path: Path, kind: str) -> pa.Table:
    table = pq.read_table(path, partitioning=None)
    wanted = recorded.TAG_COLUMNS if kind == recorded.TAGS else recorded.ROW_COLUMNS
    missing = [c for c in wanted if c not in table.column_names]
    if missing:
        raise RecordingError(f"column '{missing[0]}' is missing; it has {', '.join(table.column_names)}")
    return table.select(wanted)


def _series(table: pa.Table) -> dict[tuple[str, str], TagSeries]:
    out: dict[tuple[str, str], TagSeries] = {}
    equipment, tag = (pc.cast(table[c], pa.string()) for c in ("equipment_id", "tag"))
    key = pc.dictionary_encode(pc.binary_join_element_wise(equipment, tag, "\0")).combine_chunks()
    unit = pc.dictionary_encode(pc.cast(table["unit"], pa.string())).combine_chunks()
    codes, unit_codes = (np.asarray(d.indices) for d in (key, unit))
    units = unit.dictionary.to_pylist()
    time = np.asarray(pc.cast(table["time"], pa.int64()))
    value = np.asarray(table["value"].combine_chunks().to_numpy(zero_copy_only=False), dtype=np.float64)
    bad = (np.asarray(table["status"]) & 0xC000_0000) != 0
    for number, name in enumerate(key.dictionary.to_pylist()):
        rows = np.flatnonzero(codes == number)
        rows = rows[np.argsort(time[rows], kind="stable")]
        newest = np.append(np.diff(time[rows]) > 0, [True])  # of two samples of one moment the later one counts
        rows = rows[newest]
        machine, _, tag_name = name.partition("\0")
        worn = np.where(bad[rows], np.nan, value[rows])
        found = tuple(sorted({units[c] or "" for c in np.unique(unit_codes[rows]).tolist()}))
        out[machine, tag_name] = TagSeries(time[rows], worn, found)
    return out


def _rows(tables: Sequence[pa.Table]) -> tuple[Record, ...]:
    out: list[Record] = []
    for table in tables:
        for time, equipment, kind, record in zip(*(table[c].to_pylist() for c in recorded.ROW_COLUMNS), strict=True):
            row = json.loads(record)
            out.append({**row, "time": time.isoformat(), "equipment_id": equipment, "kind": row.get("kind", kind)})
    return tuple(sorted(out, key=lambda r: str(r["time"])))
