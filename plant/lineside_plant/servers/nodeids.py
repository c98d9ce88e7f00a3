"""NodeIds in the types asyncua asks for, and the standard ones by name."""

from __future__ import annotations

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

__all__ = ["ObjectIds", "numeric", "standard", "text"]


def numeric(identifier: int, index: int = 0) -> ua.NodeId:
    """The numeric NodeId ``ns=index;i=identifier``."""
    return ua.NodeId(ua.Int32(identifier), ua.Int16(index))


def standard(identifier: int) -> ua.NodeId:
    """A node of the OPC UA base namespace, by its constant in ``ObjectIds``."""
    return numeric(identifier)


def text(identifier: str, index: int) -> ua.NodeId:
    """The string NodeId ``ns=index;s=identifier``."""
    return ua.NodeId(ua.String(identifier), ua.Int16(index))
