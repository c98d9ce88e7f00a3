"""The condition task's networks: window statistics through an encoder to raw scores. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lineside_plugins.learning.encoder import Encoder, Headed, embed
from lineside_plugins.learning.network import load_tensors, to_tensors
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition.novelty import Novelty
from lineside_plugins.tasks.condition.scorers import Grown, Nearest, Scorer
from lineside_plugins.types import ModelData

Floats: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[np.generic]]
_LEAST = 1e-12  # an error of nothing has no logarithm


@dataclass(frozen=True, slots=True)
class Network:
    """Encoder, linear head and the normaliser before them."""

    headed: Headed
    normaliser: Normaliser
    device: str = "cpu"
    kind: str = "network"

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return {**to_tensors(self.headed, "network."), **self.normaliser.to_tensors()}

    def __call__(self, rows: Floats) -> Floats:
        """Outputs (R, K) of features (R, F)."""
        return self.outputs(self.normaliser(rows))

    def outputs(self, scaled: NDArray[np.float32]) -> Floats:
        """Outputs (R, K) of what the normaliser made of the features."""
        with torch.inference_mode():
            out = self.headed(torch.from_numpy(scaled).to(self.device))
        return np.asarray(out.cpu().numpy(), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A network that says the window statistics again; what it cannot say of healthy windows' kind is an anomaly."""

    network: Network
    kind: str = "reconstruction"

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return self.network.to_tensors()

    def __call__(self, rows: Floats) -> Floats:
        """Log of the mean squared error (R, 1) over the features that were seen."""
        scaled = self.network.normaliser(rows)
        features = rows.shape[1]
        seen = scaled[:, features:] == 0
        wrong = np.where(seen, self.network.outputs(scaled) - scaled[:, :features], 0.0)
        error = (wrong**2).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        out: Floats = np.log(np.maximum(error, _LEAST))[:, None]
        return out


@dataclass(frozen=True, slots=True)
class OnEmbedding:
    """A scorer of the window statistics and the encoder's embedding of them."""

    scorer: Grown | Nearest
    encoder: Encoder
    normaliser: Normaliser
    device: str = "cpu"

    @property
    def kind(self) -> str:
        """That of the scorer, and what it reads."""
        return f"{self.scorer.kind}_on_embedding"

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        own = {**to_tensors(self.encoder, "encoder."), **self.normaliser.to_tensors()}
        return {**self.scorer.to_tensors(), **own}

    def __call__(self, rows: Floats) -> Floats:
        """Raw scores (R, K) of features (R, F)."""
        return self.scorer(with_embedding(rows, self.encoder, self.normaliser, self.device))


def stored(kind: str, model: ModelData, device: str) -> Scorer:
    """The network of ``kind`` that a model holds, on ``device``."""
    normaliser = Normaliser.from_tensors(model.tensors)
    encoder = _encoder(model.config, 2 * len(normaliser.mean))
    if kind.endswith("_on_embedding"):
        load_tensors(encoder, model.tensors, "encoder.", device)
        inner: Grown | Nearest
        if kind.startswith("nearest"):
            inner = Nearest(Novelty.from_tensors(model.tensors, "nearest."))
        else:
            inner = Grown.from_tensors(model.tensors)
        return OnEmbedding(inner, encoder, normaliser, device)
    headed = Headed(encoder, len(model.tensors["network.head.bias"]))
    load_tensors(headed, model.tensors, "network.", device)
    network = Network(headed, normaliser, device)
    return Reconstruction(network) if kind == "reconstruction" else network


def with_embedding(rows: Floats, encoder: Encoder, normaliser: Normaliser, device: str = "cpu") -> Floats:
    """Features (R, F + E): the rows and their embedding."""
    embedded = embed(encoder, torch.from_numpy(normaliser(rows)).to(device)).cpu().numpy()
    out: Floats = np.concatenate([rows, embedded], axis=1)
    return out


def _encoder(config: Mapping[str, object], features: int) -> Encoder:
    size = cast("Any", config["encoder"])
    return Encoder(features, tuple(size["hidden"]), int(size["embedding"]))
