"""What a gateway records, as Parquet files: the names both sides use. The gateway writes, training commands read.

    <root>/day=2026-01-05/tags-000000.parquet        a partition per UTC day of event time, files in order of writing
    <root>/day=2026-01-05/events-000000.parquet

``tags``: ``time`` timestamp[us, UTC], ``equipment_id``, ``tag``, ``unit`` (dictionary<string>), ``value`` double,
``status`` uint32 (StatusCode), ``samples`` uint32. A row is one sample, or the mean of a cell of ``period_s`` where
recording thins out; then ``time`` is the cell's end and ``samples`` how many Good ones it holds.

``events``, ``recommendations``, ``answers``: ``time``, ``equipment_id``, ``kind`` (of an event, the task, the verdict)
and ``record``, a JSON object with all that is known of it.
"""

from __future__ import annotations

TAGS, EVENTS, RECOMMENDATIONS, ANSWERS = "tags", "events", "recommendations", "answers"
TABLES = (TAGS, EVENTS, RECOMMENDATIONS, ANSWERS)
SUFFIX, UNFINISHED = ".parquet", ".tmp"
TAG_COLUMNS = ("time", "equipment_id", "tag", "unit", "value", "status", "samples")
ROW_COLUMNS = ("time", "equipment_id", "kind", "record")


def day_folder(day: str) -> str:
    """Folder of the UTC day ``day`` (ISO 8601) below the root, in the manner of Hive partitions."""
    return f"day={day}"
