"""The hazard network: window features to hazards per interval. Pure torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lineside_plugins.learning.network import Mlp, load_tensors, to_tensors
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.serving import Served
from lineside_plugins.tasks.maintenance.features import FEATURES
from lineside_plugins.tasks.maintenance.hazards import GROUPS, groups_of_features
from lineside_plugins.tasks.maintenance.survival import INTERVALS

Floats: TypeAlias = NDArray[np.float64]
HIDDEN = (64, 64)


class HazardNetwork(nn.Module):
    """Scaled features and missing marks (R, 2F) -> hazard logits (R, K)."""

    def __init__(self, hidden: Sequence[int] = HIDDEN) -> None:
        super().__init__()
        self.mlp = Mlp(2 * FEATURES, hidden, INTERVALS, dropout=0.1)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits (R, K) of rows (R, 2F)."""
        out: Tensor = self.mlp(rows)
        return out


def survival_loss(logits: Tensor, known: Sequence[Tensor]) -> Tensor:
    """Mean negative log-likelihood; ``known`` = (at_risk, event), each (R, K), zero where censored."""
    at_risk, event = known
    each = nn.functional.binary_cross_entropy_with_logits(logits, event, reduction="none")
    return (each * at_risk).sum(dim=1).mean()


class NetworkHazards:
    """``HazardNetwork`` with its normaliser behind the ``Hazards`` interface."""

    def __init__(self, network: HazardNetwork, normaliser: Normaliser, device: str = "cpu") -> None:
        self.network, self.normaliser, self._logits = network, normaliser, Served(network, device)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[np.generic]], device: str, hidden: Sequence[int] = HIDDEN
    ) -> NetworkHazards:
        """Inverse of ``to_tensors``."""
        network = HazardNetwork(hidden)
        load_tensors(network, tensors, "hazard.", device)
        return cls(network, Normaliser.from_tensors(tensors), device)

    def to_tensors(self) -> dict[str, NDArray[np.generic]]:
        """Weights and normaliser as plain arrays."""
        return {**to_tensors(self.network, "hazard."), **self.normaliser.to_tensors()}

    def hazard(self, x: Floats, intervals: int = INTERVALS) -> Floats:
        """Hazards (R, intervals) of rows (R, F)."""
        logits = torch.from_numpy(self._logits(self.normaliser(x))[:, :intervals])
        return np.asarray(torch.sigmoid(logits).numpy(), np.float64)

    def shares(self, x: Floats, intervals: int) -> Floats:
        """By occlusion: how much the log-odds fall when a group of features is set to the training mean (R, G)."""
        rows = self.normaliser(x)
        groups = np.tile(groups_of_features(), 2)
        masked = np.repeat(rows[None], len(GROUPS) + 1, axis=0)
        for g in range(len(GROUPS)):
            masked[g + 1][:, groups == g] = 0.0
        logits = torch.from_numpy(self._logits(masked.reshape(-1, rows.shape[1])))[:, :intervals].mean(dim=1)
        score = logits.numpy().reshape(len(GROUPS) + 1, len(x))
        return np.asarray((score[0] - score[1:]).T, dtype=np.float64)
