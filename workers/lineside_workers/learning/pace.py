"""How fast a training was, on what, and how much faster than this machine's CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lineside_plugins.learning.serving import Precision


@dataclass(frozen=True, slots=True)
class Pace:
    """``samples`` that went through training in ``seconds`` on ``devices``; ``times_cpu`` where it was compared."""

    devices: tuple[str, ...]
    samples: int
    seconds: float
    times_cpu: float | None = None

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.samples / max(self.seconds, 1e-9)

    @property
    def precision(self) -> str:
        """What matrix products are computed in."""
        return precision(self.devices[0]).value

    def compared(self, cpu_rate: Callable[[], float]) -> Pace:
        """With the CPU's samples per second beside it, where it was not the CPU."""
        if not self.devices[0].startswith("cuda"):
            return self
        return Pace(self.devices, self.samples, self.seconds, self.rate / max(cpu_rate(), 1e-9))

    def to_json(self) -> dict[str, object]:
        """For reports."""
        return {
            "devices": list(self.devices),
            "precision": self.precision,
            "seconds": round(self.seconds, 3),
            "samples_per_s": round(self.rate, 1),
            "times_cpu": None if self.times_cpu is None else round(self.times_cpu, 2),
        }

    def __str__(self) -> str:
        """One sentence."""
        than = "" if self.times_cpu is None else f", {self.times_cpu:.1f} times the CPU"
        where = name_of(self.devices)
        return f"{self.seconds:.1f} s on {where} in {self.precision}, {self.rate:,.0f} samples/s{than}"


def precision(device: str) -> Precision:
    """What training on ``device`` rounds matrix products to."""
    return Precision.BFLOAT16 if device.startswith("cuda") else Precision.FLOAT32


def name_of(devices: Sequence[str]) -> str:
    """Devices as --devices takes them."""
    return ",".join(devices)
