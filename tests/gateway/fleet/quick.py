"""A task for tests of the fleet: one recommendation a second for each machine, and each asks for a write."""

import os

from lineside_plugins import (
    Advice,
    Channel,
    DataType,
    Inputs,
    Kind,
    OutputField,
    Outputs,
    TaskConfig,
    TaskPlugin,
    Trigger,
    WindowBatch,
    WindowSpec,
)


class QuickTask(TaskPlugin[TaskConfig]):
    config_type = TaskConfig
    needs_model = False

    def inputs(self) -> Inputs:
        window = WindowSpec((Channel("Load"),), length=4, period_s=0.25)
        return Inputs(
            Trigger(every_s=1),
            deadline_s=float(os.environ.get("QUICK_DEADLINE_S", "20")),
            window=window,
            requires=("Load",),
        )

    def outputs(self) -> Outputs:
        fields = (OutputField("flag", DataType.BOOLEAN, "always"), OutputField("load", DataType.DOUBLE, "mean"))
        return Outputs(Kind.REJECT, fields, flag="flag")

    def recommend(self, batch: WindowBatch) -> list[Advice | None]:
        return [Advice({"flag": True, "load": 1.0}, 0.9) for _ in range(len(batch))]
