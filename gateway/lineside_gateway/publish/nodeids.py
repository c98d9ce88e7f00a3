"""NodeIds and StatusCodes in the types asyncua declares for them."""

from __future__ import annotations

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

__all__ = ["AttributeIds", "ObjectIds", "StatusCodes", "own", "standard", "status_code"]


def standard(identifier: int) -> ua.NodeId:
    """A node of the OPC UA base namespace, by its constant in ``ObjectIds``."""
    return ua.NodeId(ua.Int32(identifier), ua.Int16(0))


def own(identifier: str, namespace: int) -> ua.NodeId:
    """The string NodeId ``ns=namespace;s=identifier``."""
    return ua.NodeId(ua.String(identifier), ua.Int16(namespace))


def status_code(code: int) -> ua.StatusCode:
    """The StatusCode of a constant in ``StatusCodes``."""
    return ua.StatusCode(ua.UInt32(code))
