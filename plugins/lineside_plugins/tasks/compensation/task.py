"""The compensation task: inputs, outputs and advice. Imports numpy and pydantic only; models come in ``load``."""

from __future__ import annotations

from typing import ClassVar

from lineside_plugins.contract import (
    DataType,
    Inputs,
    OutputField,
    Outputs,
    RecordSpec,
    Trigger,
)
from lineside_plugins.learning import milling
from lineside_plugins.learning.learned import LearnedTask
from lineside_plugins.tasks.compensation.config import CompensationConfig
from lineside_plugins.types import Kind

OFFSET_UM = 500.0  # no tool offset a mill takes is larger; the plant's own bounds are narrower


class CompensationTask(LearnedTask[CompensationConfig]):
    """While a mill makes parts: the tool offset that brings the next ones back to their nominal dimension."""

    config_type: ClassVar[type[CompensationConfig]] = CompensationConfig

    def inputs(self) -> Inputs:
        """Six hours of the mill in cells of a minute, what the bench measured, and the part just completed."""
        return Inputs(
            # State: the first parts after a stop are cut cold, so the offset has to be there before them.
            trigger=Trigger(on_change=("SerialNo", "State"), min_interval_s=self.config.every_s),
            deadline_s=self.config.deadline_s,
            window=milling.window(),
            snapshot=("ToolCount", "ToolOffset"),
            records=(RecordSpec("events", limit=2 * milling.INSPECTED, kinds=("inspection",)),),
            requires=("SerialNo", "ToolCount", "ToolOffset"),
        )

    def outputs(self) -> Outputs:
        """The flag asks for ``tool_offset`` as the total compensation from the next part on."""
        double, um = DataType.DOUBLE, OFFSET_UM
        return Outputs(
            kind=Kind.SET_POINT,
            flag="flag",
            fields=(
                OutputField("flag", DataType.BOOLEAN, "The offset should be changed."),
                OutputField("tool_offset", double, "Advised total tool offset.", "um", low=-um, high=um),
                OutputField("deviation", double, "Expected deviation at the present offset.", "um", low=-um, high=um),
                OutputField("spread", double, "Standard deviation of a part around it.", "um", low=0.0, high=um),
            ),
        )
