"""PublishRequests as bytes: all but the time, the handle and the acknowledgements is the same in each."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

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


class PublishRequests:
    """Writes the PublishRequests of one session."""

    def __init__(self) -> None:
        self._token: ua.NodeId | None = None
        self._head = b""

    def encode(self, token: ua.NodeId, handle: int, acknowledgements: Sequence[tuple[int, int]]) -> bytes:
        """A PublishRequest that acknowledges (subscription id, sequence number) pairs (OPC UA Part 4, 5.14.5)."""
        if token is not self._token:  # it stays the same object for a session
            self._token, self._head = token, _TYPE + nodeid_to_binary(token)
        ticks = time.time_ns() // 100 + EPOCH_US * 10
        body = self._head + _STAMP_AND_HANDLE.pack(ticks, handle) + _REST + _COUNT.pack(len(acknowledgements))
        for pair in acknowledgements:
            body += _ACKNOWLEDGEMENT.pack(*pair)
        return body
