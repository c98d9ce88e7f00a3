"""The model and the batches that every contestant runs: a transformer over windows of 128 samples of 24 tags.

Imported by contestants in environments of their own, so it needs numpy and torch and nothing else.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import nn

WINDOWS, SAMPLES, TAGS = 32, 128, 24


class Transformer(nn.Module):
    """(B, 128, 24) float32 -> (B, 24): patches of samples, encoder layers, their mean, a linear head."""

    def __init__(
        self, width: int = 64, layers: int = 2, heads: int = 4, patch: int = 8, grown: int = 2, activation: str = "relu"
    ) -> None:
        """``patch`` samples are a token; ``grown`` is how much wider the feed-forward part is. As they are: small."""
        super().__init__()
        self.patch = nn.Conv1d(TAGS, width, patch, stride=patch)
        self.position = nn.Parameter(torch.randn(1, SAMPLES // patch, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, grown * width, 0.0, activation, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, TAGS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One row of 24 numbers per window."""
        tokens = self.patch(x.transpose(1, 2)).transpose(1, 2) + self.position
        out: torch.Tensor = self.head(self.encoder(tokens).mean(1))
        return out


class Forward:
    """The forward pass on the CPU with one thread, numpy in and out; the same weights in every process."""

    def __init__(self) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        torch.manual_seed(0)
        self._model = Transformer().eval()
        for _ in range(3):
            self(np.zeros((WINDOWS, SAMPLES, TAGS), np.float32))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(B, 128, 24) float32 -> (B, 24) float32."""
        with torch.inference_mode():
            out: np.ndarray = self._model(torch.from_numpy(values)).numpy()
        return out


def windows(count: int = WINDOWS, seed: int = 0) -> np.ndarray:
    """Input of ``count`` windows, (count, 128, 24) float32."""
    return np.random.default_rng(seed).standard_normal((count, SAMPLES, TAGS)).astype(np.float32)
