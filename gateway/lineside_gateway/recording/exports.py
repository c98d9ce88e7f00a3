"""What other systems export, as a table with a time: separators, encodings, time formats, words in place of numbers.

Historians and spreadsheets write by the rules of the country they stand in. What can be told from the file is told from
it; what cannot, such as whether the day or the month comes first, is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from lineside_gateway.recording.archive import RecordingError
from lineside_plugins import recorded

UTF8, UTF16, WESTERN = "utf-8", "utf-16", "cp1252"
SEPARATORS = ",;\t|"
SAMPLED_LINES = 200
ISO_ZONED = "%Y-%m-%dT%H:%M:%S%z"
DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d-%b-%Y", "%d-%b-%y", "%Y%m%d")
CLOCKS = (" %H:%M:%S", " %H:%M", " %H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p")
TRIED = 500  # cells a format is tried on before it is tried on all
_TIME = pa.timestamp("us", tz="UTC")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA_NUMBER, _POINT_NUMBER = re.compile(r"^[+-]?\d+,\d+$"), re.compile(r"^[+-]?\d+\.\d+$")
_EPOCHS = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (1e8, 1e6))  # from this number on, and microseconds of one


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is laid out: the column of the time, its strptime format ('' for ISO 8601), and the zone it means.

    ``columns`` are other names for columns, by the name that is wanted.
    """

    time_column: str = "time"
    time_format: str = ""
    zone: str = "UTC"
    columns: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, layout: Layout) -> pa.Table:
    """The rows of a CSV or Parquet file, with the column ``time`` in microseconds UTC.

    Raises:
        RecordingError: The file cannot be read, a column is missing, or a time makes no sense.
    """
    try:
        table = pq.read_table(path, partitioning=None) if path.suffix == recorded.SUFFIX else _csv(path)
    except (OSError, UnicodeError, pa.ArrowException) as e:
        raise RecordingError(f"{path} cannot be read: {e}; expected CSV with a header line, or Parquet") from e
    if not table.num_rows:
        raise RecordingError(f"{path} has no rows; export it again")
    return _timed(path, _renamed(path, table, layout.columns), layout)


def is_text(column: pa.ChunkedArray) -> bool:
    """Whether it holds words."""
    return any(bool(is_kind(column.type)) for is_kind in (pa.types.is_string, pa.types.is_large_string))


def is_number(column: pa.ChunkedArray) -> bool:
    """Whether it holds numbers, truth values, or nothing at all."""
    kinds = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null
    return any(bool(is_kind(column.type)) for is_kind in kinds)


def numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """A column as float64, null where it holds no number, and the words that stood there."""
    if not is_text(column):
        return column.cast(pa.float64()), pa.chunked_array([], pa.string())
    text = pc.utf8_trim_whitespace(column)
    is_number = pc.match_substring_regex(text, _NUMBER)
    words = text.filter(pc.and_(pc.invert(is_number), pc.not_equal(text, "")))
    return pc.if_else(is_number, text, None).cast(pa.float64()), words


def _csv(path: Path) -> pa.Table:
    with path.open("rb") as file:
        encoding = UTF16 if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else UTF8
    try:
        table = _parsed(path, encoding)
    except UnicodeDecodeError:
        return _parsed(path, WESTERN)
    return _parsed(path, WESTERN) if any(pa.types.is_binary(t) for t in table.schema.types) else table


def _parsed(path: Path, encoding: str) -> pa.Table:
    with path.open(encoding=encoding, errors="replace") as file:
        lines = [line.rstrip("\r\n") for line in islice(file, SAMPLED_LINES)]
    separator = max(SEPARATORS, key=lines[0].count) if lines else ","
    cells = [cell.strip() for line in lines[1:] for cell in line.split(separator)]
    comma = separator != "," and any(map(_COMMA_NUMBER.match, cells)) and not any(map(_POINT_NUMBER.match, cells))
    return pv.read_csv(
        path,
        read_options=pv.ReadOptions(encoding=encoding),
        parse_options=pv.ParseOptions(delimiter=separator),
        convert_options=pv.ConvertOptions(decimal_point="," if comma else "."),
    )


def _renamed(path: Path, table: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    if missing := [theirs for theirs in columns.values() if theirs not in table.column_names]:
        raise RecordingError(f"{path} has no column '{missing[0]}'; it has {', '.join(table.column_names)}")
    ours = {theirs: name for name, theirs in columns.items()}
    return table.rename_columns([ours.get(name, name) for name in table.column_names])


def _timed(path: Path, table: pa.Table, layout: Layout) -> pa.Table:
    """With the column ``time`` in microseconds UTC."""
    name = layout.time_column
    if name not in table.column_names:
        times = [n for n, t in zip(table.column_names, table.schema.types, strict=True) if pa.types.is_timestamp(t)]
        if len(times) != 1 or name != Layout().time_column:
            raise RecordingError(
                f"{path} has no column '{name}'; it has {', '.join(table.column_names)}; name it with --time-column"
            )
        name = times[0]
    column = table[name]
    where = f"{path}: column '{name}'"
    if is_text(column):
        column = _of_text(where, pc.utf8_trim_whitespace(column), layout.time_format)
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        column = _of_epoch(where, column, layout.time_format)
    try:
        zoned = pa.types.is_timestamp(column.type) and column.type.tz is not None
        column = column if zoned else pc.assume_timezone(
            column.cast(pa.timestamp("us"), safe=False), layout.zone, ambiguous="earliest", nonexistent="latest"
        )  # fmt: skip
        time = column.cast(_TIME, safe=False)
    except pa.ArrowException as e:
        raise RecordingError(f"{where} holds {column.type}, which is no time in zone '{layout.zone}': {e}") from e
    return table.drop_columns([name]).append_column("time", time)


def _of_text(where: str, column: pa.ChunkedArray, time_format: str) -> pa.ChunkedArray:
    """Times, with a zone where the text has one."""
    if (found := _parse(column, time_format or ISO_ZONED)) is not None:
        return found
    likely = _likely(column)
    cells = (c.as_py() for c in column)
    first = next(
        (c for c in cells if _parse(pa.chunked_array([[c]], pa.string()), time_format or ISO_ZONED) is None), ""
    )
    fits = f"; fits every row: --time-format {' or '.join(map(repr, likely))}" if likely else ""
    raise RecordingError(
        f"{where} holds '{first}', which is no time {f'of format {time_format!r}' if time_format else 'of ISO 8601'}"
        + (fits or "; say how it is written with --time-format, such as '%d.%m.%Y %H:%M:%S'")
    )


def _likely(column: pa.ChunkedArray) -> list[str]:
    """Formats that fit every row."""
    some = column.slice(0, TRIED)
    formats = [date + clock for date in DATES for clock in ("", *CLOCKS)]
    return [f for f in formats if _parse(some, f) is not None and _parse(column, f) is not None]


def _parse(column: pa.ChunkedArray, time_format: str) -> pa.ChunkedArray | None:
    """The times of a column of text; None where one is not of the format."""
    if "%f" in time_format:  # which Arrow does not know
        try:
            times = [text and datetime.strptime(text, time_format) for text in column.to_pylist()]  # noqa: DTZ007  naive ones get their zone later
        except ValueError:
            return None
        return pa.chunked_array([pa.array([t or None for t in times])])
    try:
        return pc.strptime(column, format=time_format, unit="us")
    except pa.ArrowException:
        return None


def _of_epoch(where: str, column: pa.ChunkedArray, time_format: str) -> pa.ChunkedArray:
    """Seconds, milliseconds, micro- or nanoseconds since 1970, whichever is of this century."""
    if time_format:
        return _of_text(where, column.cast(pa.string()), time_format)
    most = pc.max(column).as_py() or 0
    factor = next((per for least, per in _EPOCHS if most >= least), None)
    if factor is None:
        raise RecordingError(
            f"{where} holds numbers up to {most:g}, which count no seconds since 1970; add a column of times"
        )
    if pa.types.is_integer(column.type):
        whole = pc.multiply(column.cast(pa.int64()), int(factor)) if factor >= 1 else pc.divide(column, 1000)
    else:
        whole = pc.round(pc.multiply(column, factor)).cast(pa.int64())
    return whole.cast(_TIME)
