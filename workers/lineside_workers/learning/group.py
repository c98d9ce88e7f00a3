"""Training in several processes of this machine, one per device: gradients are averaged by torch's DDP.

The calling process is the first of them, so that progress, curves and checkpoints stay where they are; the others live
as long as it does. On CPUs they speak gloo, on CUDA devices nccl, both over loopback.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lineside_workers import process
from lineside_workers.errors import DeviceError

PATIENCE = timedelta(minutes=5)  # a member silent for so long has died
LEAVING_S = 20.0
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


@dataclass(frozen=True, slots=True)
class Place:
    """Number of this process, how many there are, and its device."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    def parallel(self, model: nn.Module) -> nn.Module:
        """``model``, whose gradients are averaged over the group in each backward pass."""
        if self.world == 1:
            return model
        own = [torch.device(self.device)] if self.device.startswith("cuda") else None
        return DistributedDataParallel(model, device_ids=own)

    def total(self, value: float) -> float:
        """Sum over the group; all members have to ask."""
        if self.world == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared)
        return float(shared)

    def of_the_first(self, value: float) -> float:
        """What the first of the group has; all members have to ask."""
        return self.total(value if self.rank == 0 else 0.0)


@contextmanager
def group(devices: Sequence[str], member: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[Place]:
    """A place per device: the first is this process, each other runs ``member(place, *arguments)`` beside it.

    Raises:
        DeviceError: One of the others ended before its time, or they cannot reach each other.
    """
    if len(devices) == 1:
        yield Place(device=devices[0])
        return
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        places = [Place(rank, len(devices), device) for rank, device in enumerate(devices)]
        others = [
            context.Process(target=_join, args=(member, meeting, p, torch.get_num_threads(), arguments), daemon=True)
            for p in places[1:]
        ]
        for other in others:
            other.start()
        try:
            with _joined(meeting, places[0]):
                yield places[0]
        except RuntimeError as e:  # torch raises it plain where a member has gone
            gone = [p.device for p, o in zip(places[1:], others, strict=True) if o.exitcode]
            if not gone and "onnection" not in str(e) and "imed out" not in str(e):
                raise
            raise DeviceError(
                f"the process of {', '.join(gone) or 'another device'} has gone: {str(e).splitlines()[0][:200]}; "
                "the same command goes on from the last checkpoint, --devices with one device does without it"
            ) from e
        finally:
            for other in others:
                _leave(other)


@contextmanager
def _joined(meeting: str, place: Place) -> Iterator[None]:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, _LOOPBACK)
    cuda = place.device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(place.device)
    distributed.init_process_group(
        "nccl" if cuda else "gloo", init_method=meeting, rank=place.rank, world_size=place.world, timeout=PATIENCE
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _join(member: Callable[..., None], meeting: str, place: Place, threads: int, arguments: tuple[Any, ...]) -> None:
    process.die_with_parent()
    torch.set_num_threads(threads)
    with _joined(meeting, place):
        member(place, *arguments)


def _leave(other: Any) -> None:
    other.join(LEAVING_S if sys.exc_info()[0] is None else 0.0)
    if other.is_alive():
        other.terminate()
        other.join(LEAVING_S)
