"""A small torch network and its training loop, shared by the tasks' own model modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

WHOLE_ROWS = 8  # MKL and oneDNN take four rows at once; wider vectors may take twice as many


class Mlp(nn.Module):
    """Fully connected network: (R, inputs) -> (R, outputs), SiLU between layers."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.inputs = inputs
        layers: list[nn.Module] = []
        width = inputs
        for size in hidden:
            layers += [nn.Linear(width, size), nn.SiLU(), nn.Dropout(dropout)]
            width = size
        layers.append(nn.Linear(width, outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        """Raw outputs (R, outputs) of rows (R, inputs).

        Outside training a row's output does not depend, not even in its last bit, on how many rows come with it:
        matrix products of fewer than ``WHOLE_ROWS`` rows, or of the rows left over, sum in another order.
        """
        missing = 0 if self.training else -len(rows) % WHOLE_ROWS
        out: Tensor = self.layers(nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows)
        return out[: len(rows)]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a network learns; training stops after ``patience`` epochs without a better loss.

    ``noise`` standard deviations of Gaussian noise are added to the input, anew for each batch.
    """

    epochs: int = 40
    batch: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    patience: int = 8
    noise: float = 0.0


Loss = Callable[[Tensor, Sequence[Tensor]], Tensor]


def train(
    model: nn.Module,
    data: Sequence[Tensor],
    held_out: Sequence[Tensor],
    loss: Loss,
    *,
    seed: int,
    schedule: Schedule | None = None,
    each_epoch: Callable[[int, float], None] | None = None,
) -> float:
    """Fit ``model`` in place and leave it at its best held-out epoch; return that epoch's loss.

    ``data`` and ``held_out`` are tensors with rows first: the input, then whatever ``loss(output, rest)`` needs.
    AdamW under a cosine schedule, on the device where model and tensors are; in bfloat16 where that is a GPU.
    ``each_epoch`` is told its number and held-out loss, and may end the training by raising. Deterministic given
    ``seed``, device and the number of threads.
    """
    plan = schedule or Schedule()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    cooling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.epochs)
    best, best_state, since = float("inf"), copy.deepcopy(model.state_dict()), 0
    for epoch in range(plan.epochs):
        _epoch(model, data, loss, optimiser, plan, generator)
        cooling.step()
        model.eval()
        with torch.inference_mode():
            now = float(loss(model(held_out[0]), list(held_out[1:])))
        if each_epoch is not None:
            each_epoch(epoch, now)
        since = 0 if now < best else since + 1
        if now < best:
            best, best_state = now, copy.deepcopy(model.state_dict())
        elif since >= plan.patience:
            break
    model.load_state_dict(best_state)
    model.eval()
    return best


def _epoch(
    model: nn.Module,
    data: Sequence[Tensor],
    loss: Loss,
    optimiser: torch.optim.Optimizer,
    plan: Schedule,
    generator: torch.Generator,
) -> None:
    """Show ``model`` every row once, in an order and with a noise of ``generator``."""
    device = data[0].device
    rounded = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    model.train()
    for rows in torch.split(torch.randperm(len(data[0]), generator=generator).to(device), plan.batch):
        given = data[0][rows]
        if plan.noise:
            given = given + plan.noise * torch.randn(given.shape, generator=generator).to(device)
        with rounded:
            said = model(given)
        value = loss(said.float(), [t[rows] for t in data[1:]])
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def to_tensors(model: nn.Module, prefix: str) -> dict[str, NDArray[np.generic]]:
    """The weights as plain arrays for a safetensors file."""
    return {prefix + name: tensor.detach().cpu().numpy().copy() for name, tensor in model.state_dict().items()}


def load_tensors(model: nn.Module, tensors: Mapping[str, NDArray[np.generic]], prefix: str, device: str) -> None:
    """Put stored weights into ``model`` on ``device`` and switch it to inference.

    Raises:
        RuntimeError: A weight is missing or has another shape; the model folder belongs to another architecture.
    """
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in own.items()})
    model.to(device)
    model.eval()
