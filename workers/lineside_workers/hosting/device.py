"""Which device a worker computes on: CUDA if there is one, else the CPU."""

from __future__ import annotations

import importlib.util
import os
import sys

from lineside_workers.errors import DeviceError

AUTO = "auto"


def choose(requested: str = AUTO) -> str:
    """The torch device to use: "cpu" or "cuda:N".

    "auto" takes the first CUDA device torch can see, else the CPU; a machine without torch has the CPU only.

    Raises:
        DeviceError: ``requested`` is not a device, or not on this machine.
    """
    if requested == "cpu":
        return requested
    name, _, number = requested.partition(":")
    if requested != AUTO and (name != "cuda" or not (number or "0").isdigit()):
        raise DeviceError(f"device '{requested}' is unknown; use auto, cpu, cuda or cuda:N")
    count = _cuda_devices()
    if requested == AUTO:
        return "cuda:0" if count else "cpu"
    index = int(number or "0")
    if index >= count:
        raise DeviceError(f"device '{requested}' is not here: torch sees {count} CUDA devices; use cpu or auto")
    return f"cuda:{index}"


def several(requested: str) -> tuple[str, ...]:
    """The devices to use at once: "auto" is every CUDA device, else the CPU; or names with commas, "cuda:0,1" for two.

    Raises:
        DeviceError: One of them is not a device, or not on this machine.
    """
    if requested == AUTO:
        return tuple(f"cuda:{i}" for i in range(_cuda_devices())) or ("cpu",)
    names = [name.strip() for name in requested.split(",") if name.strip()]
    return tuple(choose(f"cuda:{name}" if name.isdigit() and i else name) for i, name in enumerate(names))


def limit_threads(threads: int) -> None:
    """Let this process use ``threads`` CPU threads for tensors.

    Where torch is not imported yet it will read the number when it is: a process that needs no torch, or only on the
    first batch, does not pay its seconds of import here.
    """
    if "torch" in sys.modules:
        import torch  # noqa: PLC0415  # it is there already

        torch.set_num_threads(threads)
    else:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def release(device: str) -> None:
    """Give back what freed tensors still hold of ``device``; the CPU holds nothing."""
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415  # it is there already

        torch.cuda.empty_cache()


def _cuda_devices() -> int:
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch  # noqa: PLC0415  # seconds to import; only processes that host models pay them

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
