"""From a recommendation and a ``write:`` rule to the exact writes it asks for. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lineside_gateway.settings.model import AcknowledgeBy, WriteSettings
from lineside_plugins.types import OutputValue, Recommendation, Scalar

_PLACE = re.compile(r"\{(\w+)\}")
COMMAND_IDS = 2**31  # fits Int32, UInt32 and what IEC 61131-3 calls DINT
PRIORITY_MAX = 32767  # ISA95JobOrderDataType.Priority is an Int16 (OPC 10031-4, 6.3)


class PlanError(ValueError):
    """The recommendation lacks what the rule writes; the text names the output."""


@dataclass(frozen=True, slots=True)
class TagWrite:
    """One value for one tag of one piece of equipment."""

    equipment_id: str
    tag: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class JobOrderUpdate:
    """New priority and assignment of one job order; ``equipment_id`` None leaves the order to any machine."""

    job_order_id: str
    priority: int
    equipment_id: str | None


Write: TypeAlias = TagWrite | JobOrderUpdate


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The tag by which the plant says that it has acted: a counter that rises, or one that takes the command's id."""

    equipment_id: str
    tag: str
    command_id: int | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """Writes of one rule in the order they must be sent, and how the plant answers."""

    writes: tuple[Write, ...]
    acknowledge: Acknowledgement | None = None
    read_back: bool = True


@dataclass(frozen=True, slots=True)
class JobOrderNow:
    """What the MES holds for an order at present."""

    priority: int
    equipment_id: str | None


def command_id(key: str) -> int:
    """The number by which a PLC tells one command from the next: 1 to 2^31 - 1, the same for the same key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % (COMMAND_IDS - 1) + 1


def plan(rule: WriteSettings, rec: Recommendation, orders: Mapping[str, JobOrderNow], job_control: str) -> Effect:
    """The writes of one rule; job orders that already stand as advised, or have left the MES's list, are left out.

    ``job_control`` is the equipment_id under which the job order receiver's own tags are read. Beside the outputs a
    template may name command_id, key, window_end, valid_until and confidence.

    Raises:
        PlanError: The recommendation has no such output, or a record is not a job order.
    """
    tag = rule.acknowledge
    if rule.update_job_orders is not None:
        updates = _updates(rule.update_job_orders, rec.value)
        writes: tuple[Write, ...] = tuple(
            u
            for u in updates
            if u.job_order_id in orders and orders[u.job_order_id] != JobOrderNow(u.priority, u.equipment_id)
        )
        return Effect(writes, Acknowledgement(job_control, tag) if tag else None, rule.read_back)
    number = command_id(rec.key)
    value: dict[str, OutputValue] = {
        "command_id": number,
        "key": rec.key,
        "window_end": rec.window_end.isoformat(),
        "valid_until": rec.valid_until.isoformat(),
        "confidence": rec.confidence,
        **rec.value,
    }
    writes = tuple(TagWrite(rec.equipment_id, name, fill(template, value)) for name, template in rule.set.items())
    echo = number if rule.acknowledge_by is AcknowledgeBy.COMMAND_ID else None
    return Effect(writes, Acknowledgement(rec.equipment_id, tag, echo) if tag else None, rule.read_back)


def fill(template: Scalar, value: Mapping[str, OutputValue]) -> Scalar:
    """``"{name}"`` alone is the output itself, with its data type; inside other text it is replaced by its words.

    Raises:
        PlanError: The recommendation has no such output, or it is empty.
    """
    if not isinstance(template, str):
        return template
    whole = _PLACE.fullmatch(template)
    if whole:
        return _output(whole.group(1), value)
    return _PLACE.sub(lambda m: str(_output(m.group(1), value)), template)


def _output(name: str, value: Mapping[str, OutputValue]) -> Scalar:
    found = value.get(name)
    if found is None or found == "" or isinstance(found, tuple):
        raise PlanError(f"output '{name}' is {found!r}; the rule writes it to a tag")
    return found


def _updates(name: str, value: Mapping[str, OutputValue]) -> list[JobOrderUpdate]:
    rows = value.get(name)
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise PlanError(f"output '{name}' is {rows!r}; expected job-order records")
    return [_update(row) for row in rows]


def _update(row: Mapping[str, Scalar]) -> JobOrderUpdate:
    order, priority, equipment = row.get("job_order_id"), row.get("priority"), row.get("equipment_id") or None
    if not isinstance(order, str) or not order:
        raise PlanError(f"record {dict(row)} has no job_order_id")
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= PRIORITY_MAX:
        raise PlanError(f"job order {order} has priority {priority!r}; bounds 0 to {PRIORITY_MAX}")
    if equipment is not None and not isinstance(equipment, str):
        raise PlanError(f"job order {order} has equipment_id {equipment!r}; expected text")
    return JobOrderUpdate(order, priority, equipment)
