"""Names and NodeIds of hosted nodes. They are an interface: HMIs and PLC programs are configured with them."""

from __future__ import annotations

from collections.abc import Iterable

NAMESPACE_URI = "urn:lineside:ua"
ROOT = "Lineside"
FLAT = "Flat"
GATEWAY = "Gateway"


def browse_name(field: str) -> str:
    """``failure_probability`` as ``FailureProbability``."""
    return "".join(part[:1].upper() + part[1:] for part in field.split("_"))


def display_name(field: str) -> str:
    """``failure_probability`` as ``Failure probability``."""
    words = field.replace("_", " ")
    return words[:1].upper() + words[1:]


def structured_id(*path: str) -> str:
    """Identifier of a structured node: the browse path below ``Lineside``, ``A1/maintenance/Flag``."""
    return "/".join(path)


def flat_id(equipment_id: str, task: str, field: str) -> str:
    """Identifier of a flat twin, ``A1.maintenance.flag``."""
    return f"{equipment_id}.{task}.{field}"


def unique_field(field: str, taken: Iterable[str]) -> str:
    """``field``, or ``output_<field>`` where a task's output bears the name of a common Variable."""
    return f"output_{field}" if field in set(taken) else field
