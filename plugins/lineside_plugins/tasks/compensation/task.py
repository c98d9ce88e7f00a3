"""The compensation task: inputs, outputs and advice. Imports numpy and pydantic only; models come in ``load``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from lineside_plugins.contract import (
    Aggregate,
    Channel,
    DataType,
    Inputs,
    OutputField,
    Outputs,
    Recording,
    RecordSpec,
    TrainableTask,
    TrainedModel,
    Trigger,
    WindowSpec,
)
from lineside_plugins.learning import milling
from lineside_plugins.tasks.compensation.config import CompensationConfig
from lineside_plugins.types import Advice, ContractError, Kind, ModelData, WindowBatch

if TYPE_CHECKING:
    from lineside_plugins.tasks.compensation.advisor import Advisor

OFFSET_UM = 500.0  # no tool offset a mill takes is larger; the plant's own bounds are narrower


class CompensationTask(TrainableTask[CompensationConfig]):
    """While a mill makes parts: the tool offset that brings the next ones back to their nominal dimension."""

    config_type: ClassVar[type[CompensationConfig]] = CompensationConfig
    _advisor: Advisor | None = None

    def inputs(self) -> Inputs:
        """Six hours of the mill in cells of a minute, what the bench measured, and the part just completed."""
        channels = tuple(
            Channel(
                tag,
                unit=milling.UNITS.get(tag, ""),
                aggregate=Aggregate.MEAN if tag in milling.MEANS else Aggregate.LAST,
            )
            for tag in milling.CHANNELS
        )
        return Inputs(
            # State: the first parts after a stop are cut cold, so the offset has to be there before them.
            trigger=Trigger(on_change=("SerialNo", "State"), min_interval_s=self.config.every_s),
            deadline_s=self.config.deadline_s,
            window=WindowSpec(channels, length=milling.LENGTH, period_s=milling.PERIOD_S, min_good=0.01),
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

    def load(self, model: ModelData | None, device: str) -> None:
        """Build the model from its tensors.

        Raises:
            ContractError: There is no model; train one.
        """
        from lineside_plugins.tasks.compensation.advisor import Advisor  # noqa: PLC0415  may import torch

        if model is None:
            raise ContractError("task 'compensation' has no model; run: lineside train compensation")
        self._advisor = Advisor.from_model(model, device, self.config)

    def recommend(self, batch: WindowBatch) -> Sequence[Advice | None]:
        """One advice per mill; None where its tool or its offset is not known.

        Raises:
            ContractError: ``load`` was not called.
        """
        if self._advisor is None:
            raise ContractError("task 'compensation' is not loaded; call load first")
        return self._advisor.advise(batch)

    def close(self) -> None:
        """Forget the model."""
        self._advisor = None

    def fit(
        self, train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str
    ) -> TrainedModel:
        """Train trees and a network; ship what validates best. See ``training``."""
        from lineside_plugins.tasks.compensation.training import fit  # noqa: PLC0415  imports torch and scikit-learn

        return fit(train, validation, seed=seed, device=device)

    def evaluate(self, model: ModelData, test: Sequence[Recording], *, device: str) -> Mapping[str, object]:
        """Error, coverage and the parts that would have been off dimension, on plants nobody has seen."""
        from lineside_plugins.tasks.compensation.training import evaluate  # noqa: PLC0415  imports torch

        return evaluate(model, test, device=device)
