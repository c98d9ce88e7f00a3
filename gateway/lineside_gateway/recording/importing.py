"""Tags and events from files of other systems, as a recording of the gateway's own kind.

Long tables have columns time, equipment_id, tag, value, and perhaps unit and status. Wide ones have a time and a column
per tag, ``VibRms [mm/s]`` with its unit, and perhaps equipment_id. Event tables have time, equipment_id and kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineside_gateway.recording import exports
from lineside_gateway.recording.archive import Archive, RecordingError, schema_of
from lineside_plugins import recorded

LONG, EVENT = ("tag", "value"), ("kind",)
CONVERSIONS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("in/s", "mm/s"): (25.4, 0.0), ("m/s", "mm/s"): (1000.0, 0.0), ("degF", "degC"): (5 / 9, -160 / 9),
    ("K", "degC"): (1.0, -273.15), ("W", "kW"): (0.001, 0.0), ("hp", "kW"): (0.745699872, 0.0),
    ("mbar", "bar"): (0.001, 0.0), ("kPa", "bar"): (0.01, 0.0), ("psi", "bar"): (0.0689475729, 0.0),
    ("Wh", "kWh"): (0.001, 0.0), ("m3/h", "l/min"): (1000 / 60, 0.0),
}  # fmt: skip
"""Factor and offset from one unit to another. Source: NIST SP 811 (2008), appendix B."""


FILE = "{file}"
_SEVERITIES = {"good": 0, "uncertain": 0x4000_0000, "bad": 0x8000_0000}  # OPC UA part 4, 7.39: the two highest bits
_WORDS_TOLD = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a file. ``equipment_id`` where the file names none; ``units`` by tag, to convert to.

    ``{file}`` in ``equipment_id`` stands for the file's name without its ending.
    """

    equipment_id: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    layout: exports.Layout = field(default_factory=exports.Layout)


@dataclass(frozen=True, slots=True)
class Imported:
    """The table that rows went to, how many there were, and what was left out."""

    table: str
    rows: int
    left_out: tuple[str, ...] = ()


def import_file(path: Path, archive: Archive, how: Reading) -> Imported:
    """Add the rows of ``path`` (CSV or Parquet) to ``archive``.

    Raises:
        RecordingError: The file cannot be read, a column is missing, a time or unit makes no sense.
    """
    table = exports.read(path, how.layout)
    how = replace(how, equipment_id=how.equipment_id.replace(FILE, path.stem))
    names = table.column_names
    if all(c in names for c in EVENT) and not all(c in names for c in LONG):
        rows = _events(path, table, how)
        archive.write(recorded.EVENTS, rows)
        return Imported(recorded.EVENTS, rows.num_rows)
    left_out: list[str] = []
    rows = _tags(
        path, table if all(c in names for c in LONG) else _lengthened(path, table, how, left_out), how, left_out
    )
    archive.write(recorded.TAGS, rows)
    return Imported(recorded.TAGS, rows.num_rows, tuple(left_out))


def _lengthened(path: Path, table: pa.Table, how: Reading, left_out: list[str]) -> pa.Table:
    """A wide table as a long one; columns that are mostly no numbers are left out."""
    parts, texts, count = [], [], table.num_rows
    machine = table["equipment_id"] if "equipment_id" in table.column_names else pa.array([how.equipment_id] * count)
    for name in table.column_names:
        if name in ("time", "equipment_id"):
            continue
        tag, _, unit = name.partition("[")
        values = _numbers(table[name], tag.strip(), left_out)
        if values is None:
            texts.append(name)
            continue
        parts.append(pa.table({
            "time": table["time"], "equipment_id": machine.cast(pa.string()),
            "tag": pa.array([tag.strip()] * count), "unit": pa.array([unit.rstrip("] ").strip()] * count),
            "value": values,
        }))  # fmt: skip
    if not parts:
        raise RecordingError(f"{path} has no column of numbers; it has {', '.join(table.column_names)}")
    left_out += [f"{', '.join(texts)}: no numbers"] if texts else []
    return pa.concat_tables(parts)


def _numbers(column: pa.ChunkedArray, tag: str, left_out: list[str]) -> pa.ChunkedArray | None:
    """A column's values, null where there is none; None where it holds more words than numbers."""
    if not (exports.is_text(column) or exports.is_number(column)):
        return None
    values, words = exports.numbers(column)
    if not len(words):
        return values
    if len(words) > len(values) - values.null_count:
        return None
    told = ", ".join(f"'{word}'" for word in pc.unique(words).to_pylist()[:_WORDS_TOLD])
    left_out.append(f"{len(words)} of {len(values)} cells of {tag} that are no numbers, such as {told}")
    return values


def _tags(path: Path, table: pa.Table, how: Reading, left_out: list[str]) -> pa.Table:
    count, names = table.num_rows, table.column_names
    machine = _machines(path, table, how)
    tag = table["tag"].cast(pa.string())
    unit = table["unit"].cast(pa.string()) if "unit" in names else pa.array([""] * count)
    values = _numbers(table["value"], "value", left_out)
    if values is None:
        raise RecordingError(f"{path}: column 'value' holds {table['value'].type} and few numbers; export numeric tags")
    value, unit = _converted(path, tag, unit, values, how.units)
    status = _status(path, table["status"]) if "status" in names else pa.array(np.zeros(count, np.uint32))
    samples = pa.array(np.ones(count, np.uint32))
    return _as(recorded.TAGS, [table["time"], machine, tag, unit, value, status, samples])


def _status(path: Path, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """StatusCodes: numbers, or words that begin with Good, Uncertain or Bad; none is Good."""
    if not exports.is_text(column):
        return pc.fill_null(column.cast(pa.uint32()), 0)
    words = pc.unique(column.drop_null()).to_pylist()
    codes = {w: next((code for s, code in _SEVERITIES.items() if w.strip().lower().startswith(s)), None) for w in words}
    if unknown := [word for word, code in codes.items() if code is None and word]:
        raise RecordingError(
            f"{path}: status '{unknown[0]}' is none of Good, Uncertain, Bad, and no StatusCode; correct it, or "
            "leave the column out"
        )
    return pa.chunked_array([pa.array([codes.get(w) or 0 for w in column.to_pylist()], pa.uint32())])


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
        raise RecordingError(
            f"{path} does not say which machine its rows are of; give --equipment, {FILE} for the name of the file, or "
            "--column equipment_id=COLUMN"
        )
    return pa.array([how.equipment_id] * table.num_rows)


def _as(kind: str, columns: list[pa.Array]) -> pa.Table:
    schema = schema_of(kind)
    whole = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns]
    return pa.Table.from_arrays([c.cast(schema.field(i).type) for i, c in enumerate(whole)], schema=schema)
