"""Which job order a free mill takes: pure functions of the orders it may take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineside_plant.policies import Dispatch

if TYPE_CHECKING:
    from lineside_plant.orders import Order
    from lineside_plant.spec import PlantSpec

_LINE_H = 2.5  # from a mill to shipping, with margin for the buffers
_URGENT_H = 3.0  # family-first leaves the family for an order with less slack than this
_SLACK_SCALE_H = 6.0  # of the oracle's due-date term
_SAME_FAMILY_H = 0.05  # what it costs the oracle to run one family on both mills


@dataclass(frozen=True, slots=True)
class FreeMill:
    """The mill that asks: its name, the family it is set up for, the other mill's family, and plant time."""

    name: str
    family: int | None
    other_family: int | None
    now_s: float


def choose(orders: Sequence[Order], mill: FreeMill, rule: Dispatch, spec: PlantSpec, due_weight: float) -> Order:
    """The order ``rule`` takes for ``mill`` among ``orders`` (not empty); ties go to the older order."""
    if rule is Dispatch.FAMILY_FIRST:
        return _family_first(orders, mill, spec)
    if rule is Dispatch.ORACLE:
        return max(orders, key=lambda o: _oracle_index(o, mill, spec, due_weight))
    return min(orders, key=_due)


def _due(order: Order) -> float:
    return order.due_s


def _work_h(order: Order, spec: PlantSpec) -> float:
    return order.remaining * spec.mill_cycle_s(order.family, 1.0) / 3600.0


def _family_first(orders: Sequence[Order], mill: FreeMill, spec: PlantSpec) -> Order:
    """Stay in the family by due date, unless an order is about to be late."""
    urgent = [o for o in orders if (o.due_s - mill.now_s) / 3600.0 < _work_h(o, spec) + _URGENT_H]
    same = [o for o in orders if o.family == mill.family]
    return min(urgent or same or orders, key=_due)


def _oracle_index(order: Order, mill: FreeMill, spec: PlantSpec, due_weight: float) -> float:
    """Apparent-tardiness index with setups; families are steered apart across the mills.

    Source: the ATCS idea of Lee, Bhaskaran and Pinedo (1997), with a linear setup term.
    """
    slack_h = max(0.0, (order.due_s - mill.now_s) / 3600.0 - _work_h(order, spec) - _LINE_H)
    crowded = order.family == mill.other_family and order.family != mill.family
    setup_h = spec.setup_s(mill.family, order.family) / 3600.0
    return due_weight * math.exp(-slack_h / _SLACK_SCALE_H) - setup_h - (_SAME_FAMILY_H if crowded else 0.0)
