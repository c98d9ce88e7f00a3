"""Writes that fit the node: its data type, no timestamp of ours, permanent and passing refusals told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua

from lineside_gateway.errors import WriteError
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import TagNode
from lineside_gateway.opcua.standard import StatusCodes
from lineside_gateway.opcua.values import scalar
from lineside_plugins.types import Scalar

_INTEGERS = {
    ua.VariantType.SByte: (-(2**7), 2**7 - 1),
    ua.VariantType.Byte: (0, 2**8 - 1),
    ua.VariantType.Int16: (-(2**15), 2**15 - 1),
    ua.VariantType.UInt16: (0, 2**16 - 1),
    ua.VariantType.Int32: (-(2**31), 2**31 - 1),
    ua.VariantType.UInt32: (0, 2**32 - 1),
    ua.VariantType.Int64: (-(2**63), 2**63 - 1),
    ua.VariantType.UInt64: (0, 2**64 - 1),
}
_FLOATS = {ua.VariantType.Float, ua.VariantType.Double}
_FLOAT_MAX = 3.4028234663852886e38
PASSING = {
    StatusCodes.BadTimeout,
    StatusCodes.BadRequestTimeout,
    StatusCodes.BadCommunicationError,
    StatusCodes.BadNoCommunication,
    StatusCodes.BadDeviceFailure,
    StatusCodes.BadResourceUnavailable,
    StatusCodes.BadInvalidState,
    StatusCodes.BadTooManyOperations,
    StatusCodes.BadServerNotConnected,
    StatusCodes.BadServerHalted,
    StatusCodes.BadShutdown,
    StatusCodes.BadOutOfService,
    StatusCodes.BadNotConnected,
    StatusCodes.BadWaitingForInitialData,
    StatusCodes.BadOutOfMemory,
    StatusCodes.BadTcpServerTooBusy,
    StatusCodes.BadInternalError,
    StatusCodes.BadUnexpectedError,
}
"""StatusCodes after which the same write may succeed; every other Bad code is permanent."""


@dataclass(frozen=True, slots=True)
class Written:
    """An accepted write. ``read_back`` is what the node held right after; a flag may have fallen back already."""

    tag: TagNode
    value: Scalar
    status: str
    """Name of the StatusCode; ``GoodClamped`` means that the plant took another value."""
    read_back: Scalar
    confirmed: bool
    """True where the value read back equals the value written (within the precision of its type)."""


def variant(tag: TagNode, value: Scalar) -> ua.Variant:
    """``value`` in the data type of the node.

    Raises:
        WriteError: Permanent: no such conversion without loss, or out of the type's range.
    """
    kind = tag.data_type
    if tag.is_array or kind is None:
        raise _refuse(tag, value, f"the node is {'an array' if tag.is_array else 'of unknown type'}; writes are scalar")
    if kind is ua.VariantType.Boolean and isinstance(value, bool):
        return ua.Variant(value, kind)
    if kind in _INTEGERS and isinstance(value, int | float) and not isinstance(value, bool):
        low, high = _INTEGERS[kind]
        if not math.isfinite(value) or value != int(value) or not low <= value <= high:
            raise _refuse(tag, value, f"{kind.name} holds whole numbers {low} to {high}")
        return ua.Variant(int(value), kind)
    if kind in _FLOATS and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or (kind is ua.VariantType.Float and abs(value) > _FLOAT_MAX):
            raise _refuse(tag, value, f"{kind.name} takes finite numbers within its range")
        return ua.Variant(float(value), kind)
    if kind is ua.VariantType.String and isinstance(value, str):
        return ua.Variant(value, kind)
    if kind is ua.VariantType.LocalizedText and isinstance(value, str):
        return ua.Variant(ua.LocalizedText(value), kind)
    if kind is ua.VariantType.DateTime and isinstance(value, str):
        return ua.Variant(_date_time(tag, value), kind)
    raise _refuse(tag, value, f"the node is {kind.name} and the value is {type(value).__name__}")


async def write(connection: Connection, tag: TagNode, value: Scalar, *, read_back: bool = True) -> Written:
    """Write one value and read it back. No timestamp is sent: many PLCs answer BadWriteNotSupported to one.

    Raises:
        WriteError: Refused; ``permanent`` tells whether the same write can succeed later.
        OSError, TimeoutError, UaError: The connection failed; whether the write took effect is not known.
    """
    if not tag.writable:
        raise _refuse(tag, value, "its AccessLevel has no CurrentWrite for this user; give the user the right")
    item = ua.WriteValue()
    item.NodeId = tag.node_id
    item.AttributeId = ua.UInt32(13)  # Value
    item.Value = ua.DataValue(variant(tag, value), None)
    params = ua.WriteParameters()
    params.NodesToWrite = [item]
    status = (await connection.client.uaclient.write(params))[0]
    if status.is_bad():
        raise WriteError(
            f"server '{connection.server.name}' refuses {value!r} for {tag.address}: {status.name}: {status.doc}",
            permanent=status.value not in PASSING,
            status=status.name,
        )
    if not read_back:
        return Written(tag, value, status.name, None, confirmed=False)
    dv = (await connection.read([tag.node_id]))[0]
    back = scalar(dv.Value.Value) if dv.Value is not None else None
    return Written(tag, value, status.name, back, confirmed=_same(back, value))


def _same(back: Scalar, value: Scalar) -> bool:
    if isinstance(back, float) and isinstance(value, int | float):
        return math.isclose(back, value, rel_tol=1e-6, abs_tol=1e-12)
    return back == value


def _date_time(tag: TagNode, value: str) -> datetime:
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError as e:
        raise _refuse(tag, value, "the node is DateTime; give ISO 8601 such as 2026-01-05T06:00:00+00:00") from e
    return stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC)


def _refuse(tag: TagNode, value: Scalar, cause: str) -> WriteError:
    return WriteError(
        f"{value!r} is not written to {tag.address} ({tag.equipment_id}.{tag.tag}): {cause}", permanent=True
    )
