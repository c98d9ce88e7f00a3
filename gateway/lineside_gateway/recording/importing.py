"""Tags and events from files of other systems, as a recording of the gateway's own kind.

Long tables have columns time, equipment_id, tag, value, and perhaps unit and status. Wide ones have a time and a column
per tag, ``VibRms [mm/s]`` with its unit, and perhaps equipment_id. Event tables have time, equipment_id and kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from lineside_gateway.recording.archive import Archive, RecordingError, schema_of
from lineside_plugins import recorded

LONG, EVENT = ("tag", "value"), ("kind",)
_TIME = pa.timestamp("us", tz="UTC")
CONVERSIONS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("in/s", "mm/s"): (25.4, 0.0), ("m/s", "mm/s"): (1000.0, 0.0), ("degF", "degC"): (5 / 9, -160 / 9),
    ("K", "degC"): (1.0, -273.15), ("W", "kW"): (0.001, 0.0), ("hp", "kW"): (0.745699872, 0.0),
    ("mbar", "bar"): (0.001, 0.0), ("kPa", "bar"): (0.01, 0.0), ("psi", "bar"): (0.0689475729, 0.0),
    ("Wh", "kWh"): (0.001, 0.0), ("m3/h", "l/min"): (1000 / 60, 0.0),
}  # fmt: skip
"""Factor and offset from one unit to another. Source: NIST SP 811 (2008), appendix B."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a file. ``equipment_id`` where the file names none; ``units`` by tag, to convert to."""

    equipment_id: str = ""
    time_column: str = "time"
    units: Mapping[str, str] = field(default_factory=dict)


def import_file(path: Path, archive: Archive, how: Reading) -> tuple[str, int]:
    """Add the rows of ``path`` (CSV or Parquet) to ``archive``; which table they went to, and how many.

    Raises:
        RecordingError: The file cannot be read, a column is missing, a time or unit makes no sense.
    """
    table = _timed(path, _read(path), how)
    names = table.column_names
    if all(c in names for c in EVENT) and not all(c in names for c in LONG):
        rows = _events(path, table, how)
        archive.write(recorded.EVENTS, rows)
        return recorded.EVENTS, rows.num_rows
    rows = _tags(path, table if all(c in names for c in LONG) else _lengthened(path, table, how), how)
    archive.write(recorded.TAGS, rows)
    return recorded.TAGS, rows.num_rows


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path, partitioning=None) if path.suffix == recorded.SUFFIX else pv.read_csv(path)
    except (OSError, pa.ArrowException) as e:
        raise RecordingError(f"{path} cannot be read: {e}; expected CSV with a header line, or Parquet") from e
    if not table.num_rows:
        raise RecordingError(f"{path} has no rows; export it again")
    return table


def _timed(path: Path, table: pa.Table, how: Reading) -> pa.Table:
    """With the column ``time`` in microseconds UTC; a time without a zone is UTC."""
    if how.time_column not in table.column_names:
        raise RecordingError(
            f"{path} has no column '{how.time_column}'; it has {', '.join(table.column_names)}; name it with "
            "--time-column"
        )
    column = table[how.time_column]
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.strptime(column, format="%Y-%m-%dT%H:%M:%S%z", unit="us")
        zoned = not pa.types.is_timestamp(column.type) or column.type.tz is not None
        time = column.cast(_TIME) if zoned else column.cast(pa.timestamp("us")).cast(_TIME)
    except pa.ArrowException as e:
        raise RecordingError(
            f"{path}: column '{how.time_column}' holds {column.type}, which is no time: {e}; write ISO 8601"
        ) from e
    return table.drop_columns([how.time_column]).append_column("time", time)


def _lengthened(path: Path, table: pa.Table, how: Reading) -> pa.Table:
    """A wide table as a long one; columns that are no numbers are left out."""
    parts, count = [], table.num_rows
    machine = table["equipment_id"] if "equipment_id" in table.column_names else pa.array([how.equipment_id] * count)
    for name in table.column_names:
        column = table[name]
        if name in ("time", "equipment_id") or not (
            pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)
        ):
            continue
        tag, _, unit = name.partition("[")
        parts.append(pa.table({
            "time": table["time"], "equipment_id": machine.cast(pa.string()),
            "tag": pa.array([tag.strip()] * count), "unit": pa.array([unit.rstrip("] ").strip()] * count),
            "value": column.cast(pa.float64()),
        }))  # fmt: skip
    if not parts:
        raise RecordingError(f"{path} has no column of numbers; it has {', '.join(table.column_names)}")
    return pa.concat_tables(parts)


def _tags(path: Path, table: pa.Table, how: Reading) -> pa.Table:
    count, names = table.num_rows, table.column_names
    machine = _machines(path, table, how)
    tag = table["tag"].cast(pa.string())
    unit = table["unit"].cast(pa.string()) if "unit" in names else pa.array([""] * count)
    value, unit = _converted(path, tag, unit, table["value"].cast(pa.float64()), how.units)
    status = table["status"].cast(pa.uint32()) if "status" in names else pa.array(np.zeros(count, np.uint32))
    samples = pa.array(np.ones(count, np.uint32))
    return _as(recorded.TAGS, [table["time"], machine, tag, unit, value, status, samples])


def _converted(
    path: Path, tag: pa.Array, unit: pa.Array, value: pa.Array, wanted: Mapping[str, str]
) -> tuple[pa.Array, pa.Array]:
    """Values in the units asked for, and those units."""
    tags, units = np.asarray(tag.to_pylist(), dtype=object), np.asarray(unit.to_pylist(), dtype=object)
    values = np.asarray(
        value.to_numpy(zero_copy_only=False) if isinstance(value, pa.Array) else value.to_numpy(), float
    )
    for name, target in wanted.items():
        own = tags == name
        if not own.any():
            raise RecordingError(f"{path} has no tag '{name}'; it has {', '.join(sorted(set(tags.tolist())))}")
        for source in sorted(set(units[own].tolist()) - {"", None, target}):
            if (source, target) not in CONVERSIONS:
                raise RecordingError(
                    f"{path}: no conversion from '{source}' to '{target}' is known; convert {name} first"
                )
            factor, offset = CONVERSIONS[source, target]
            here = own & (units == source)
            values = np.where(here, factor * values + offset, values)
        units[own] = target
    return pa.array(values, from_pandas=True), pa.array([u or "" for u in units])


def _events(path: Path, table: pa.Table, how: Reading) -> pa.Table:
    machine = _machines(path, table, how)
    kind = table["kind"].cast(pa.string())
    rows = table.drop_columns(["time"]).to_pylist()
    record = [json.dumps({"stream": "events", **row}, default=str) for row in rows]
    return _as(recorded.EVENTS, [table["time"], machine, kind, pa.array(record)])


def _machines(path: Path, table: pa.Table, how: Reading) -> pa.Array:
    if "equipment_id" in table.column_names:
        named = table["equipment_id"].cast(pa.string())
        if named.null_count == 0 and "" not in pc.unique(named).to_pylist():
            return named
    if not how.equipment_id:
        raise RecordingError(f"{path} does not say which machine its rows are of; give --equipment")
    return pa.array([how.equipment_id] * table.num_rows)


def _as(kind: str, columns: list[pa.Array]) -> pa.Table:
    schema = schema_of(kind)
    whole = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns]
    return pa.Table.from_arrays([c.cast(schema.field(i).type) for i, c in enumerate(whole)], schema=schema)
