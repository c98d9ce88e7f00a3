"""What came in, what became of it, and whether the sums agree. Confined to one thread, the event loop's.

``received = used + dropped + pending`` holds for values, for windows and for requests at any time. ``pending`` is
always counted where the things wait (the log, the queue, the set of open requests), never computed from the other
three: a value lost by a bug shows as ``balanced: false``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum

import numpy as np

LATENCIES_KEPT = 4096  # newest latencies per task; p99 then rests on about 40 values


class Outcome(StrEnum):
    """How a request ends; every request ends in exactly one of these."""

    PUBLISHED = "published"
    NOTHING_TO_SAY = "nothing_to_say"
    REFUSED = "refused"
    EXPIRED = "expired"
    PARKED = "parked"
    ELSEWHERE = "elsewhere"  # another gateway of the fleet answers it


class Effect(StrEnum):
    """What a published recommendation did to the plant, in this order."""

    WRITTEN = "written"
    READ_BACK = "read_back"
    ACTED_ON = "acted_on"


def _nothing_waits() -> int:
    return 0


class Tally:
    """Counts of one kind of thing. Whoever holds the waiting ones sets ``waiting`` to a function that counts them."""

    def __init__(self) -> None:
        self.received = 0
        self.used = 0
        self.dropped: Counter[str] = Counter()
        self.waiting: Callable[[], int] = _nothing_waits

    def drop(self, reason: str, count: int = 1) -> None:
        """Count ``count`` things that go no further because of ``reason``."""
        if count:
            self.dropped[reason] += count

    @property
    def pending(self) -> int:
        """Things received whose fate is open, counted where they wait."""
        return self.waiting()

    @property
    def balanced(self) -> bool:
        """Whether received = used + dropped + pending."""
        return self.received == self.used + self.dropped.total() + self.pending

    def snapshot(self) -> dict[str, object]:
        """Received, used, dropped (total and by reason), pending and balanced, as plain JSON values."""
        return {
            "received": self.received,
            "used": self.used,
            "dropped": self.dropped.total(),
            "dropped_by": dict(sorted(self.dropped.items())),
            "pending": self.pending,
            "balanced": self.balanced,
        }


class TaskLedger:
    """One task's windows, requests, effects and latencies.

    ``windows`` counts closings: received = due, used = became a request, dropped = why not. Requests go
    closed -> sent -> answered -> one ``Outcome``; a request may end at any stage. ``resumed`` of the closed ones had
    been closed by an earlier run.
    """

    def __init__(self) -> None:
        self.windows = Tally()
        self.closed = 0
        self.resumed = 0
        self.sent = 0
        self.answered = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons: Counter[str] = Counter()
        self.effects: Counter[Effect] = Counter()
        self.withheld: Counter[str] = Counter()
        self.repeats = 0
        self.strays = 0
        self._open: set[int] = set()
        self._highest = 0
        self._latencies = np.zeros(LATENCIES_KEPT)
        self._latency_count = 0

    def close(self, request_id: int) -> None:
        """A window became a request; it is open until ``settle``."""
        self.closed += 1
        self._open.add(request_id)
        self._highest = max(self._highest, request_id)

    def resume(self, request_id: int) -> None:
        """A request that an earlier run of the gateway closed and did not settle is open again."""
        self.resumed += 1
        self.close(request_id)

    def send(self, count: int = 1) -> None:
        """``count`` requests went to the broker."""
        self.sent += count

    def answer(self, count: int = 1) -> None:
        """``count`` requests came back from a worker."""
        self.answered += count

    def settle(self, request_id: int, outcome: Outcome, reason: str = "") -> bool:
        """End a request. ``reason`` says why, for outcomes other than published.

        Returns:
            False when it had ended before (a redelivered result): the caller must not act on it again.
        """
        if request_id not in self._open:
            if request_id > self._highest:
                self.strays += 1
            else:
                self.repeats += 1
            return False
        self._open.remove(request_id)
        self.outcomes[outcome] += 1
        if reason:
            self.reasons[f"{outcome.value}: {reason}"] += 1
        return True

    def effect(self, effect: Effect, count: int = 1) -> None:
        """A published recommendation was written, read back or acted on."""
        self.effects[effect] += count

    def withhold(self, reason: str) -> None:
        """A published recommendation asked for an effect and did not get it, because of ``reason``."""
        self.withheld[reason] += 1

    def latency(self, seconds: float) -> None:
        """Wall-clock seconds from the newest sample of a window to its recommendation on the hosted nodes."""
        self._latencies[self._latency_count % LATENCIES_KEPT] = seconds
        self._latency_count += 1

    def latency_ms(self) -> dict[str, float | None]:
        """p50 and p99 over the newest latencies, in ms; None before the first."""
        kept = self._latencies[: min(self._latency_count, LATENCIES_KEPT)]
        if not len(kept):
            return {"p50": None, "p99": None}
        p50, p99 = np.percentile(kept, (50, 99)) * 1e3
        return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}

    @property
    def pending(self) -> int:
        """Requests that are open."""
        return len(self._open)

    @property
    def balanced(self) -> bool:
        """Whether windows balance, every closed request is open or has one outcome, and none came from nowhere."""
        whole = self.closed == self.outcomes.total() + len(self._open)
        return whole and self.windows.balanced and self.windows.used + self.resumed == self.closed and self.strays == 0

    def snapshot(self) -> dict[str, object]:
        """All counters as plain JSON values; outcomes and effects are always present."""
        return {
            "windows": self.windows.snapshot(),
            "closed": self.closed,
            "resumed": self.resumed,
            "sent": self.sent,
            "answered": self.answered,
            **{o.value: self.outcomes[o] for o in Outcome},
            **{e.value: self.effects[e] for e in Effect},
            "reasons": dict(sorted(self.reasons.items())),
            "withheld": dict(sorted(self.withheld.items())),
            "repeats": self.repeats,
            "strays": self.strays,
            "pending": self.pending,
            "balanced": self.balanced,
        }


class Ledger:
    """The gateway's one ledger: ``values`` for tags, ``task(name)`` for each task."""

    def __init__(self) -> None:
        self.values = Tally()
        self.tasks: dict[str, TaskLedger] = {}

    def task(self, name: str) -> TaskLedger:
        """The ledger of task ``name``, made when first asked for."""
        found = self.tasks.get(name)
        if found is None:
            found = self.tasks[name] = TaskLedger()
        return found

    @property
    def balanced(self) -> bool:
        """Whether values and every task balance."""
        return self.values.balanced and all(t.balanced for t in self.tasks.values())

    def snapshot(self) -> dict[str, object]:
        """Values at the top (received, used, dropped, pending), tasks below; ``balanced`` covers all of it."""
        tasks = {name: t.snapshot() for name, t in sorted(self.tasks.items())}
        return {**self.values.snapshot(), "balanced": self.balanced, "tasks": tasks}
