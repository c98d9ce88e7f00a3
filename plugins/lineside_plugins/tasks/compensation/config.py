"""Configuration of the compensation task."""

from __future__ import annotations

from pydantic import Field

from lineside_plugins.contract import TaskConfig


class CompensationConfig(TaskConfig):
    """What a user may set; everything learned lives with the weights."""

    deadline_s: float = Field(
        default=120.0, gt=0, description="Latest useful answer, s after the part was completed; later ones are dropped."
    )
    every_s: float = Field(default=120.0, gt=0, description="Shortest time between two answers for a mill, s.")
    deadband_um: float = Field(
        default=2.0, ge=0, description="Offsets nearer than this to the present one are not asked for, um."
    )
