"""The reject task: inputs, outputs and advice. Imports numpy and pydantic only; models come in ``load``."""

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
from lineside_plugins.tasks.reject import features as f
from lineside_plugins.tasks.reject.config import RejectConfig
from lineside_plugins.types import Kind

OPTIONAL = ("ToolCount", "ToolOffset")


class RejectTask(LearnedTask[RejectConfig]):
    """On each part of a mill or press: how likely it is off dimension or porous, and whether to take it out."""

    config_type: ClassVar[type[RejectConfig]] = RejectConfig

    def inputs(self) -> Inputs:
        """Six hours of the mill in cells of a minute, what the bench measured, and the part itself."""
        return Inputs(
            trigger=Trigger(on_change=("SerialNo",)),
            deadline_s=self.config.deadline_s,
            window=milling.window(OPTIONAL),
            snapshot=("SerialNo", "ToolCount", "ToolOffset", "ForceCurve"),
            records=(RecordSpec("events", limit=2 * f.INSPECTED, kinds=("inspection",)),),
            requires=("SerialNo",),
        )

    def outputs(self) -> Outputs:
        """The flag asks the PLC to reject ``serial_no`` at the end of the line."""
        double = DataType.DOUBLE
        return Outputs(
            kind=Kind.REJECT,
            flag="flag",
            fields=(
                OutputField("flag", DataType.BOOLEAN, "Take this part out at the end of the line."),
                OutputField("serial_no", DataType.STRING, "Serial number of the part."),
                OutputField("defect_probability", double, "Probability of any defect.", low=0.0, high=1.0),
                OutputField(
                    "dimension_probability",
                    double,
                    "Probability of being off dimension; at a press the usual share.",
                    low=0.0,
                    high=1.0,
                ),
                OutputField(
                    "porosity_probability",
                    double,
                    "Probability of porosity; at a mill the usual share.",
                    low=0.0,
                    high=1.0,
                ),
            ),
        )
