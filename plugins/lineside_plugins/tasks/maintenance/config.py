"""Configuration of the maintenance task."""

from __future__ import annotations

from pydantic import Field

from lineside_plugins.contract import TaskConfig


class MaintenanceConfig(TaskConfig):
    """What a user may set; everything learned lives with the weights."""

    every_s: float = Field(default=60.0, gt=0, description="Event time between two looks at a machine, s.")
    deadline_s: float = Field(
        default=120.0, gt=0, description="How long a recommendation stays valid, s of event time."
    )
    threshold: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Failure probability within the rule's horizon that raises the flag; empty = the cost-tuned one.",
    )
    min_age_h: float = Field(
        default=4.0, ge=0, description="No flag so soon after a renewal, h; the window is still filling."
    )
