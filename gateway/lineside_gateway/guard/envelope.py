"""The envelope of a writable tag: data type, range and step. Pure; whatever is not surely inside is outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from lineside_gateway.guard.refusal import Refusal, Refused
from lineside_gateway.settings.model import Limit
from lineside_plugins.types import Scalar

STRING_MAX = 256  # characters; longest text a PLC string is ever asked to take (IEC 61131-3 STRING defaults to 80-254)
INTEGERS = {
    "SByte": (-(2**7), 2**7 - 1),
    "Byte": (0, 2**8 - 1),
    "Int16": (-(2**15), 2**15 - 1),
    "UInt16": (0, 2**16 - 1),
    "Int32": (-(2**31), 2**31 - 1),
    "UInt32": (0, 2**32 - 1),
    "Int64": (-(2**63), 2**63 - 1),
    "UInt64": (0, 2**64 - 1),
}
REALS = frozenset({"Float", "Double"})


@dataclass(frozen=True, slots=True)
class Target:
    """A tag that may be written: its OPC UA built-in data type as read from the node, and its bounds."""

    equipment_id: str
    tag: str
    data_type: str
    low: float | None = None
    high: float | None = None
    step: float | None = None


def target(
    equipment_id: str,
    tag: str,
    data_type: str,
    eu_range: tuple[float, float] | None = None,
    limit: Limit | None = None,
) -> Target:
    """The target with the narrower of EURange and configured limit on each side."""
    lows = [b for b in (eu_range[0] if eu_range else None, limit.low if limit else None) if b is not None]
    highs = [b for b in (eu_range[1] if eu_range else None, limit.high if limit else None) if b is not None]
    return Target(
        equipment_id,
        tag,
        data_type,
        low=max(lows, default=None),
        high=min(highs, default=None),
        step=limit.step if limit else None,
    )


def check(to: Target, value: Scalar, current: Scalar) -> Refused | None:
    """None where ``value`` may be written to ``to``; ``current`` is what the node holds, None where not known."""
    if to.data_type == "String":
        return _text(to, value)
    if to.data_type in {"Boolean", "DateTime"}:
        fits = isinstance(value, bool) if to.data_type == "Boolean" else instant(value) is not None
        return None if fits else _wrong_type(to, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _wrong_type(to, value)
    if to.data_type in INTEGERS:
        low, high = INTEGERS[to.data_type]
        if not isinstance(value, int) or not low <= value <= high:
            return _wrong_type(to, value)
    elif to.data_type not in REALS or not math.isfinite(value):
        return _wrong_type(to, value)
    return _range(to, value) or _step(to, value, current)


def instant(value: Scalar) -> datetime | None:
    """The time that ISO 8601 text with a zone names, None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _text(to: Target, value: Scalar) -> Refused | None:
    if not isinstance(value, str):
        return _wrong_type(to, value)
    if len(value) > STRING_MAX or not value.isprintable():
        return Refused(Refusal.RANGE, f"{to.tag} would be {len(value)} characters; at most {STRING_MAX}, printable")
    return None


def _range(to: Target, value: float) -> Refused | None:
    if to.low is None or to.high is None:
        return Refused(
            Refusal.RANGE, f"{to.tag} has no bounds; the node needs an EURange or the rule limits with low and high"
        )
    if not to.low <= value <= to.high:  # a bound that is not a number lets nothing through
        return Refused(Refusal.RANGE, f"{to.tag} would be {value}; bounds {to.low} to {to.high}")
    return None


def _step(to: Target, value: float, current: Scalar) -> Refused | None:
    if to.step is None:
        return None
    if isinstance(current, bool) or not isinstance(current, int | float):
        return Refused(Refusal.STEP, f"{to.tag} would be {value}; its present value is not known to bound the step")
    if not abs(value - current) <= to.step:
        return Refused(Refusal.STEP, f"{to.tag} would go from {current} to {value}; largest step {to.step}")
    return None


def _wrong_type(to: Target, value: Scalar) -> Refused:
    return Refused(Refusal.DATA_TYPE, f"{to.tag} would be {value!r}; the node's data type is {to.data_type}")
