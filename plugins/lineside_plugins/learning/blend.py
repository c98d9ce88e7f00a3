"""A regressor that averages gradient-boosted trees with small networks over the same features.

Trees and networks err differently: on turbofan engines their mean is better than either by 3 to 9 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lineside_plugins.learning import packed_trees
from lineside_plugins.learning.network import Mlp, load_tensors, to_tensors
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.trees import TreeEnsemble

Floats: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[np.generic]]
_ROWS = 4096  # rows walked at once: the trees' paths of more do not fit a cache


@dataclass(frozen=True, slots=True)
class Blend:
    """``trees`` and ``networks`` over F features; the output lies in the target's bounds.

    A network of 2 F inputs reads a mark beside each feature that says whether it is missing; one of F inputs was
    trained where nothing ever missed, and reads the mean for what does.
    """

    trees: TreeEnsemble
    networks: tuple[Mlp, ...]
    normaliser: Normaliser
    low: float
    high: float

    def __call__(self, rows: NDArray[np.floating[Any]]) -> Floats:
        """Target (R,) of ``rows`` (R, F), in the target's unit."""
        parts = [rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)]
        grown = np.concatenate([self.trees.margin(part) for part in parts])
        if not self.networks:
            return np.asarray(np.clip(grown, self.low, self.high))
        return np.asarray(np.clip((grown + self.by_networks(rows)) / 2, self.low, self.high))

    def by_networks(self, rows: NDArray[np.floating[Any]]) -> Floats:
        """Mean of the networks alone (R,), not clipped."""
        marked = any(network.inputs > rows.shape[1] for network in self.networks)
        scaled = torch.from_numpy(self.normaliser(rows) if marked else self.normaliser.scaled(rows))
        with torch.inference_mode():
            said = [network(scaled[:, : network.inputs])[:, 0] for network in self.networks]
            share = torch.stack(said).mean(dim=0).numpy()
        out: Floats = self.low + share.astype(np.float64) * (self.high - self.low)
        return out

    @classmethod
    def mean_of(cls, members: Sequence[Blend]) -> Blend:
        """One blend of all members' trees and networks; the members share a normaliser and bounds."""
        trees = TreeEnsemble.mean_of([m.trees for m in members])
        networks = tuple(network for m in members for network in m.networks)
        return cls(trees, networks, members[0].normaliser, members[0].low, members[0].high)

    def to_tensors(self) -> Tensors:
        """Plain arrays for a safetensors file; networks in half precision moves outputs by 1e-3 of their range."""
        tensors = {**packed_trees.pack(self.trees, "trees."), **self.normaliser.to_tensors()}
        for i, network in enumerate(self.networks):
            tensors |= {name: weight.astype(np.float16) for name, weight in to_tensors(network, f"network{i}.").items()}
        return tensors | {"bounds": np.asarray([self.low, self.high])}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], hidden: Sequence[int], device: str) -> Blend:
        """Inverse of ``to_tensors``; ``hidden`` are the networks' layer widths."""
        count = len({name.split(".")[0] for name in tensors if name.startswith("network")})
        normaliser = Normaliser.from_tensors(tensors)
        widths = [np.shape(tensors[f"network{i}.layers.0.weight"])[1] for i in range(count)]
        networks = tuple(Mlp(width, hidden, 1) for width in widths)
        for i, network in enumerate(networks):
            load_tensors(network, tensors, f"network{i}.", device)
        low, high = (float(v) for v in np.asarray(tensors["bounds"], dtype=np.float64))
        return cls(packed_trees.unpack(tensors, "trees."), networks, normaliser, low, high)
