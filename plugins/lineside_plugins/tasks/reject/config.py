"""Configuration of the reject task."""

from __future__ import annotations

from pydantic import Field

from lineside_plugins.contract import TaskConfig
from lineside_plugins.tasks.reject.decision import ESCAPE_COST


class RejectConfig(TaskConfig):
    """What a user may set; everything learned lives with the weights."""

    deadline_s: float = Field(
        default=60.0, gt=0, description="Latest useful answer, s after the part was completed; later ones are dropped."
    )
    escape_cost: float = Field(
        default=ESCAPE_COST,
        ge=1,
        description="Good parts that a shipped defect costs; decides from when a part is worth scrapping unseen.",
    )
    dimension_threshold: float | None = Field(
        default=None, gt=0, lt=1, description="Probability that flags a part at a mill; empty = the tuned one."
    )
    porosity_threshold: float | None = Field(
        default=None, gt=0, lt=1, description="Probability that flags a part at a press; empty = the tuned one."
    )
