"""A task in thirty lines: flags a machine whose mean spindle temperature of the last minute is above a limit."""

import numpy as np

from lineside_plugins import (
    Advice, Channel, DataType, Inputs, Kind, OutputField, Outputs, Reason, TaskConfig, TaskPlugin, Trigger,
    WindowBatch, WindowSpec,
)  # fmt: skip


class OverheatConfig(TaskConfig):
    limit_degc: float = 70.0


class OverheatTask(TaskPlugin[OverheatConfig]):
    config_type = OverheatConfig
    needs_model = False

    def inputs(self) -> Inputs:
        window = WindowSpec((Channel("SpindleTemp", "degC"),), length=6, period_s=10)
        return Inputs(Trigger(every_s=10), deadline_s=30, window=window, requires=("SpindleTemp",))

    def outputs(self) -> Outputs:
        flag = OutputField("flag", DataType.BOOLEAN, "ask for maintenance")
        mean = OutputField("temperature", DataType.DOUBLE, "mean of the last minute", "degC", low=-50, high=400)
        return Outputs(Kind.MAINTENANCE, (flag, mean), flag="flag")

    def recommend(self, batch: WindowBatch) -> list[Advice | None]:
        means = np.array([np.nanmean(w) if np.isfinite(w).any() else np.nan for w in batch.values])
        return [self.advise(float(m)) if np.isfinite(m) else None for m in means]

    def advise(self, mean: float) -> Advice:
        why = Reason("SpindleTemp", 1.0, f"mean {mean:.0f} degC, limit {self.config.limit_degc:.0f} degC")
        return Advice({"flag": mean > self.config.limit_degc, "temperature": mean}, 0.9, reasons=(why,))
