"""Configuration of the condition task."""

from __future__ import annotations

from pydantic import Field

from lineside_plugins.contract import TaskConfig

TAGS = {"VibRms": "mm/s", "VibKurtosis": "", "SpindleTemp": "degC", "SpindlePower": "kW"}


class ConditionConfig(TaskConfig):
    """What a user may set; everything learned lives with the model, which must be of the same tags and window."""

    tags: dict[str, str] = Field(
        default_factory=lambda: dict(TAGS), min_length=1, description="Tag -> unit it must be in, '' for none."
    )
    length: int = Field(default=72, ge=8, le=4096, description="Cells of a window.")
    period_s: float = Field(default=600.0, gt=0, description="Length of a cell, s.")
    every_s: float = Field(default=600.0, gt=0, description="Event time between two looks at a machine, s.")
    deadline_s: float = Field(
        default=1200.0, gt=0, description="How long a recommendation stays valid, s of event time."
    )
    threshold: float | None = Field(
        default=None, gt=0, lt=1, description="Probability that raises the flag; empty = the model's own."
    )
