"""What the gateway keeps of what came in and went out, as Parquet."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lineside_gateway.settings.section import FilePath, Section


class RecordingSettings(Section):
    """Tags, events, recommendations (of versions in shadow too) and answers as Parquet by day, for training.

    Needs ``lineside[recording]``. A file appears whole or not at all.
    """

    folder: FilePath = Field(default=Path("var/recorded"), description="Folder of the recording.")
    period_s: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="Mean of each tag over so many seconds of event time; the last value of whole numbers; "
        "0 keeps every sample.",
    )
    write_every_s: float = Field(
        default=60.0, ge=0.1, le=3600, description="Wall-clock time between two files; a crash loses at most that."
    )
    max_gb: float = Field(default=20.0, gt=0, description="Size of all files; beyond it the oldest days go.")
    max_days: int = Field(default=400, ge=1, le=36_500, description="Days kept.")
