"""LoRA: a pretrained network learns a small correction of each matrix, which is added to it when training is done.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), eq. 3 and section 4.1 for the start.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

L = TypeVar("L", bound=nn.Module)


class LowRank(nn.Module):
    """A frozen linear layer and the product of two thin matrices beside it; at first the product is nothing."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(requires_grad=False)
        device = base.weight.device
        self.down = nn.Parameter(torch.empty(rank, base.in_features, device=device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, rows: Tensor) -> Tensor:
        """What the layer says with its correction."""
        out: Tensor = self.base(rows) + rows @ self.down.T @ self.up.T
        return out

    def merged(self) -> nn.Linear:
        """One linear layer that says the same."""
        with torch.no_grad():
            self.base.weight += self.up @ self.down
        return self.base.requires_grad_(requires_grad=True)


def adapt(module: nn.Module, rank: int) -> None:
    """Freeze ``module`` and put a correction of ``rank`` beside each linear layer in it."""
    module.requires_grad_(requires_grad=False)
    for parent, name, layer in _layers(module, nn.Linear):
        setattr(parent, name, LowRank(layer, min(rank, layer.in_features, layer.out_features)))


def merge(module: nn.Module) -> None:
    """Put plain linear layers in the place of corrected ones: what is stored and served knows nothing of LoRA."""
    for parent, name, layer in _layers(module, LowRank):
        setattr(parent, name, layer.merged())


def _layers(module: nn.Module, kind: type[L]) -> list[tuple[nn.Module, str, L]]:
    return [
        (parent, name, layer)
        for parent in module.modules()
        if not isinstance(parent, LowRank)
        for name, layer in parent.named_children()
        if isinstance(layer, kind)
    ]
