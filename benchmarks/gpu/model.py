"""A transformer of 25 M parameters over windows of 128 samples of 24 tags, and the task that hosts it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

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
    TrainedModel,
    Trigger,
    WindowBatch,
    WindowSpec,
)  # fmt: skip
from lineside_plugins.learning.network import load_tensors, to_tensors
from lineside_plugins.learning.serving import Plan, Precision, Served
from lineside_plugins.types import ModelData

NAME = "bench-gpu"
SAMPLES, PATCH, OUTPUTS = 128, 4, 24
TAGS = tuple(f"Tag{i:02d}" for i in range(24))
WIDTH, LAYERS, HEADS = 512, 8, 8


class Transformer(nn.Module):
    """Windows (B, 128, 24) to (B, 24); 32 tokens of four samples each."""

    def __init__(self, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        self.patch = nn.Linear(PATCH * len(TAGS), width)
        self.position = nn.Parameter(torch.randn(SAMPLES // PATCH, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, HEADS, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, OUTPUTS)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 24) of windows (B, 128, 24)."""
        tokens = self.patch(windows.reshape(len(windows), SAMPLES // PATCH, -1)) + self.position
        out: Tensor = self.head(self.encoder(tokens).mean(1))
        return out


def transformer(width: int = WIDTH, layers: int = LAYERS) -> Transformer:
    """The same weights in every process."""
    torch.manual_seed(0)
    return Transformer(width, layers).eval()


def parameters(module: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(p.numel() for p in module.parameters())


def windows(count: int) -> np.ndarray:
    """Input of ``count`` windows, float32 (count, 128, 24)."""
    return np.random.default_rng(0).standard_normal((count, SAMPLES, len(TAGS))).astype(np.float32)


def trained(module: Transformer) -> TrainedModel:
    """``module`` as a model to be stored."""
    sizes = {"width": module.position.shape[1], "layers": len(module.encoder.layers)}
    return TrainedModel(sizes, to_tensors(module, ""), {}, ())


class GpuBenchConfig(TaskConfig):
    """``variant`` makes another runner of the same model."""

    variant: int = 0
    precision: Precision = Precision.FLOAT32


class GpuBenchTask(TaskPlugin[GpuBenchConfig]):
    """Scores a window with the first number the model says about it."""

    config_type = GpuBenchConfig

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

    def load(self, model: ModelData | None, device: str) -> None:
        """Put the weights on the device."""
        assert model is not None  # noqa: S101 - a task with a model is given one
        module = Transformer(int(str(model.config["width"])), int(str(model.config["layers"])))
        load_tensors(module, model.tensors, "", device)
        self._served: Served | None = Served(module, device, Plan(self.config.precision))

    def recommend(self, batch: WindowBatch) -> Sequence[Advice]:
        """One advice per window."""
        assert self._served is not None  # noqa: S101 - loaded first
        scores = self._served(batch.values)[:, 0].tolist()
        return [Advice({"flag": s > 0, "score": s}, confidence=0.9) for s in scores]

    def close(self) -> None:
        """Give the device's memory back."""
        self._served = None
