"""The condition task: inputs and outputs. Imports numpy and pydantic only; the model comes in ``load``."""

from __future__ import annotations

from typing import ClassVar

from lineside_plugins.contract import Channel, DataType, Inputs, OutputField, Outputs, Trigger, WindowSpec
from lineside_plugins.learning.learned import LearnedAdvice
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.fields import fields_of
from lineside_plugins.types import Kind


class ConditionTask(LearnedAdvice[ConditionConfig]):
    """For any tags with names and units: what the head that was fine-tuned says of a window of them."""

    config_type: ClassVar[type[ConditionConfig]] = ConditionConfig

    def inputs(self) -> Inputs:
        """One window of the configured tags."""
        c = self.config
        channels = tuple(Channel(tag, unit=unit) for tag, unit in c.tags.items())
        window = WindowSpec(channels, c.length, c.period_s, min_good=0.25)
        return Inputs(Trigger(every_s=c.look_s), c.deadline_s or 2 * c.look_s, window, requires=tuple(c.tags))

    def outputs(self) -> Outputs:
        """The flag asks for a look at the machine at its next chance."""
        fields = (
            OutputField("flag", DataType.BOOLEAN, "Take the machine out of service at its next chance."),
            *fields_of(self.config),
            OutputField("novelty", DataType.DOUBLE, "Distance from what was learned from; 1 is the limit.", "", 0.0),
            OutputField("device_health", DataType.INT32, "NAMUR NE 107 status as in OPC UA DI.", low=0, high=4),
        )
        return Outputs(Kind.MAINTENANCE, fields, flag="flag")
