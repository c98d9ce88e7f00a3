"""The condition task's networks: window statistics to log-odds, through an encoder. Imports torch."""

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
from lineside_plugins.learning.trees import TreeEnsemble
from lineside_plugins.types import ModelData

Floats: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[np.generic]]


def stored_encoder(config: Mapping[str, object], features: int) -> Encoder:
    """An untrained encoder of the sizes a model's configuration holds."""
    size = cast("Any", config["encoder"])
    return Encoder(features, tuple(size["hidden"]), int(size["embedding"]))


@dataclass(frozen=True, slots=True)
class Network:
    """Encoder, linear head and the normaliser before them."""

    headed: Headed
    normaliser: Normaliser
    device: str = "cpu"

    @classmethod
    def from_model(cls, model: ModelData, device: str) -> Network:
        """Build from stored tensors."""
        normaliser = Normaliser.from_tensors(model.tensors)
        headed = Headed(stored_encoder(model.config, 2 * len(normaliser.mean)))
        load_tensors(headed, model.tensors, "network.", device)
        return cls(headed, normaliser, device)

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        return {**to_tensors(self.headed, "network."), **self.normaliser.to_tensors()}

    def __call__(self, rows: Floats) -> Floats:
        """Log-odds (R,) of features (R, F)."""
        with torch.inference_mode():
            out = self.headed(torch.from_numpy(self.normaliser(rows)).to(self.device))[:, 0]
        return np.asarray(out.cpu().numpy(), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class EmbeddedTrees:
    """Boosted trees on the window statistics and the encoder's embedding of them."""

    trees: TreeEnsemble
    encoder: Encoder
    normaliser: Normaliser
    device: str = "cpu"

    @classmethod
    def from_model(cls, model: ModelData, device: str) -> EmbeddedTrees:
        """Build from stored tensors."""
        normaliser = Normaliser.from_tensors(model.tensors)
        encoder = stored_encoder(model.config, 2 * len(normaliser.mean))
        load_tensors(encoder, model.tensors, "encoder.", device)
        return cls(TreeEnsemble.from_tensors(model.tensors, "trees."), encoder, normaliser, device)

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file."""
        own = {**to_tensors(self.encoder, "encoder."), **self.normaliser.to_tensors()}
        return {**self.trees.to_tensors("trees."), **own}

    def __call__(self, rows: Floats) -> Floats:
        """Log-odds (R,) of features (R, F)."""
        return self.trees.margin(with_embedding(rows, self.encoder, self.normaliser, self.device))


def with_embedding(rows: Floats, encoder: Encoder, normaliser: Normaliser, device: str = "cpu") -> Floats:
    """Features (R, F + E): the rows and their embedding."""
    embedded = embed(encoder, torch.from_numpy(normaliser(rows)).to(device)).cpu().numpy()
    out: Floats = np.concatenate([rows, embedded], axis=1)
    return out
