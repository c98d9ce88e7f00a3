"""A transformer of 25 M parameters over windows of 128 samples of 24 tags, and the task that hosts it."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.dispatch.model import Transformer
from benchmarks.dispatch.task import ScoreTask
from lineside_plugins import TaskConfig, TrainedModel
from lineside_plugins.learning.network import load_tensors, to_tensors
from lineside_plugins.learning.serving import Plan, Precision, Served
from lineside_plugins.types import FloatArray, ModelData

NAME = "bench-gpu"
WIDTH, LAYERS = 512, 8
_SHAPE = {"heads": 8, "patch": 4, "grown": 4, "activation": "gelu"}


def transformer(width: int = WIDTH, layers: int = LAYERS) -> Transformer:
    """The same weights in every process."""
    torch.manual_seed(0)
    return Transformer(width, layers, **_SHAPE).eval()


def parameters(module: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(p.numel() for p in module.parameters())


def trained(module: Transformer) -> TrainedModel:
    """``module`` as a model to be stored."""
    sizes = {"width": module.position.shape[-1], "layers": len(module.encoder.layers)}
    return TrainedModel(sizes, to_tensors(module, ""), {}, ())


class GpuBenchConfig(TaskConfig):
    """``variant`` makes another runner of the same model."""

    variant: int = 0
    precision: Precision = Precision.FLOAT32


class GpuBenchTask(ScoreTask[GpuBenchConfig]):
    """The model, stored and loaded as any other, on a device."""

    config_type = GpuBenchConfig

    def load(self, model: ModelData | None, device: str) -> None:
        """Put the weights on the device."""
        assert model is not None  # noqa: S101 - a task with a model is given one
        module = transformer(int(str(model.config["width"])), int(str(model.config["layers"])))
        load_tensors(module, model.tensors, "", device)
        self._served: Served | None = Served(module, device, Plan(self.config.precision))

    def said(self, values: FloatArray) -> FloatArray:
        """One forward pass."""
        assert self._served is not None  # noqa: S101 - loaded first
        return self._served(values)

    def close(self) -> None:
        """Give the device's memory back."""
        self._served = None
