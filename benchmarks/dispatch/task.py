"""The benchmark's model as a Lineside task, installed for its worker as any stranger's task would be."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

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
)  # fmt: skip
from lineside_plugins.types import FloatArray, ModelData

NAME = "bench"
TAGS = tuple(f"Tag{i:02d}" for i in range(24))
SAMPLES = 128
ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class ScoreTask(TaskPlugin[ConfigT]):
    """Scores a window with the first number a model says about it, and flags it above zero."""

    def inputs(self) -> Inputs:
        """128 samples of 24 tags, ten a second."""
        window = WindowSpec(tuple(Channel(t) for t in TAGS), length=SAMPLES, period_s=0.1)
        return Inputs(Trigger(every_s=12.8), deadline_s=30.0, window=window)

    def outputs(self) -> Outputs:
        """A flag and its score."""
        fields = (
            OutputField("flag", DataType.BOOLEAN, "score above 0"),
            OutputField("score", DataType.DOUBLE, "score"),
        )
        return Outputs(Kind.MAINTENANCE, fields, flag="flag")

    def recommend(self, batch: WindowBatch) -> Sequence[Advice]:
        """One advice per window."""
        scores = self.said(batch.values)[:, 0].tolist()
        return [Advice({"flag": s > 0, "score": s}, confidence=0.9) for s in scores]

    @abstractmethod
    def said(self, values: FloatArray) -> FloatArray:
        """What the model says: (B, 24) of (B, 128, 24)."""


class BenchTask(ScoreTask[TaskConfig]):
    """The model of all contestants."""

    config_type = TaskConfig
    needs_model = False

    def load(self, model: ModelData | None, device: str) -> None:  # noqa: ARG002 - the weights come from a seed
        """Build the model."""
        from benchmarks.dispatch.model import Forward  # noqa: PLC0415 - torch is the worker's, not the gateway's

        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to it
        self._forward = Forward()

    def said(self, values: FloatArray) -> FloatArray:
        """One forward pass."""
        return self._forward(values)


def install(site: Path) -> dict[str, str]:
    """Register the task in folder ``site``; the environment in which it is found."""
    info = site / "lineside_bench-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lineside-bench\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lineside.tasks]\n{NAME} = {__name__}:{BenchTask.__name__}\n")
    here = Path(__file__).resolve().parents[2]
    paths = [str(site), str(here), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}
