"""How the gateway stands: what the demo's table, ``lineside status`` and the report show."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from lineside_gateway.guard.refusal import Refusal
from lineside_gateway.ledger import Effect, Outcome, TaskLedger
from lineside_gateway.settings import TaskSettings

RATE_WINDOW_S = 5.0


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

    @classmethod
    def of(cls, entry: TaskSettings, ledger: TaskLedger, last: str, problem: str) -> TaskStatus:
        """What the ledger knows of a task; ``last`` is its newest reason, ``problem`` why it does not run."""
        return cls(
            name=entry.task,
            mode=entry.mode.value,
            published=ledger.outcomes[Outcome.PUBLISHED],
            written=ledger.effects[Effect.WRITTEN],
            read_back=ledger.effects[Effect.READ_BACK],
            acted_on=ledger.effects[Effect.ACTED_ON],
            late=ledger.outcomes[Outcome.EXPIRED] + ledger.withheld[Refusal.LATE.value],
            withheld=dict(ledger.withheld),
            latency_ms=ledger.latency_ms(),
            last=last,
            problem=problem,
        )


class Rate:
    """How fast a counter has grown over the last seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def per_s(self, count: int) -> float:
        """Note the counter's value now; its growth per second since the oldest note kept."""
        now = time.monotonic()
        self._seen.append((now, count))
        while now - self._seen[0][0] > RATE_WINDOW_S:
            self._seen.pop(0)
        (t0, n0), (t1, n1) = self._seen[0], self._seen[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0


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
