"""What is to be sequenced and what a sequence costs. Pure data in whole minutes from now; no solver, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NOBODY = -1
"""Predecessor of the first job order on a machine."""


@dataclass(frozen=True, slots=True)
class Order:
    """An open job order. ``due`` is when its last part must leave the machine to be shipped in time."""

    id: str
    family: int
    minutes: int
    due: int


@dataclass(frozen=True, slots=True)
class Machine:
    """One of the parallel machines.

    It is free at ``free`` with ``family`` set up (None: unknown, every family costs ``Problem.first_setup``). From
    ``window[0]`` on, maintenance of ``window[1]`` minutes begins at the first boundary between job orders.
    """

    id: str
    family: int | None
    free: int
    window: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """Prices in points. ``setup`` is per minute, and so the unit that the others are measured in.

    A job order that ends ``margin_minutes`` or less before its due time pays ``margin`` per minute, one that ends after
    it ``late`` at once and ``tardy`` per minute. ``idle`` is per minute that a machine is done while job orders planned
    elsewhere wait; no MES would let that happen, so a plan that counts on it is worth less than it seems. ``boundary``
    is per minute that due maintenance waits for a boundary, ``change`` per agreed job order with another predecessor.
    """

    setup: int
    margin: int
    margin_minutes: int
    late: int
    tardy: int
    idle: int
    boundary: int
    change: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Job orders, machines, setup minutes from row to column family, and the sequences that are agreed already.

    ``agreed[k]`` are indices into ``orders``, in the sequence the MES has for machine k; orders nobody has sequenced
    yet are in none of them.
    """

    orders: tuple[Order, ...]
    machines: tuple[Machine, ...]
    setup: tuple[tuple[int, ...], ...]
    first_setup: int
    agreed: tuple[tuple[int, ...], ...]
    weights: Weights

    def setup_minutes(self, machine: int, before: int, order: int) -> int:
        """Minutes of setup for ``order`` on ``machine`` after the order ``before`` (or NOBODY)."""
        have = self.machines[machine].family if before == NOBODY else self.orders[before].family
        return self.first_setup if have is None else self.setup[have][self.orders[order].family]

    def agreed_links(self) -> set[tuple[int, int]]:
        """(predecessor, order) of each order that has been sequenced; see ``links``."""
        return links(self.agreed)


@dataclass(frozen=True, slots=True)
class Placement:
    """One job order in a schedule: setup runs from ``begin``, work until ``end``, minutes from now."""

    order: int
    machine: int
    begin: int
    setup: int
    end: int
    tardiness: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Sequences with their timetable and cost in points. ``placements`` are in order of ``begin``."""

    sequences: tuple[tuple[int, ...], ...]
    placements: tuple[Placement, ...]
    cost: int
    changed: int

    @property
    def setup_total(self) -> int:
        """Minutes of setup in all."""
        return sum(p.setup for p in self.placements)

    @property
    def tardiness_total(self) -> int:
        """Minutes of tardiness in all."""
        return sum(p.tardiness for p in self.placements)


def links(sequences: Sequence[Sequence[int]]) -> set[tuple[int, int]]:
    """(predecessor, order) of every order in ``sequences``; the first one on machine k has predecessor ``-1 - k``."""
    return {(s[p - 1] if p else NOBODY - k, i) for k, s in enumerate(sequences) for p, i in enumerate(s)}


def order_cost(weights: Weights, end: int, due: int) -> int:
    """Points for one job order that ends at ``end``: convex up to ``due``, then a step and a steeper slope."""
    cost = weights.margin * max(0, end - due + weights.margin_minutes)
    return cost + (weights.late + weights.tardy * (end - due) if end > due else 0)


def timetable(problem: Problem, sequences: Sequence[Sequence[int]]) -> Schedule:
    """The schedule that follows from running each machine's sequence without idling.

    ``sequences[k]`` are order indices for machine k; together they hold every order once. O(n).
    """
    weights = problem.weights
    agreed = problem.agreed_links()
    changed = len(agreed - links(sequences)) if agreed else 0
    placements: list[Placement] = []
    cost, done, last_begin = 0, [], 0
    for k, sequence in enumerate(sequences):
        machine = problem.machines[k]
        now, window, before = machine.free, machine.window, NOBODY
        for i in sequence:
            if window is not None and now >= window[0]:
                cost += weights.boundary * (now - window[0])
                now, window = now + window[1], None
            order, setup = problem.orders[i], problem.setup_minutes(k, before, i)
            end = now + setup + order.minutes
            cost += weights.setup * setup + order_cost(weights, end, order.due)
            placements.append(Placement(i, k, now, setup, end, max(0, end - order.due)))
            last_begin = max(last_begin, now)
            now, before = end, i
        if window is not None:
            cost += weights.boundary * max(0, now - window[0])
        done.append(now)
    cost += weights.idle * sum(max(0, last_begin - end) for end in done) + weights.change * changed
    placements.sort(key=lambda p: (p.begin, p.machine))
    return Schedule(tuple(tuple(s) for s in sequences), tuple(placements), cost, changed)
