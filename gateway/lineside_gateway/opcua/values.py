"""DataValues as numbers, times and plain values."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import numpy as np
from asyncua import ua

from lineside_gateway.opcua.delivery import BAD
from lineside_gateway.opcua.standard import StatusCodes
from lineside_plugins.types import Scalar, SnapshotValue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
"""Older timestamps are a device's unset clock (OPC UA's zero is 1601)."""
_NO_TIME = datetime(1601, 1, 1, tzinfo=UTC)
NAN = float("nan")


def event_time_us(dv: ua.DataValue) -> int:
    """SourceTimestamp, else ServerTimestamp, else the wall clock, in microseconds since 1970 UTC."""
    for stamp in (dv.SourceTimestamp, dv.ServerTimestamp):
        if stamp is not None and stamp >= _EARLIEST:
            return microseconds(stamp)
    return time.time_ns() // 1000


def reached_us(dv: ua.DataValue) -> int:
    """How far event time has come by this value: its SourceTimestamp; 0 where it has none.

    Where the source's clock is unset the ServerTimestamp counts.
    """
    if dv.SourceTimestamp is None or dv.SourceTimestamp <= _NO_TIME:
        return 0
    return next((microseconds(s) for s in (dv.SourceTimestamp, dv.ServerTimestamp) if s and s >= _EARLIEST), 0)


def served_time_us(dv: ua.DataValue) -> int:
    """ServerTimestamp in microseconds since 1970 UTC, the wall clock where it is missing."""
    stamp = dv.ServerTimestamp
    return microseconds(stamp) if stamp is not None and stamp >= _EARLIEST else time.time_ns() // 1000


def microseconds(stamp: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exact."""
    d = stamp - _EPOCH
    return (d.days * 86_400 + d.seconds) * 1_000_000 + d.microseconds


def moment(time_us: int) -> datetime:
    """Aware UTC datetime of microseconds since 1970, exact."""
    return _EPOCH + timedelta(microseconds=time_us)


def iso(time_us: int) -> str:
    """ISO 8601 of microseconds since 1970 UTC."""
    return str(np.datetime64(time_us, "us")) + "+00:00"


def status_of(dv: ua.DataValue) -> int:
    """The StatusCode's 32 bits; Good where the server leaves it out."""
    return 0 if dv.StatusCode is None else int(dv.StatusCode.value)


def number(dv: ua.DataValue) -> tuple[float, int]:
    """Value and StatusCode of a numeric sample; NaN without a value, NaN and BadTypeMismatch where it is no number."""
    status = status_of(dv)
    value = None if dv.Value is None else dv.Value.Value
    if isinstance(value, int | float):
        return float(value), status
    return NAN, status if value is None else int(StatusCodes.BadTypeMismatch)


def is_good(status: int) -> bool:
    """True for severity Good; Uncertain and Bad are not."""
    return status < BAD and not status & 0x4000_0000


def snapshot(value: object) -> SnapshotValue:
    """A value of any other type as the contract holds it; structures and unknown types give None."""
    if isinstance(value, list | tuple):
        try:
            return np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError):
            return None
    return value if isinstance(value, bytes) else scalar(value)


def scalar(value: object) -> Scalar:
    """A scalar of OPC UA as a plain one: text of a LocalizedText, name of a QualifiedName, ISO 8601 of a DateTime."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return iso(microseconds(value)) if value.tzinfo is not None else value.isoformat() + "+00:00"
    if isinstance(value, ua.LocalizedText):
        return str(value.Text or "")
    return str(value.Name) if isinstance(value, ua.QualifiedName) else None
