"""Answers of the workers, read from a Redis Stream with a consumer group: a gateway that restarts misses none."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from lineside_gateway.dispatch.connection import FIRST_WAIT_S, LONGEST_WAIT_S, LOSSES
from lineside_gateway.dispatch.line import Command, Line
from lineside_plugins import meeting
from lineside_plugins.wire import BatchResult, WireError, decode_result, verify

logger = logging.getLogger(__name__)

GROUP = "gateway"
_READ_COUNT = 64
_BLOCK_MS = 1000  # well below the line's IO_TIMEOUT_S


@dataclass(slots=True)
class ResultReader:
    """Hands each answer to ``handle`` once it is verified, and acknowledges it with the next write.

    ``handle`` gets the request's id and its result. What a former process of this gateway read but did not
    acknowledge comes first. ``on_reconnect`` runs when a lost broker is back and its answers have been read.
    ``counts``: read, malformed, losses.
    """

    line: Line
    gateway_id: str
    handle: Callable[[str, BatchResult], Awaitable[None]]
    on_reconnect: Callable[[], Awaitable[None]]
    hmac_key: bytes = b""
    counts: Counter[str] = field(default_factory=Counter)
    connected: bool = False
    _handled: list[bytes] = field(default_factory=list)

    async def run(self) -> None:
        """Read until cancelled; a lost broker is tried again with a growing wait."""
        wait, lost = FIRST_WAIT_S, False
        while True:
            try:
                await self._open()
                wait = FIRST_WAIT_S
                await self._read_again()
                if lost:
                    await self._read(">", block_ms=1)
                    await self.on_reconnect()
                    lost = False
                while True:
                    await self._read(">")
            except LOSSES as e:
                lost = lost or self.connected
                if self.connected:
                    logger.warning("broker lost gateway=%s error=%s", self.gateway_id, str(e) or "no answer")
                    self.counts["losses"] += 1
                self.connected = False
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)

    @property
    def _stream(self) -> str:
        return meeting.reply_stream(self.gateway_id)

    async def _open(self) -> None:
        try:
            await self.line.ask([("XGROUP", "CREATE", self._stream, GROUP, "0", "MKSTREAM")])
        except ResponseError as e:
            if "BUSYGROUP" not in str(e):
                raise
        self.connected = True

    async def _read_again(self) -> None:
        """All that this gateway has read before and not acknowledged."""
        while await self._read("0") and self._handled:
            pass

    def take_handled(self) -> list[bytes]:
        """Answers that have been handled, for whoever writes to the broker next; ``give_back`` what is not written."""
        handled, self._handled = self._handled, []
        return handled

    def give_back(self, handled: Sequence[bytes]) -> None:
        """Acknowledge ``handled`` with the next write."""
        self._handled += handled

    def acknowledging(self, handled: Sequence[bytes]) -> list[Command]:
        """What says that ``handled`` need not be read again, nor kept."""
        return [("XACK", self._stream, GROUP, *handled), ("XDEL", self._stream, *handled)] if handled else []

    async def _read(self, start: str, block_ms: int = _BLOCK_MS) -> bool:
        """One page, after the acknowledgement of what is still to be acknowledged; whether there was any."""
        read: Command = ("XREADGROUP", "GROUP", GROUP, self.gateway_id, "COUNT", _READ_COUNT, "BLOCK", block_ms,
                         "STREAMS", self._stream, start)  # fmt: skip
        handled = self.take_handled()
        try:
            replies = await self.line.ask([*self.acknowledging(handled), read])
        except LOSSES:
            self.give_back(handled)
            raise
        streams: Any = replies[-1]
        messages: list[tuple[bytes, list[bytes] | None]] = streams[0][1] if streams else []
        for number, fields in messages:
            if await self._deliver(fields):
                self._handled.append(number)
        await asyncio.sleep(0)  # who waited for these answers may write at once, and acknowledge them
        return bool(messages)

    async def _deliver(self, pairs: list[bytes] | None) -> bool:
        # nil for an entry that MAXLEN trimmed before it was acknowledged
        fields = {} if pairs is None else dict(zip(pairs[::2], pairs[1::2], strict=True))
        self.counts["read"] += 1
        request_id, body = fields.get(b"id", b"").decode(errors="replace"), fields.get(b"body", b"")
        try:
            if self.hmac_key:
                verify(self.hmac_key, {"id": request_id, "hmac": fields.get(b"hmac", b"").decode("latin-1")}, body)
            result = decode_result(body)
        except WireError as e:
            self.counts["malformed"] += 1
            logger.warning("answer dropped gateway=%s request=%s error=%s", self.gateway_id, request_id, e)
            return True
        try:
            await self.handle(request_id, result)
        except Exception:  # supervision point: the handler's error must not stop the other answers
            logger.exception("answer not handled gateway=%s request=%s", self.gateway_id, request_id)
            return False
        return True
