"""An encoder of window statistics that learns without labels, and the heads it learns by.

What it is asked: how many rows lie between two moments of one recording, and where each channel will be some rows
later, at one horizon or at several. Both need what wear looks like and neither needs to know when a machine failed.
Source: Mobahi et al., Deep Learning from Temporal Coherence in Video (2009); Hyvärinen and Morioka, Time-contrastive
Learning (2016), for learning from the order of time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lineside_plugins.learning.network import Mlp


class Encoder(nn.Module):
    """Window statistics (R, F) to an embedding (R, E)."""

    def __init__(self, features: int, hidden: Sequence[int], embedding: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding = embedding
        self.body = nn.Sequential(Mlp(features, hidden, embedding, dropout), nn.SiLU())

    def forward(self, rows: Tensor) -> Tensor:
        """Embedding (R, E) of rows (R, F)."""
        out: Tensor = self.body(rows)
        return out


class Pretext(nn.Module):
    """An encoder with the two heads that pretraining needs: age (R, 1) and what comes (R, C)."""

    def __init__(self, encoder: Encoder, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.age = nn.Linear(encoder.embedding, 1)
        self.ahead = nn.Linear(encoder.embedding, channels)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Age on a scale of its own, and the change of each channel, both of rows (R, F)."""
        embedded = self.encoder(rows)
        return self.age(embedded), self.ahead(embedded)


class Headed(nn.Module):
    """An encoder with K linear outputs, for fine-tuning: (R, F) to (R, K)."""

    def __init__(self, encoder: Encoder, outputs: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.embedding, outputs)

    def forward(self, rows: Tensor) -> Tensor:
        """Outputs (R, K) of rows (R, F)."""
        out: Tensor = self.head(self.encoder(rows))
        return out


def pretext_loss(
    age: Tensor,
    ahead: Tensor,
    time: Tensor,
    coming: Tensor,
    lag_weight: float = 1.0,
    counts: tuple[int, int] | None = None,
) -> Tensor:
    """Squared error of the lag between rows 2i and 2i+1, which belong to one recording, plus half that of what comes.

    ``age`` (R, 1), ``time`` (R,) in units of the longest lag, ``ahead`` and ``coming`` (R, C); what of ``coming`` is
    NaN, because the recording ended before, is not asked for. ``counts`` of pairs and of known changes are divided by:
    those given here, unless these are a share of a larger batch.
    """
    lag = (age[1::2, 0] - age[0::2, 0]) - (time[1::2] - time[0::2])
    known = torch.isfinite(coming)
    missed = torch.where(known, ahead - torch.nan_to_num(coming), 0.0)
    pairs, changes = (len(lag), known.sum().clamp(min=1)) if counts is None else (counts[0], max(1, counts[1]))
    return lag_weight * (lag**2).sum() / pairs + 0.5 * (missed**2).sum() / changes


def foresee(pretext: Pretext, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Embedding (R, E) and what comes (R, C) without gradients, in inference mode."""
    pretext.eval()
    with torch.inference_mode():
        embedded = pretext.encoder(rows)
        ahead = pretext.ahead(embedded)
    return embedded.clone(), ahead.clone()


def embed(encoder: Encoder, rows: Tensor) -> Tensor:
    """Embedding (R, E) without gradients, in inference mode."""
    encoder.eval()
    with torch.inference_mode():
        out: Tensor = encoder(rows)
    return out.clone()
