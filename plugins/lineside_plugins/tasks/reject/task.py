"""The reject task: inputs, outputs and advice. Imports numpy and pydantic only; models come in ``load``."""

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
from lineside_plugins.tasks.reject import features as f
from lineside_plugins.tasks.reject.config import RejectConfig
from lineside_plugins.types import Advice, ContractError, Kind, ModelData, WindowBatch

if TYPE_CHECKING:
    from lineside_plugins.tasks.reject.advisor import Advisor

UNITS = {"SpindlePower": "kW", "SpindleTemp": "degC", "ToolOffset": "um"}
OPTIONAL = ("ToolCount", "ToolOffset")


class RejectTask(TrainableTask[RejectConfig]):
    """On each part of a mill or press: how likely it is off dimension or porous, and whether to take it out."""

    config_type: ClassVar[type[RejectConfig]] = RejectConfig
    _advisor: Advisor | None = None

    def inputs(self) -> Inputs:
        """Six hours of the mill in cells of a minute, what the bench measured, and the part itself."""
        channels = tuple(
            Channel(
                tag,
                unit=UNITS.get(tag, ""),
                aggregate=Aggregate.MEAN if tag in ("SpindlePower", "SpindleTemp") else Aggregate.LAST,
                optional=tag in OPTIONAL,
            )
            for tag in f.CHANNELS
        )
        return Inputs(
            trigger=Trigger(on_change=("SerialNo",)),
            deadline_s=self.config.deadline_s,
            window=WindowSpec(channels, length=f.LENGTH, period_s=f.PERIOD_S, min_good=0.01),
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

    def load(self, model: ModelData | None, device: str) -> None:
        """Build both heads from their tensors.

        Raises:
            ContractError: There is no model; train one.
        """
        from lineside_plugins.tasks.reject.advisor import Advisor  # noqa: PLC0415  may import torch

        if model is None:
            raise ContractError("task 'reject' has no model; run: lineside train reject")
        self._advisor = Advisor.from_model(model, device, self.config)

    def recommend(self, batch: WindowBatch) -> Sequence[Advice | None]:
        """One advice per part; None for equipment without tool or force curve, or without a serial number.

        Raises:
            ContractError: ``load`` was not called.
        """
        if self._advisor is None:
            raise ContractError("task 'reject' is not loaded; call load first")
        return self._advisor.advise(batch)

    def close(self) -> None:
        """Forget the model."""
        self._advisor = None

    def fit(
        self, train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str
    ) -> TrainedModel:
        """Train trees and networks for both heads; ship what validates best. See ``training``."""
        from lineside_plugins.tasks.reject.training import fit  # noqa: PLC0415  imports torch and scikit-learn

        return fit(train, validation, seed=seed, device=device)

    def evaluate(self, model: ModelData, test: Sequence[Recording], *, device: str) -> Mapping[str, object]:
        """Ranking, calibration and what the bench would have caught on plants nobody has seen."""
        from lineside_plugins.tasks.reject.training import evaluate  # noqa: PLC0415  imports torch

        return evaluate(model, test, device=device)
