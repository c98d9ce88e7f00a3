"""Rows of recorded Parquet files, taken out file by file; each file is replaced whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from lineside_gateway.errors import LinesideError

Fits = Callable[[datetime, Collection[str], Callable[[], Collection[str]]], bool]


def remove(folder: Path, fits: Fits, *, by_words: bool) -> int:
    """Remove the rows below ``folder`` that ``fits`` (time, equipment, texts); how many. ``by_words``: texts decide.

    Raises:
        LinesideError: pyarrow is not installed, or there is no such folder.
        OSError, ValueError: A file cannot be read or written; pyarrow's errors are both.
    """
    if not folder.is_dir():
        raise LinesideError(f"there are no recordings in {folder}; correct --recordings")
    try:
        import pyarrow.parquet as pq  # noqa: PLC0415 - only who records needs it
    except ImportError as e:
        raise LinesideError("recordings are Parquet files; run: pip install pyarrow") from e
    removed = 0
    for path in sorted(folder.rglob("*.parquet")):
        table = pq.ParquetFile(path).read()
        if by_words and "record" not in table.column_names:
            continue  # tags: numbers, and nobody's words
        columns = [c for c in ("time", "equipment_id", "record") if c in table.column_names]
        rows = table.select(columns).to_pylist()
        kept = [not fits(_aware(r["time"]), {str(r.get("equipment_id"))}, partial(_words, r)) for r in rows]
        if all(kept):
            continue
        removed += len(kept) - sum(kept)
        if not any(kept):
            path.unlink()
            continue
        fresh = path.with_suffix(".forgetting")
        pq.write_table(table.filter(kept), fresh)
        fresh.replace(path)
    return removed


def _words(row: Mapping[str, object]) -> set[str]:
    """Texts of the record of a row, which is JSON."""
    found = json.loads(str(row.get("record") or "{}"))
    return {v for v in found.values() if isinstance(v, str)} if isinstance(found, dict) else set()


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
