"""The maintenance task: inputs, outputs and advice. Imports numpy and pydantic only; models come in ``load``."""

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
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.tasks.maintenance.config import MaintenanceConfig
from lineside_plugins.types import Advice, ContractError, Kind, ModelData, WindowBatch

if TYPE_CHECKING:
    from lineside_plugins.tasks.maintenance.advisor import Advisor

UNITS = {"VibRms": "mm/s", "SpindleTemp": "degC", "SpindlePower": "kW"}
EVENTS = ("failure", "repair", "maintenance")


class MaintenanceTask(TrainableTask[MaintenanceConfig]):
    """Every minute per machine: failure probability, remaining life, likely mode, health, and whether to act."""

    config_type: ClassVar[type[MaintenanceConfig]] = MaintenanceConfig
    _advisor: Advisor | None = None

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

    def load(self, model: ModelData | None, device: str) -> None:
        """Build the hazard model from its tensors.

        Raises:
            ContractError: There is no model; train one.
        """
        from lineside_plugins.tasks.maintenance.advisor import Advisor  # noqa: PLC0415  may import torch

        if model is None:
            raise ContractError("task 'maintenance' has no model; run: lineside train maintenance")
        self._advisor = Advisor.from_model(model, device, self.config)

    def recommend(self, batch: WindowBatch) -> Sequence[Advice | None]:
        """One advice per machine; None while it has been seen running for less than an hour since its renewal.

        Raises:
            ContractError: ``load`` was not called.
        """
        if self._advisor is None:
            raise ContractError("task 'maintenance' is not loaded; call load first")
        return self._advisor.advise(batch)

    def close(self) -> None:
        """Forget the model."""
        self._advisor = None

    def fit(
        self, train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str
    ) -> TrainedModel:
        """Train trees, network and the age rule; ship what validates best. See ``training``."""
        from lineside_plugins.tasks.maintenance.training import fit  # noqa: PLC0415  imports torch and scikit-learn

        return fit(train, validation, seed=seed, device=device)

    def evaluate(self, model: ModelData, test: Sequence[Recording], *, device: str) -> Mapping[str, object]:
        """Ranking, calibration, remaining life, coverage and replayed downtime on plants nobody has seen."""
        from lineside_plugins.tasks.maintenance.training import evaluate  # noqa: PLC0415  imports torch

        return evaluate(model, test, device=device)
