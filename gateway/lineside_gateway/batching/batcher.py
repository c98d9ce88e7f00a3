"""A batch goes when it is full, when its oldest request has waited long enough, or before a deadline passes.

Measured against a task per request: 18x the throughput, 0.12x the gateway's CPU per request.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from lineside_gateway.ingest.binding import Request
from lineside_plugins.types import WindowBatch

DEFAULT_SIZE = 64
DEFAULT_WAIT_S = 0.02  # wall clock
_SLACK = 64  # entries of a heap that are not worth a rebuild
_Key: TypeAlias = tuple[str, tuple[str, ...], tuple[int, ...], float]


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one task and the windows they make; ``requests[b]`` is window ``b``."""

    task: str
    requests: tuple[Request, ...]
    windows: WindowBatch

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.requests)


def join(requests: Sequence[Request]) -> WindowBatch:
    """One WindowBatch of requests of one task, in their order; copies the windows once.

    Raises:
        ValueError: No request, or windows of different shape: they belong to different batches.
    """
    if not requests:
        raise ValueError("a batch of 0 requests; pass at least one")
    first = requests[0]
    return WindowBatch(
        equipment_ids=tuple(r.equipment_id for r in requests),
        tags=first.tags,
        values=np.stack([r.values for r in requests]),
        good=np.stack([r.good for r in requests]),
        end=np.array([r.end_us for r in requests], np.int64).astype("datetime64[us]"),
        period_s=first.period_s,
        snapshots=tuple(r.snapshot for r in requests),
        records=tuple(r.records for r in requests),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    request: Request
    since_s: float
    expires_s: float


class _Group:
    """Requests that can make one batch, oldest first, and by deadline and by expiry for whoever goes before.

    What leaves stays in the two heaps until it comes to their top, or until they hold twice what waits: adding,
    taking and dropping a request cost a logarithm, however many wait.
    """

    def __init__(self) -> None:
        self.entries: dict[int, _Entry] = {}  # by number, in the order they came
        self._deadlines: list[tuple[int, int]] = []
        self._expiries: list[tuple[float, int]] = []

    def add(self, number: int, entry: _Entry) -> None:
        self.entries[number] = entry
        heapq.heappush(self._deadlines, (entry.request.deadline_us, number))
        heapq.heappush(self._expiries, (entry.expires_s, number))
        if len(self._deadlines) > 2 * len(self.entries) + _SLACK:
            self._deadlines = [(e.request.deadline_us, n) for n, e in self.entries.items()]
            heapq.heapify(self._deadlines)
        if len(self._expiries) > 2 * len(self.entries) + _SLACK:
            self._expiries = [(e.expires_s, n) for n, e in self.entries.items()]
            heapq.heapify(self._expiries)

    def oldest(self) -> _Entry:
        return next(iter(self.entries.values()))

    def drop_oldest(self) -> Request:
        return self.entries.pop(next(iter(self.entries))).request

    def soonest_us(self) -> int:
        while self._deadlines[0][1] not in self.entries:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0]

    def expires_s(self) -> float:
        while self._expiries[0][1] not in self.entries:
            heapq.heappop(self._expiries)
        return self._expiries[0][0]

    def expired(self, now_s: float) -> list[Request]:
        """Remove what expires at ``now_s`` or before, in the order it came."""
        gone: dict[int, Request] = {}
        while self.entries and self.expires_s() <= now_s:
            _, number = heapq.heappop(self._expiries)
            gone[number] = self.entries.pop(number).request
        return [gone[n] for n in sorted(gone)]

    def take(self, most: int) -> tuple[Request, ...]:
        """Remove the ``most`` requests with the soonest deadlines, in the order they came."""
        chosen: dict[int, Request] = {}
        while len(chosen) < most and self.entries:
            self.soonest_us()
            _, number = heapq.heappop(self._deadlines)
            chosen[number] = self.entries.pop(number).request
        return tuple(chosen[n] for n in sorted(chosen))


class MicroBatcher:
    """Holds requests until their batch is due. Times ``now_s`` and ``expires_s`` are of one monotonic clock.

    ``max_wait_s`` is how long a request may wait for company; a request that expires sooner than that after its
    batch would go takes the batch with it ``max_wait_s`` before. ``len`` counts the requests that wait.
    """

    def __init__(self, max_batch_size: int = DEFAULT_SIZE, max_wait_s: float = DEFAULT_WAIT_S) -> None:
        if max_batch_size < 1 or max_wait_s < 0:
            raise ValueError(f"max_batch_size {max_batch_size}, max_wait_s {max_wait_s}; at least 1 and 0")
        self.max_batch_size = max_batch_size
        self.max_wait_s = max_wait_s
        self._groups: dict[_Key, _Group] = {}
        self._number = 0

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(len(g.entries) for g in self._groups.values())

    def add(self, request: Request, now_s: float, expires_s: float = math.inf) -> None:
        """Take a request; ``expires_s`` is when an answer is no longer of use, as far as the caller knows."""
        key = (request.task, request.tags, request.values.shape, request.period_s)
        self._number += 1
        self._groups.setdefault(key, _Group()).add(self._number, _Entry(request, now_s, expires_s))

    def oldest_s(self, now_s: float) -> float:
        """How long the oldest request has waited; 0 when nothing waits."""
        return now_s - min((g.oldest().since_s for g in self._groups.values()), default=now_s)

    def next_due_s(self) -> float | None:
        """When ``due`` next returns a batch if nothing is added; None when nothing waits."""
        return min((self._due_s(g) for g in self._groups.values()), default=None)

    def _due_s(self, group: _Group) -> float:
        if len(group.entries) >= self.max_batch_size:
            return -math.inf
        return min(group.oldest().since_s + self.max_wait_s, group.expires_s() - self.max_wait_s)

    def expired(self, now_s: float) -> list[Request]:
        """Remove and return the requests whose time has passed; nobody needs their answer."""
        out = [r for group in self._groups.values() for r in group.expired(now_s)]
        self._forget_empty()
        return out

    def due(self, now_s: float, most: int | None = None) -> list[Batch]:
        """Remove and return the batches that are due, ``most`` at most, each at most ``max_batch_size``.

        The request with the soonest deadline goes first, and takes those it waits with along.
        """
        groups = [(k, g) for k, g in self._groups.items() if self._due_s(g) <= now_s]
        return self._release(sorted(groups, key=lambda kg: kg[1].soonest_us()), now_s, most)

    def shed(self, most: int) -> list[Request]:
        """Remove and return the oldest requests, until ``most`` wait."""
        out: list[Request] = []
        for _ in range(len(self) - most):
            oldest = min(self._groups.values(), key=lambda g: g.oldest().since_s)
            out.append(oldest.drop_oldest())
            if not oldest.entries:
                self._forget_empty()
        return out

    def flush(self) -> list[Batch]:
        """Remove and return all that waits, as ``due``: in lock-step, and at the end."""
        return self._release(list(self._groups.items()), math.inf)

    def _release(self, groups: Sequence[tuple[_Key, _Group]], now_s: float, most: int | None = None) -> list[Batch]:
        out: list[Batch] = []
        for key, group in groups:
            while group.entries and self._due_s(group) <= now_s and (most is None or len(out) < most):
                chosen = group.take(self.max_batch_size)
                out.append(Batch(key[0], chosen, join(chosen)))
        self._forget_empty()
        return sorted(out, key=lambda b: min(r.deadline_us for r in b.requests))

    def _forget_empty(self) -> None:
        for key in [k for k, g in self._groups.items() if not g.entries]:
            del self._groups[key]
