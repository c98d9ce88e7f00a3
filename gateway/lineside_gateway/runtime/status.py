"""How the gateway stands: what the demo's table, ``lineside status`` and the report show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server: its state in words, its tags, and what stands in the way."""

    name: str
    state: str
    tags: int
    waiting: int
    error: str


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """One task since start: recommendations by fate, latency from sample to node, and the newest reason in words."""

    name: str
    mode: str
    published: int
    written: int
    read_back: int
    acted_on: int
    late: int
    withheld: Mapping[str, int]
    latency_ms: Mapping[str, float | None]
    last: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """The gateway at one moment; counters since start."""

    gateway_id: str
    endpoint: str
    tags_per_s: float
    batches: int
    workers: tuple[str, ...]
    broker: bool
    servers: tuple[ServerStatus, ...]
    tasks: tuple[TaskStatus, ...]
    ledger: Mapping[str, object]
    advisory_only: bool
    silent: tuple[str, ...] = ()
    """Equipment whose PLC's heartbeat stands still."""
