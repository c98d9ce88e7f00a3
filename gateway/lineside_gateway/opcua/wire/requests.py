"""PublishRequests as bytes: all but the time, the handle and the acknowledgements is the same in each."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from functools import lru_cache

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary

from lineside_gateway.opcua.standard import ObjectIds
from lineside_gateway.opcua.wire.stamps import EPOCH_US

_TYPE = struct.pack("<BBH", 1, 0, ObjectIds.PublishRequest_Encoding_DefaultBinary)
_STAMP_AND_HANDLE = struct.Struct("<qI")
_REST = struct.pack("<IiI3s", 0, -1, 0, bytes(3))
"""No diagnostics, no AuditEntryId, no TimeoutHint, no AdditionalHeader."""
_COUNT = struct.Struct("<i")
_ACKNOWLEDGEMENT = struct.Struct("<II")


_token = lru_cache(nodeid_to_binary)
"""The bytes of an AuthenticationToken, which stays the same for a session."""


def publish_request(token: ua.NodeId, handle: int, acknowledgements: Sequence[tuple[int, int]]) -> bytes:
    """A PublishRequest that acknowledges (subscription id, sequence number) pairs (OPC UA Part 4, 5.14.5)."""
    ticks = time.time_ns() // 100 + EPOCH_US * 10
    head = _TYPE + _token(token) + _STAMP_AND_HANDLE.pack(ticks, handle) + _REST
    pairs = b"".join(_ACKNOWLEDGEMENT.pack(*pair) for pair in acknowledgements)
    return head + _COUNT.pack(len(acknowledgements)) + pairs
