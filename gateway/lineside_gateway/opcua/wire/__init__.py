"""Publish responses from the wire's bytes to numpy columns, with no Python object per value.

All of asyncua's private names that Lineside relies on are used in this room, and ``library`` lists and checks them: on
an asyncua that it does not know, the plain path (asyncua's own session and decoder) serves instead.
"""

from lineside_gateway.opcua.wire.errors import WireError
from lineside_gateway.opcua.wire.fields import DataChanges
from lineside_gateway.opcua.wire.library import misfits, new_client
from lineside_gateway.opcua.wire.messages import Published
from lineside_gateway.opcua.wire.plain import fetch_missing, plain_published

__all__ = ["DataChanges", "Published", "WireError", "fetch_missing", "misfits", "new_client", "plain_published"]
