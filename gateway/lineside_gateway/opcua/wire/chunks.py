"""The client's end of the socket: chunks into messages, publish responses straight to whoever decodes them.

asyncua builds several objects per chunk and copies each message a few times; here a chunk is one struct and a message
that fits one chunk is decoded where it was received. Everything but symmetric MSG chunks takes asyncua's own way.
Source: OPC UA Part 6, 6.7.2 (chunks, sequence numbers), 7.1.2 (message header).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias

from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import Cryptography, SecurityPolicy
from cryptography.exceptions import InvalidSignature

from lineside_gateway.opcua.standard import UaError
from lineside_gateway.opcua.wire.errors import WireError
from lineside_gateway.opcua.wire.extents import Bytes
from lineside_gateway.opcua.wire.sealing import CHUNK_HEADER, SEQUENCE_HEADER, Opener, Sealer

logger = logging.getLogger(__name__)

RECEIVED_BYTES = 1 << 18
"""Read from the socket at once; a chunk may be no longer."""
MAX_MESSAGE_BYTES = 64 << 20
"""Longest message; more is a server's mistake, or an attack."""
KEPT_BYTES = 1 << 20
"""A longer message's buffer is given back."""
WRAP = 1024
"""A peer's sequence number may start again below this (Part 6, 6.7.2.4)."""
SHORT_BYTES = 4096
"""A request up to here fits one chunk of any server: buffers hold 8192 bytes at least (Part 6, 7.1.2.3)."""
_MESSAGE, _OPEN_HEADER = b"MSG", 8
_FINAL, _INTERMEDIATE, _ABORT = b"F", b"C", b"A"

Answer: TypeAlias = Callable[[int, Bytes, int, int], None]
"""Takes request id, buffer, start and end of a message body, which is valid during the call only."""


class WireProtocol(UASocketProtocol, asyncio.BufferedProtocol):
    """asyncua's protocol with its own receiving end. One connection; used from one event loop."""

    def __init__(self, timeout: float, security_policy: SecurityPolicy, answer: Answer) -> None:
        super().__init__(timeout, security_policy)
        self.publishing: set[int] = set()
        """Request ids of PublishRequests whose responses go to ``answer``."""
        self._answer = answer
        self._received = bytearray(RECEIVED_BYTES)
        self._view = memoryview(self._received)
        self._filled = 0
        self._opener = Opener(RECEIVED_BYTES)
        self._sealer = Sealer()
        self._message = bytearray(RECEIVED_BYTES)
        self._length = 0
        self._message_request = 0
        self._parsing = False
        self._unsent: list[bytes] = []

    # ---- receiving

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        """Where the socket's bytes go."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take the chunks that are complete; a peer that breaks the protocol is disconnected."""
        self._filled += nbytes
        self._parsing = True
        at = 0
        try:
            at = self._chunks(self._filled)
        except (UaError, WireError, InvalidSignature) as e:
            logger.warning("protocol_broken cause=%s: %s", type(e).__name__, e)
            self._fail_all_pending(e if isinstance(e, UaError) else ConnectionError(str(e)))
            self.disconnect_socket()
            at = self._filled
        finally:
            self._parsing = False
        left = self._filled - at
        if at and left:
            self._received[:left] = self._received[at : self._filled]
        self._filled = left
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            if self.transport is not None:
                self.transport.write(b"".join(unsent))

    def _chunks(self, end: int) -> int:
        """Take all complete chunks; returns where the first incomplete one starts."""
        buf, at = self._received, 0
        while end - at >= _OPEN_HEADER:
            size = int.from_bytes(buf[at + 4 : at + 8], "little")
            if not _OPEN_HEADER <= size <= RECEIVED_BYTES:
                raise WireError(f"chunk of {size} bytes; {_OPEN_HEADER} to {RECEIVED_BYTES} are taken")
            if end - at < size:
                break
            if buf[at : at + 3] == _MESSAGE:
                self._chunk(buf, at, at + size)
            else:
                self._other(bytes(buf[at : at + size]))
            at += size
            if self.transport is None or self.transport.is_closing():
                return end
        return at

    def _other(self, chunk: bytes) -> None:
        """Acknowledge, Error, OpenSecureChannel: asyncua's way. It disconnects by itself."""
        self._process_received_data(chunk)

    def _chunk(self, buf: bytearray, at: int, end: int) -> None:
        if end - at < CHUNK_HEADER.size + SEQUENCE_HEADER.size:
            raise WireError(f"message chunk of {end - at} bytes")
        _, kind, _, channel, token = CHUNK_HEADER.unpack_from(buf, at)
        connection = self._connection
        if channel != connection.security_token.ChannelId:
            raise WireError(f"chunk of channel {channel}, expected {connection.security_token.ChannelId}")
        if token != connection.security_token.TokenId:
            header = ua.SymmetricAlgorithmHeader()
            header.TokenId = token
            connection._check_sym_header(header)  # noqa: SLF001  # may take the next token into use
        opened, start, upto = self._open(token, buf, at, end)
        if upto - start < SEQUENCE_HEADER.size:
            raise WireError("message chunk without a sequence header")
        number, request = SEQUENCE_HEADER.unpack_from(opened, start)
        self._count(number)
        self._assemble(kind, request, opened, start + SEQUENCE_HEADER.size, upto)

    def _open(self, token: int, buf: bytearray, at: int, end: int) -> tuple[Bytes, int, int]:
        crypto = self._connection.security_policy.symmetric_cryptography
        if not isinstance(crypto, Cryptography):
            return buf, at + CHUNK_HEADER.size, end
        # Sent before the server took the new token into use; its key is kept for a while (Part 4, 5.6.2).
        crypto.use_prev_key = token != self._connection.security_token.TokenId
        try:
            opens = self._opener.open_by_library if crypto.use_prev_key else self._opener.open
            return opens(crypto, buf, at, end)
        finally:
            crypto.use_prev_key = False

    def _count(self, number: int) -> None:
        """Check a sequence number against the one before (Part 6, 6.7.2.4)."""
        before = self._connection._peer_sequence_number  # noqa: SLF001  # shared with asyncua, which reads OPN chunks
        if before is not None and number != before + 1 and not (number < WRAP and before >= (1 << 32) - WRAP):
            raise WireError(f"chunk with sequence number {number} after {before}")
        self._connection._peer_sequence_number = number  # noqa: SLF001  # see above

    def _assemble(self, kind: bytes, request: int, buf: Bytes, at: int, end: int) -> None:
        if self._length and request != self._message_request:
            raise WireError(f"chunk of request {request} inside the answer to {self._message_request}")
        if kind == _FINAL:
            if not self._length:
                self._take(request, buf, at, end)
                return
            self._append(request, buf, at, end)
            length, self._length = self._length, 0
            self._take(request, self._message, 0, length)
            if len(self._message) > KEPT_BYTES:
                self._message = bytearray(RECEIVED_BYTES)
        elif kind == _INTERMEDIATE:
            self._append(request, buf, at, end)
        elif kind == _ABORT:
            # The message is not coming; the channel stays (Part 6, 6.7.3).
            self._length = 0
            self._abort(request)
        else:
            raise WireError(f"chunk of type {kind!r}")

    def _append(self, request: int, buf: Bytes, at: int, end: int) -> None:
        upto = self._length + end - at
        if upto > MAX_MESSAGE_BYTES:
            raise WireError(f"message of more than {MAX_MESSAGE_BYTES} bytes")
        if upto > len(self._message):
            self._message += bytes(max(upto, 2 * len(self._message)) - len(self._message))
        memoryview(self._message)[self._length : upto] = memoryview(buf)[at:end]
        self._length, self._message_request = upto, request

    def _take(self, request: int, buf: Bytes, at: int, end: int) -> None:
        if request in self.publishing:
            self.publishing.discard(request)
            self._answer(request, buf, at, end)
        elif request in self._callbackmap:
            self._call_callback(request, Buffer(bytes(memoryview(buf)[at:end])))
        else:
            logger.debug("answer_unasked request=%d", request)

    def _abort(self, request: int) -> None:
        if request in self.publishing:
            self.publishing.discard(request)
            self._answer(request, b"", 0, 0)
        elif (waiting := self._callbackmap.pop(request, None)) is not None and not waiting.done():
            waiting.set_exception(ConnectionError("the server gave up its answer"))

    # ---- sending

    def next_handle(self) -> int:
        """RequestHandle of the next request."""
        self._request_handle += 1
        return self._request_handle

    def send_publish(self, body: bytes) -> int:
        """Send a PublishRequest; its response goes to ``answer``. Returns the request id.

        Raises:
            ConnectionError: There is no connection.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionError("Connection is not open")
        self.revolve_security_token()
        self._request_id += 1
        message = self._closed(body)
        self.publishing.add(self._request_id)
        if self._parsing:
            self._unsent.append(message)
        else:
            self.transport.write(message)
        return self._request_id

    def _closed(self, body: bytes) -> bytes:
        """The chunk of a request, or its chunks where it is not short."""
        connection = self._connection
        crypto = connection.security_policy.symmetric_cryptography
        if len(body) > SHORT_BYTES:
            return bytes(connection.message_to_binary(body, request_id=self._request_id))
        number = connection._sequence_number + 1 & 0xFFFF_FFFF or 1  # noqa: SLF001  # shared with asyncua's requests
        sequence, token = SEQUENCE_HEADER.pack(number, self._request_id), connection.security_token
        if isinstance(crypto, Cryptography):
            sealed = self._sealer.seal(crypto, token.ChannelId, token.TokenId, sequence, body)
            if sealed is None:
                return bytes(connection.message_to_binary(body, request_id=self._request_id))
        else:
            size = CHUNK_HEADER.size + len(sequence) + len(body)
            sealed = CHUNK_HEADER.pack(_MESSAGE, _FINAL, size, token.ChannelId, token.TokenId) + sequence + body
        connection._sequence_number = number  # noqa: SLF001  # see above
        return sealed
