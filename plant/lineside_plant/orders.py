"""Job orders: the pool, what runs at the mills, and what is still in the line."""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass
from enum import StrEnum

from lineside_plant.dispatching import FreeMill, choose
from lineside_plant.policies import Policy
from lineside_plant.spec import MILLS, PlantSpec
from lineside_plant.streams import Streams


class OrderState(StrEnum):
    """States of a job order, named as in OPC 10031-4."""

    ALLOWED_TO_START = "AllowedToStart"
    NOT_ALLOWED_TO_START = "NotAllowedToStart"
    RUNNING = "Running"
    ENDED = "Ended"
    ABORTED = "Aborted"


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job order as the MES lists it. Times are plant time (s); ``remaining`` parts have not been cut yet.

    ``equipment`` is the mill an Update asked for or, while running, the mill it runs on.
    """

    id: str
    family: int
    quantity: int
    release_s: float
    due_s: float
    priority: int
    equipment: str | None
    state: OrderState
    remaining: int


class Order:
    """A job order inside the plant. Mutated by the line."""

    __slots__ = ("due_s", "equipment", "family", "id", "left_line", "priority", "quantity", "release_s", "remaining",
                 "state")  # fmt: skip

    def __init__(self, order_id: str, family: int, quantity: int, release_s: float, due_s: float) -> None:
        self.id = order_id
        self.family = family
        self.quantity = quantity
        self.release_s = release_s
        self.due_s = due_s
        self.priority = 0
        self.equipment: str | None = None
        self.state = OrderState.ALLOWED_TO_START
        self.remaining = quantity
        self.left_line = 0

    def view(self) -> JobOrder:
        """The order as the MES lists it."""
        return JobOrder(
            self.id, self.family, self.quantity, self.release_s, self.due_s, self.priority, self.equipment, self.state,
            self.remaining,
        )  # fmt: skip


class OrderBook:
    """All open job orders. The pool is refilled on dispatch; the k-th order has the same draws in every arm."""

    def __init__(self, spec: PlantSpec, policy: Policy, streams: Streams) -> None:
        self._spec = spec
        self._policy = policy
        self._family_u = streams.uniform("order", "family")
        self._quantity_u = streams.uniform("order", "quantity")
        self._slack_u = streams.uniform("order", "slack")
        self._mix = list(itertools.accumulate(spec.mix))
        self._made = 0
        self.pool: list[Order] = []
        self.running: dict[str, Order] = {}
        self.in_line: dict[str, Order] = {}
        self.updates_taken = 0
        self.dispatches_by_priority = 0
        for _ in range(spec.pool_orders):
            self._refill(0.0)

    def _refill(self, now_s: float) -> None:
        spec = self._spec
        family = min(bisect.bisect(self._mix, self._family_u()), len(self._mix) - 1)
        quantity = spec.lot_low + int(self._quantity_u() * (spec.lot_high - spec.lot_low + 1))
        slack = spec.due_slack_low_h + self._slack_u() * (spec.due_slack_high_h - spec.due_slack_low_h)
        due_s = now_s + 3600.0 * (spec.due_base_h + slack)
        self.pool.append(Order(f"JO-{self._made:06d}", family, quantity, now_s, due_s))
        self._made += 1

    def dispatch(self, mill: FreeMill) -> Order | None:
        """Take the order ``mill`` is to run now, and refill the pool; None when every order is paused.

        The highest priority set from outside comes first, then the plant's own rule among orders not assigned to the
        other mill, then among all: a mill never idles while the pool has orders.
        """
        allowed = [o for o in self.pool if o.state is OrderState.ALLOWED_TO_START]
        if not allowed:
            return None
        mine = [o for o in allowed if o.equipment is None or o.equipment == mill.name]
        urgent = [o for o in mine if o.priority > 0]
        if urgent:
            order = min(urgent, key=lambda o: (-o.priority, o.due_s))
            self.dispatches_by_priority += 1
        else:
            order = choose(mine or allowed, mill, self._policy.dispatch, self._spec, self._policy.oracle_due_weight)
        self.pool.remove(order)
        order.state = OrderState.RUNNING
        order.equipment = mill.name
        self.running[mill.name] = order
        self.in_line[order.id] = order
        self._refill(mill.now_s)
        return order

    def milled(self, mill: str) -> None:
        """Note that ``mill`` has cut the last part of its order."""
        self.running.pop(mill, None)

    def part_left(self, order: Order) -> bool:
        """Note that one part of ``order`` has left the line, shipped or scrapped; True when it was the last."""
        order.left_line += 1
        if order.left_line < order.quantity or order.state is not OrderState.RUNNING:
            return False
        order.state = OrderState.ENDED
        del self.in_line[order.id]
        return True

    def update(self, order_id: str, priority: int, equipment: str | None) -> bool:
        """Set priority and equipment of a pooled order; False when it is unknown, running or ended."""
        order = self._pooled(order_id)
        if order is None or (equipment is not None and equipment not in MILLS):
            return False
        order.priority = max(0, priority)
        order.equipment = equipment
        self.updates_taken += 1
        return True

    def hold(self, order_id: str) -> bool:
        """Keep a pooled order from being dispatched; False when there is none of that id."""
        return self._set_state(order_id, OrderState.NOT_ALLOWED_TO_START)

    def release(self, order_id: str) -> bool:
        """Let a held order be dispatched again; False when there is none of that id."""
        return self._set_state(order_id, OrderState.ALLOWED_TO_START)

    def abort(self, order_id: str, now_s: float) -> bool:
        """Take a pooled order out for good and refill the pool; False when there is none of that id."""
        order = self._pooled(order_id)
        if order is None:
            return False
        order.state = OrderState.ABORTED
        self.pool.remove(order)
        self._refill(now_s)
        return True

    def store(self, order: Order) -> bool:
        """Add an order from outside to the pool; False when its id is taken."""
        if any(o.id == order.id for o in self.pool) or order.id in self.in_line:
            return False
        self.pool.append(order)
        return True

    def overdue(self, now_s: float) -> int:
        """How many open orders are past their due time."""
        return sum(o.due_s < now_s for o in (*self.pool, *self.in_line.values()))

    def view(self) -> list[JobOrder]:
        """Orders running at the mills, then the pool, oldest first."""
        return [o.view() for o in (*self.running.values(), *self.pool)]

    def _pooled(self, order_id: str) -> Order | None:
        return next((o for o in self.pool if o.id == order_id), None)

    def _set_state(self, order_id: str, state: OrderState) -> bool:
        order = self._pooled(order_id)
        if order is None:
            return False
        order.state = state
        return True
