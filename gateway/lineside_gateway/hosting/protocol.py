"""One client connection: frames are checked before they are kept, one request is carried out at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import Buffer
from asyncua.server.binary_server_asyncio import BinaryServer
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import header_from_binary, uatcp_to_binary

from lineside_gateway.hosting.admission import Admission
from lineside_gateway.hosting.internals import HostedInternals
from lineside_gateway.hosting.limits import LARGEST_FRAME, Limits
from lineside_gateway.hosting.processor import HostedProcessor

logger = logging.getLogger(__name__)

_HEADER = 8
_KEPT_BYTES = 2 * LARGEST_FRAME
"""Bytes received and not yet processed at which reading pauses; the client's TCP window then fills up."""
_HELLO_BYTES = 32 + 4096  # OPC UA Part 6, 7.1.2.3: an endpoint URL has at most 4,096 bytes
_SHORTEST = {b"HEL": 32, b"OPN": 24, b"MSG": 24, b"CLO": 24}
_LARGEST = {b"HEL": _HELLO_BYTES, b"OPN": LARGEST_FRAME, b"MSG": LARGEST_FRAME, b"CLO": LARGEST_FRAME}


class FrameError(Exception):
    """What arrived is no frame of OPC UA TCP; the connection ends with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status


class HostedProtocol(asyncio.Protocol):
    """One accepted socket. Bytes wait in ``_kept`` until the frame before them is done with."""

    def __init__(
        self, iserver: HostedInternals, policies: list[object], transport_limits: TransportLimits, limits: Limits,
        admission: Admission,
    ) -> None:  # fmt: skip
        self.opened = time.monotonic()
        self.peer = ""
        self.transport: asyncio.Transport | None = None
        self._iserver = iserver
        self._policies = policies
        self._transport_limits = transport_limits
        self._limits = limits
        self._admission = admission
        self._processor: HostedProcessor | None = None
        self._kept = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._greeted = False
        self._task: asyncio.Task[None] | None = None

    # ---- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or drop it where its address or all together have too many."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - the server listens on TCP only
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if address else ""
        if not self._admission.admit(self):
            transport.abort()
            return
        self.transport = transport
        self._processor = HostedProcessor(self._iserver, transport, self._transport_limits, self._limits)
        self._processor.set_policies(self._policies)  # type: ignore[no-untyped-call]  # untyped in asyncua
        self._iserver.asyncio_transports.append(transport)
        self._task = asyncio.get_running_loop().create_task(self._serve(), name=f"client {self.peer}")
        self._admission.serving.add(self._task)
        self._task.add_done_callback(self._admission.serving.discard)

    def connection_lost(self, _cause: BaseException | None) -> None:
        """Forget the connection; its session goes with it unless it has subscriptions to be taken over."""
        self._admission.leave(self)
        if self.transport is None:
            return
        self._iserver.asyncio_transports.remove(self.transport)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Keep the bytes; a client that sends faster than it is served waits."""
        self._kept += data
        if len(self._kept) >= _KEPT_BYTES:
            self._pause()
        self._news.set()

    def pause_writing(self) -> None:
        """A client that does not read its answers is not heard either."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()

    @property
    def active(self) -> bool:
        """Whether the connection has a session that is activated."""
        return self._processor is not None and self._processor.active

    def cut(self, why: str) -> None:
        """End the connection at once."""
        logger.info("client_cut peer=%s cause=%s", self.peer, why)
        if self.transport is not None:
            self.transport.abort()

    # ---- serving

    async def _serve(self) -> None:
        """Carry out frame after frame; others get their turn in between."""
        assert self._processor is not None  # noqa: S101 - made together
        assert self.transport is not None  # noqa: S101
        try:
            while (frame := self._frame()) is not None or await self._more():
                if frame is None:
                    continue
                if not await self._processor.process(*frame):
                    break
                await self._writable.wait()
                await asyncio.sleep(0)
        except FrameError as e:
            self._refuse(e.status)
        except Exception as e:  # noqa: BLE001 - named supervision point: whatever a client sends ends its connection only
            logger.info("client_error peer=%s cause=%r", self.peer, e)
            self._refuse(getattr(e, "code", StatusCodes.BadTcpInternalError))
        finally:
            self.transport.close()
            await self._processor.close()

    async def _more(self) -> bool:
        self._news.clear()
        self._go_on()
        await self._news.wait()
        return True

    def _frame(self) -> tuple[ua.Header, Buffer] | None:
        """The next whole frame, taken out of what was kept; None where more has to come.

        Raises:
            FrameError: It cannot become a frame that this server takes.
        """
        kept = self._kept
        if len(kept) < _HEADER:
            if kept and not any(kind.startswith(kept[:3]) for kind in _LARGEST):
                raise FrameError(StatusCodes.BadTcpMessageTypeInvalid)
            return None
        kind, size = bytes(kept[:3]), int.from_bytes(kept[4:8], "little")
        if kind not in _LARGEST or kept[3] not in b"FCA" or (kind == b"HEL") == self._greeted:
            raise FrameError(StatusCodes.BadTcpMessageTypeInvalid)
        if not _SHORTEST[kind] <= size <= _LARGEST[kind]:
            raise FrameError(StatusCodes.BadTcpMessageTooLarge)
        if len(kept) < size:
            return None
        self._greeted = True
        buffer = Buffer(bytes(kept[:size]))
        del kept[:size]
        return header_from_binary(buffer), buffer

    def _refuse(self, status: int) -> None:
        if self.transport is not None and not self.transport.is_closing():
            error = ua.ErrorMessage(ua.StatusCode(ua.UInt32(status)), ua.String(""))
            kind: Any = ua.MessageType.Error  # bytes, whatever asyncua's annotation says
            self.transport.write(uatcp_to_binary(kind, error))

    def _pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _go_on(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


class HostedBinaryServer(BinaryServer):
    """asyncua's socket server with ``HostedProtocol`` behind each socket."""

    def __init__(
        self, internal_server: HostedInternals, hostname: str, port: int, transport_limits: TransportLimits,
        limits: Limits,
    ) -> None:  # fmt: skip
        super().__init__(internal_server, hostname, port, transport_limits)
        self._internals = internal_server
        self._admission = Admission(limits)
        self._hosted_limits = limits

    def _make_protocol(self) -> HostedProtocol:  # type: ignore[override]  # asyncio.Protocol is all that is used
        return HostedProtocol(self._internals, self._policies, self.limits, self._hosted_limits, self._admission)

    async def start(self) -> None:
        """Listen."""
        await super().start()
        self._admission.start()

    async def stop(self) -> None:
        """Close all connections and stop listening."""
        await self._admission.stop()
        await super().stop()
