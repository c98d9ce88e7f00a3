"""The two networks: features to a normal distribution, force curve to log-odds of porosity. Pure torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lineside_plugins.learning.network import Mlp, load_tensors, to_tensors
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.serving import Served
from lineside_plugins.tasks.reject import curves as c
from lineside_plugins.tasks.reject import features as f
from lineside_plugins.tasks.reject.heads import SIGMA_HIGH, SIGMA_LOW

Floats: TypeAlias = NDArray[np.float64]
MIDDLE = slice(18, 52)  # of a quarter of the curve's points: the strides' view of the stroke between rise and fall
SCALE_UM = 10.0  # outputs in tens of um, so that a fresh network starts in the right range


class DimensionNetwork(nn.Module):
    """Scaled features and missing marks (P, 2F) -> mean and log spread in units of ``SCALE_UM`` (P, 2).

    The mean is what comes on top of the measured course, see ``features.measured_course``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mlp = Mlp(2 * f.FEATURES, (64, 64), 2)

    def forward(self, rows: Tensor) -> Tensor:
        """Mean and log standard deviation (P, 2), the latter bounded."""
        out = self.mlp(rows)
        low, high = math.log(SIGMA_LOW / SCALE_UM), math.log(SIGMA_HIGH / SCALE_UM)
        return torch.stack([out[:, 0], out[:, 1].clamp(low, high)], dim=1)


def normal_loss(output: Tensor, known: Sequence[Tensor]) -> Tensor:
    """Mean negative log-likelihood of a normal, constant left out; ``known`` = (deviation / SCALE_UM (P,),)."""
    z = (known[0] - output[:, 0]) * torch.exp(-output[:, 1])
    return (0.5 * z**2 + output[:, 1]).mean()


class CurveNetwork(nn.Module):
    """Force curves (P, 2, CURVE) in units of their noise -> log-odds (P, 1).

    Convolutions over both rows and the position, then the strongest and the mean response of each filter over the
    middle of the stroke: the signature sits at another place in every plant.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(len(c.COURSES) + 1, width, 25, stride=2, padding=12),
            nn.SiLU(),
            nn.Conv1d(width, width, 9, stride=2, padding=4),
            nn.SiLU(),
            nn.Conv1d(width, width, 5, padding=2),
            nn.SiLU(),
        )
        self.head = Mlp(2 * width, (16,), 1, dropout=0.1)
        self.register_buffer("position", torch.linspace(-1.0, 1.0, c.CURVE), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Log-odds (P, 1) of rows (P, 2, CURVE)."""
        position = self.get_buffer("position").expand(len(rows), 1, -1)
        found = self.layers(torch.cat([rows, position], dim=1))[:, :, MIDDLE]
        out: Tensor = self.head(torch.cat([found.amax(dim=2), found.mean(dim=2)], dim=1))
        return out


def label_loss(output: Tensor, known: Sequence[Tensor]) -> Tensor:
    """Mean binary cross-entropy; ``known`` = (label (P,),)."""
    return nn.functional.binary_cross_entropy_with_logits(output[:, 0], known[0])


class NetworkDimension:
    """``DimensionNetwork`` with its normaliser behind the ``DimensionHead`` interface."""

    def __init__(self, network: DimensionNetwork, normaliser: Normaliser, device: str = "cpu") -> None:
        self.network, self.normaliser, self._served = network, normaliser, Served(network, device)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], device: str) -> NetworkDimension:
        """Inverse of ``to_tensors``."""
        network = DimensionNetwork()
        load_tensors(network, tensors, "dimension.network.", device)
        return cls(network, Normaliser.from_tensors(tensors, "dimension.normaliser."), device)

    def to_tensors(self) -> dict[str, NDArray[np.generic]]:
        """Weights and normaliser as plain arrays."""
        return {
            **to_tensors(self.network, "dimension.network."),
            **self.normaliser.to_tensors("dimension.normaliser."),
        }

    def mean_and_spread(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (P,), (P,) in um."""
        out = self._run(self.normaliser(x))
        return out[:, 0] * SCALE_UM + f.measured_course(x), np.exp(out[:, 1]) * SCALE_UM

    def shares(self, x: Floats) -> Floats:
        """The measured course, and by occlusion what a group of features adds against the training mean (P, G)."""
        rows = self.normaliser(x)
        groups = np.tile(f.groups_of_features(), 2)
        masked = np.repeat(rows[None], len(f.GROUPS) + 1, axis=0)
        for g in range(len(f.GROUPS)):
            masked[g + 1][:, groups == g] = 0.0
        mean = self._run(masked.reshape(-1, rows.shape[1]))[:, 0].reshape(len(f.GROUPS) + 1, len(x)) * SCALE_UM
        out = np.asarray((mean[0] - mean[1:]).T, dtype=np.float64)
        out[:, f.INSPECTIONS] += f.measured_course(x)
        return out

    def _run(self, rows: NDArray[np.float32]) -> Floats:
        return self._served(rows).astype(np.float64)


class NetworkPorosity:
    """``CurveNetwork`` behind the ``PorosityHead`` interface."""

    def __init__(self, network: CurveNetwork, device: str = "cpu") -> None:
        self.network, self._served = network, Served(network, device)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]], device: str) -> NetworkPorosity:
        """Inverse of ``to_tensors``."""
        network = CurveNetwork()
        load_tensors(network, tensors, "porosity.network.", device)
        return cls(network, device)

    def to_tensors(self) -> dict[str, NDArray[np.generic]]:
        """Weights as plain arrays."""
        return to_tensors(self.network, "porosity.network.")

    def score(self, curves: NDArray[np.floating[Any]]) -> Floats:
        """Log-odds before calibration (P,)."""
        return self._served(c.curve_rows(curves))[:, 0].astype(np.float64)
