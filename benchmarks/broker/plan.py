"""The arithmetic of docs/scale.md: what a plant of so many tags asks of its brokers. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

TAGS_PER_MACHINE = 24
SAMPLES = 128  # of a window
BATCH = 32
CELL_BYTES = 4 + 1 / 8  # float32 value, one bit of quality (none where all are Good)
ANSWER_BYTES = 260  # per window: a row of a result with one reason
TAGS_PER_GATEWAY = 50_000  # make bench-tags: 60,000 tags and 150,000 values a second into windows
TASKS = 4
IN_FLIGHT = 3  # batches of a task per gateway, lineside_gateway.dispatch.MAX_IN_FLIGHT
DEVICES_PER_HOST = 8
FULL_SHARE = 0.4  # of a core and of a link, so that one broker of two may be lost
LINK_BYTES_PER_S = 10e9 / 8
WORKER_BYTES = 300  # a heartbeat's row; every gateway reads all of them each second


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for: tags, GPU hosts, and the seconds between two windows of a machine."""

    tags: int
    hosts: int
    every_s: float

    @property
    def gateways(self) -> int:
        """Those that lead; as many again stand by, or each leads half of what it could."""
        return math.ceil(self.tags / TAGS_PER_GATEWAY)

    @property
    def windows_per_s(self) -> float:
        """Windows of all machines."""
        return self.tags / TAGS_PER_MACHINE / self.every_s

    @property
    def batches_per_s(self) -> float:
        """Each of them one Celery message, one claim and one answer."""
        return self.windows_per_s / BATCH

    @property
    def claim_bytes(self) -> int:
        """One batch under its claim key."""
        return round(BATCH * SAMPLES * TAGS_PER_MACHINE * CELL_BYTES)

    @property
    def bytes_per_s(self) -> float:
        """Into the brokers, and the same out of them: claims, answers, heartbeats as the gateways read them."""
        heartbeats = 2 * self.gateways * self.hosts * DEVICES_PER_HOST * WORKER_BYTES
        return self.batches_per_s * (self.claim_bytes + BATCH * ANSWER_BYTES) + heartbeats

    @property
    def memory_bytes(self) -> float:
        """At most, over all brokers, with every worker lost: what is in flight waits; more stays in the gateways."""
        return self.gateways * TASKS * IN_FLIGHT * self.claim_bytes

    def cores(self, cpu_us: float) -> float:
        """Cores of broker at ``cpu_us`` of CPU per batch."""
        return self.batches_per_s * cpu_us / 1e6

    def brokers(self, cpu_us: float) -> int:
        """Servers, one core and one link each, none loaded above ``FULL_SHARE``."""
        return max(
            math.ceil(self.cores(cpu_us) / FULL_SHARE),
            math.ceil(self.bytes_per_s / LINK_BYTES_PER_S / FULL_SHARE),
        )


def table(cpu_us: float) -> str:
    """A million tags and 100 hosts at three paces, as Markdown."""
    plans = [Plan(1_000_000, 100, every_s) for every_s in (60.0, 10.0, 1.0)]
    rows: list[tuple[str, list[str]]] = [
        ("gateways that lead (and as many that stand by)", [f"{p.gateways}" for p in plans]),
        ("windows/s", [f"{p.windows_per_s:,.0f}" for p in plans]),
        ("batches/s = messages/s = claims/s = answers/s", [f"{p.batches_per_s:,.0f}" for p in plans]),
        ("MB/s into the brokers, and out of them", [f"{p.bytes_per_s / 1e6:,.0f}" for p in plans]),
        ("batches/s per GPU host", [f"{p.batches_per_s / p.hosts:,.1f}" for p in plans]),
        ("broker memory at most, all workers lost (MB)", [f"{p.memory_bytes / 1e6:,.0f}" for p in plans]),
        (f"broker cores, at the {cpu_us:,.0f} us per batch measured below", [f"{p.cores(cpu_us):.2f}" for p in plans]),
        ("brokers at 40 % of a core and of 10 Gbit/s", [f"{p.brokers(cpu_us)}" for p in plans]),
    ]
    head = "| a window per machine every | " + " | ".join(f"{p.every_s:g} s" for p in plans) + " |"
    body = [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join([head, "|" + "---|" * (1 + len(plans)), *body])
