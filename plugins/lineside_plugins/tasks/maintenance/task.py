"""The maintenance task: inputs, outputs and advice. Imports numpy and pydantic only; models come in ``load``."""

from __future__ import annotations

from typing import ClassVar

from lineside_plugins.contract import (
    Aggregate,
    Channel,
    DataType,
    Inputs,
    OutputField,
    Outputs,
    RecordSpec,
    Trigger,
    WindowSpec,
)
from lineside_plugins.learning.learned import LearnedTask
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.tasks.maintenance.config import MaintenanceConfig
from lineside_plugins.types import Kind

UNITS = {"VibRms": "mm/s", "SpindleTemp": "degC", "SpindlePower": "kW"}
EVENTS = ("failure", "repair", "maintenance")


class MaintenanceTask(LearnedTask[MaintenanceConfig]):
    """Every minute per machine: failure probability, remaining life, likely mode, health, and whether to act."""

    config_type: ClassVar[type[MaintenanceConfig]] = MaintenanceConfig

    def inputs(self) -> Inputs:
        """Two days of condition tags in cells of 15 minutes, and the machine's own renewals."""
        counted = ("State", "ActiveFamily", "ToolCount")
        channels = tuple(
            Channel(
                tag,
                unit=UNITS.get(tag, ""),
                aggregate=Aggregate.LAST if tag in counted else Aggregate.MEAN,
                optional=tag == "ToolCount",
            )
            for tag in f.CHANNELS
        )
        return Inputs(
            trigger=Trigger(every_s=self.config.every_s),
            deadline_s=self.config.deadline_s,
            window=WindowSpec(channels, length=f.LENGTH, period_s=f.PERIOD_S, min_good=0.02),
            records=(RecordSpec("events", limit=8, kinds=EVENTS),),
            requires=tuple(tag for tag in f.CHANNELS if tag != "ToolCount"),
        )

    def outputs(self) -> Outputs:
        """The flag asks for planned maintenance at the machine's next chance."""
        double, text = DataType.DOUBLE, DataType.STRING
        return Outputs(
            kind=Kind.MAINTENANCE,
            flag="flag",
            fields=(
                OutputField("flag", DataType.BOOLEAN, "Take the machine out of service at its next chance."),
                OutputField("failure_probability", double, "Probability of failure within 24 h.", low=0.0, high=1.0),
                OutputField("rul_h", double, "Remaining useful life, median; 240 = at least.", "h", 0.0, 240.0),
                OutputField("rul_low_h", double, "Lower end of the 90 % interval of rul_h.", "h", 0.0, 240.0),
                OutputField("rul_high_h", double, "Upper end of the 90 % interval of rul_h.", "h", 0.0, 240.0),
                OutputField("mode", text, "Likely cause: none, bearing, lubrication or sensor_drift."),
                OutputField("device_health", DataType.INT32, "NAMUR NE 107 status as in OPC UA DI.", low=0, high=4),
                OutputField("predicted_time", DataType.DATE_TIME, "When rul_h runs out, UTC."),
            ),
        )
