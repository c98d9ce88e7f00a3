"""A torch module that answers batches of rows: the same code on CPU and CUDA.

On CUDA rows travel in slices through pinned memory, two at a time, on streams of their own: while one slice is
computed, the next is copied up and the last one down.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LANES = 2  # one is computed while the other is filled
ROUNDS = 3
TOLERANCE = 0.01  # of the standard deviation of the answers; what a faster plan may be off by
SMALLEST = 16  # rows of the smallest shape that is compiled

Rows = NDArray[np.float32]


class Precision(StrEnum):
    """What matrix products are computed in; weights and answers stay float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a module runs: ``slice_rows`` at a time; ``compiled`` by torch.compile, ``graphs`` into CUDA graphs too."""

    precision: Precision = Precision.FLOAT32
    compiled: bool = False
    graphs: bool = False
    slice_rows: int = 4096

    def shape_of(self, rows: int) -> int:
        """Rows that ``rows`` are padded to: themselves, or where shapes are compiled one of a few."""
        if not self.compiled:
            return rows
        shape = SMALLEST
        while shape < rows:
            shape *= 4
        return min(shape, max(self.slice_rows, rows))


class Served:
    """``module`` on ``device``, in inference. Not thread-safe: its buffers belong to one thread."""

    def __init__(self, module: nn.Module, device: str = "cpu", plan: Plan | None = None) -> None:
        self.module = module.to(device).eval()
        self.device = torch.device(device)
        self.plan = plan or Plan()
        self._run: Callable[[Tensor], Tensor] = self.module
        if self.plan.compiled:
            mode = "reduce-overhead" if self.plan.graphs else "default"
            self._run = torch.compile(self.module, dynamic=False, mode=mode)
        self._pipeline: _Pipeline | None = None

    def __call__(self, rows: Rows) -> Rows:
        """The module's answers, float32 with rows first, of ``rows`` float32 (R, ...)."""
        n = self.plan.slice_rows
        slices = [rows[i : i + n] for i in range(0, len(rows), n)] or [rows]
        with torch.inference_mode(), self.autocast():
            if self.device.type != "cuda":
                out = [self.forward(torch.from_numpy(s), len(s)).numpy() for s in slices]
                return out[0] if len(out) == 1 else np.concatenate(out)
            if self._pipeline is None or self._pipeline.shape != rows.shape[1:]:
                self._pipeline = _Pipeline(n, rows.shape[1:], self.device)
            return self._pipeline.run(slices, self.forward, len(rows))

    def forward(self, rows: Tensor, wanted: int) -> Tensor:
        """Answers (wanted, ...) of rows that are on the device already; within ``autocast`` and inference mode."""
        missing = self.plan.shape_of(len(rows)) - len(rows)
        if missing:
            rows = nn.functional.pad(rows, (0, 0) * (rows.ndim - 1) + (0, missing))
        found = self._run(rows)[:wanted].float()
        return found.clone() if self.plan.graphs else found  # the next replay writes over what a graph returns

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Where the plan's precision holds."""
        if self.plan.precision is Precision.FLOAT32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.plan.precision))


class _Lane:
    """Room for one slice on both sides, and how far it has come."""

    def __init__(self, rows: int, shape: Sequence[int], device: torch.device) -> None:
        self.staged = torch.empty((rows, *shape), pin_memory=True)
        self.there = torch.empty((rows, *shape), device=device)
        self.uploaded, self.computed = _event(), _event()


class _Pipeline:
    """Slices up, through the module and down again, each step on its own stream. Made for rows of ``shape``."""

    def __init__(self, slice_rows: int, shape: Sequence[int], device: torch.device) -> None:
        self.shape = tuple(shape)
        self._lanes = [_Lane(slice_rows, shape, device) for _ in range(LANES)]
        self._device = device
        self._up, self._down = _stream(device), _stream(device)
        self._answers = torch.empty(0)

    def run(self, slices: Iterable[Rows], forward: Callable[[Tensor, int], Tensor], rows: int) -> Rows:
        """All answers (R, ...), when the last one is down."""
        compute, at = torch.cuda.current_stream(self._device), 0
        for i, part in enumerate(slices):
            lane, n = self._lanes[i % LANES], len(part)
            lane.uploaded.synchronize()  # what was staged there before has left
            lane.staged[:n].copy_(torch.from_numpy(part))
            with torch.cuda.stream(self._up):
                self._up.wait_event(lane.computed)
                lane.there[:n].copy_(lane.staged[:n], non_blocking=True)
                lane.uploaded.record(self._up)
            compute.wait_event(lane.uploaded)
            found = forward(lane.there[:n], n)
            lane.computed.record(compute)
            if i == 0:
                self._make_room(rows, found)
            with torch.cuda.stream(self._down):
                self._down.wait_event(lane.computed)
                self._answers[at : at + n].copy_(found, non_blocking=True)
                found.record_stream(self._down)
            at += n
        self._down.synchronize()
        return np.array(self._answers[:rows].numpy())

    def _make_room(self, rows: int, like: Tensor) -> None:
        if len(self._answers) < rows or self._answers.shape[1:] != like.shape[1:]:
            self._answers = torch.empty((rows, *like.shape[1:]), pin_memory=True)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def plans_for(device: str) -> tuple[Plan, ...]:
    """Plans worth measuring on ``device``: compiling takes minutes and a compiler, so the CPU is spared it."""
    plans = [Plan(), Plan(Precision.BFLOAT16)]
    if device.partition(":")[0] == "cuda":
        plans.append(Plan(Precision.FLOAT16))
        plans += [Plan(Precision.BFLOAT16, compiled=True, graphs=graphs) for graphs in (False, True)]
    return tuple(plans)


def fastest(
    module: nn.Module, device: str, sample: Rows, plans: Sequence[Plan] | None = None, tolerance: float = TOLERANCE
) -> tuple[Plan, dict[Plan, float]]:
    """The plan that answers ``sample`` (R, ...) soonest, and the seconds of each that was considered.

    Left out is what raises, and what is off from float32 by more than ``tolerance`` standard deviations of its answers.
    Seconds are the least of some interleaved rounds, after a first one that does not count.
    """
    truth = Served(module, device)(sample)
    bound = tolerance * float(truth.std())
    able: dict[Plan, Served] = {}
    for plan in plans_for(device) if plans is None else plans:
        served = Served(module, device, plan)
        with contextlib.suppress(RuntimeError, NotImplementedError):  # no kernel, no compiler, or no room
            if float(np.abs(served(sample) - truth).max(initial=0.0)) <= bound:
                able[plan] = served
    seconds = dict.fromkeys(able, float("inf"))
    for _ in range(ROUNDS):
        for plan, served in able.items():
            began = time.perf_counter()
            served(sample)
            seconds[plan] = min(seconds[plan], time.perf_counter() - began)
    if not seconds:
        return Plan(), {}
    return min(seconds, key=seconds.__getitem__), seconds
