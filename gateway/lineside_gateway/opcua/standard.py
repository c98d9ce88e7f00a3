"""Standard NodeIds and asyncua's names, in the types its annotations ask for."""

from __future__ import annotations

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

__all__ = ["AttributeIds", "Client", "ObjectIds", "StatusCodes", "UaError", "UaStatusCodeError", "standard"]


def standard(identifier: int) -> ua.NodeId:
    """The NodeId ``i=<identifier>`` of the OPC UA base namespace."""
    return ua.NodeId(ua.Int32(identifier), ua.Int16(0))
