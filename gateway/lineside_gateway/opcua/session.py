"""The one owner of a server's connection: connects, notices loss, waits, takes the session up again, closes on exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from lineside_gateway.errors import ConnectError, CredentialsError, LinesideError, TrustError
from lineside_gateway.opcua.addresses import Namespaces
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.opening import FULL_SERVICE, Held, Opening
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.standard import StatusCodes, UaError, UaStatusCodeError
from lineside_gateway.settings import ServerSettings

logger = logging.getLogger(__name__)

STEADY_S = 10.0
"""A connection that lived this long starts the next backoff anew."""
REFUSED_WAITS = 6.0
"""How much longer than the longest wait a refused user or certificate waits: too many attempts lock a user out."""
JITTER = 0.2
"""Share by which a wait varies, so that gateways do not return in step."""
SETTLE_S = 60.0
"""A connection to one of several endpoints is left for its ServiceLevel after this long at the earliest."""

_BUSY = {
    StatusCodes.BadTcpServerTooBusy,
    StatusCodes.BadTooManyOperations,
    StatusCodes.BadServerHalted,
    StatusCodes.BadShutdown,
    StatusCodes.BadTimeout,
    StatusCodes.BadOutOfMemory,
    StatusCodes.BadResourceUnavailable,
}
"""Refusals that say nothing about the session: it is tried again."""


class LinkState(StrEnum):
    """Where a server's connection stands."""

    WAITING = "waiting"
    """Never reached yet; the others run on."""
    CONNECTED = "connected"
    LOST = "lost"
    REFUSED = "refused"
    """Certificate or user refused; tried again slowly, since an operator has to act."""
    CLOSED = "closed"


def quiet_library() -> None:
    """Keep asyncua's client logs out of ours: the session reports each change of state once, in one sentence.

    At INFO the library logs every publish in full, and it logs a traceback for each loss.
    """
    for name in ("asyncua.client", "asyncua.common", "asyncua.crypto", "asyncua.uaprotocol"):
        library = logging.getLogger(name)
        if library.level == logging.NOTSET:
            library.setLevel(logging.CRITICAL)


class Session:
    """Keeps one server connected and hands each connection to ``serve``.

    After a loss the session is taken up on a new channel and ``serve`` is given the same ``Connection`` again; where
    the server has dropped it, ``serve`` gets a new one. ``state``, ``error`` (what stands in the way, None when
    connected), ``connects``, ``resumes`` and ``namespaces`` (of the latest connection) may be read at any time.
    """

    def __init__(
        self, server: ServerSettings, pki: Pki, jitter: random.Random | None = None, kept: Path | None = None
    ) -> None:
        """``kept`` is where the session is noted while it stands, so that it can be closed after a crash."""
        self.server = server
        self.state = LinkState.WAITING
        self.error: ConnectError | None = None
        self.connects = self.resumes = 0
        self.namespaces = Namespaces(())
        self._opening = Opening(server, pki, kept)
        self._random = jitter or random.Random()
        self._held: Held | None = None
        quiet_library()

    async def run(
        self, serve: Callable[[Connection], Awaitable[None]], lost: Callable[[str], None] = lambda _cause: None
    ) -> None:
        """Connect and serve until cancelled. ``serve`` is cancelled when its connection is lost, ``lost`` says why.

        A server that cannot be reached is waited for, with doubling, jittered waits. The session is closed on exit.
        """
        attempt = 0
        self._opening.begin()
        try:
            while True:
                served_at: float | None = None
                try:
                    held = await self._reach()
                    served_at = time.monotonic()
                    await self._serve(held, serve)
                except ConnectError as e:
                    self._note(e)
                except LinesideError as e:
                    self._note(ConnectError(e.sentence, e.detail))
                except (OSError, TimeoutError, UaError) as e:
                    self._note(self._opening.explain(e))
                except Exception as e:  # the session loop is a supervision point: the others run on
                    crash = ConnectError(f"server '{self.server.name}': {type(e).__name__}: {e}; see the log")
                    if self.error is None or self.error.sentence != crash.sentence:
                        logger.exception("session_crashed server=%s", self.server.name)
                    self._note(crash)
                if served_at is not None and self.error is not None:
                    lost(self.error.sentence)
                    attempt = 0 if time.monotonic() - served_at > STEADY_S else attempt
                await asyncio.sleep(self.wait_s(attempt))
                attempt += 1
        finally:
            if self._held is not None:
                await self._held.transport.close()
            self.state = LinkState.CLOSED

    def wait_s(self, attempt: int) -> float:
        """Wait after failed attempt ``attempt``, from 0: doubling within the settings' bounds, jittered."""
        low, high = self.server.reconnect_min_s, self.server.reconnect_max_s
        refused = self.state is LinkState.REFUSED
        wait = REFUSED_WAITS * high if refused else min(low * 2.0 ** min(attempt, 30), high)
        return wait * self._random.uniform(1 - JITTER, 1 + JITTER)

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """One new connection, closed on exit; namespaces and OperationLimits are read.

        Raises:
            ConnectError: Not reachable, not trusted, refused; the sentence has the next step.
        """
        held = await self._opening.open(self.server.url)
        watching = asyncio.ensure_future(held.transport.watch())  # keeps the channel's token fresh
        try:
            self._connected(held)
            try:
                yield held.connection
            except (OSError, TimeoutError, UaError) as e:
                raise self._opening.explain(e) from e
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectError):
                await watching
            await held.transport.close()

    # ---- connecting

    async def _reach(self) -> Held:
        """The former session on a new channel where it may be taken up again, else a new one."""
        await self._opening.close_former()
        if self._held is not None:
            if await self._take_up(self._held):
                self.resumes += 1
                self._connected(self._held)
                return self._held
            self._held = None
        self._held = await self._opening.open_best()
        self._connected(self._held)
        return self._held

    def _connected(self, held: Held) -> None:
        self.connects += not held.connection.vitals.ready
        self.state, self.error, self.namespaces = LinkState.CONNECTED, None, held.connection.namespaces
        logger.info(
            "server_connected server=%s url=%s connects=%d resumes=%d",
            self.server.name, held.url, self.connects, self.resumes,
        )  # fmt: skip

    async def _take_up(self, held: Held) -> bool:
        """Activate the session on a new channel; close it there where it is of no more use.

        Raises:
            ConnectError: The server cannot be reached, so that nothing is known of the session.
        """
        if not held.transport.holds_session:
            return False
        try:
            async with asyncio.timeout(3 * self.server.request_timeout_s):
                await held.transport.resume()
        except UaStatusCodeError as e:
            if e.code in _BUSY:
                held.transport.drop()
                raise self._opening.explain(e) from e
            logger.info("session_gone server=%s cause=%s", self.server.name, e)
            await held.transport.abandon()
            return False
        except (OSError, TimeoutError, UaError, ValueError) as e:
            if self.server.alternates:  # another endpoint serves; the session here will time out
                await held.transport.abandon()
                return False
            held.transport.drop()
            raise self._opening.explain(e) from e
        if held.connection.vitals.ready:
            return True
        await held.transport.close()
        return False

    # ---- serving

    async def _serve(self, held: Held, serve: Callable[[Connection], Awaitable[None]]) -> None:
        """Run ``serve`` until it ends or the connection is lost.

        Raises:
            ConnectError: The connection was lost, or another endpoint serves better.
        """
        serving = asyncio.ensure_future(serve(held.connection))
        watching = asyncio.ensure_future(self._watch(held))
        lost = False
        try:
            tasks: set[asyncio.Future[Any]] = {serving, watching}
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            name, lost = self.server.name, True
            if watching.done():
                error = watching.exception()
                assert error is not None  # noqa: S101  # it ends by an error only
                if not isinstance(error, ConnectError):
                    raise error
                raise ConnectError(f"server '{name}' is lost: {error.sentence}; connecting again", error.detail)
            held.connection.vitals.ready = False  # the stream has ended on a line that works: begin anew
            serving.result()
            raise ConnectError(f"server '{name}' is lost: no more is asked of it; connecting again")
        finally:
            for task in (serving, watching):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, LinesideError, OSError, TimeoutError, UaError):
                    await task
            if lost and held.connection.vitals.ready:
                held.transport.drop()
            else:
                await held.transport.close()

    async def _watch(self, held: Held) -> None:
        several = bool(self.server.alternates)
        watching = asyncio.ensure_future(held.transport.watch(always=several))
        try:
            while several and not watching.done():
                await asyncio.wait({watching}, timeout=1.0)
                level, since = held.transport.vitals.service_level, time.monotonic() - held.since
                if level < min(held.level, FULL_SERVICE) and since > SETTLE_S:
                    held.connection.vitals.ready = False
                    raise ConnectError(f"its ServiceLevel fell from {held.level} to {level}")
            await watching
        finally:
            watching.cancel()

    def _note(self, error: ConnectError) -> None:
        """Keep what stands in the way; log it when it changes, not at each attempt."""
        refused = isinstance(error, TrustError | CredentialsError)
        state = LinkState.REFUSED if refused else LinkState.LOST if self.connects else LinkState.WAITING
        if self.error is None or (self.state, self.error.sentence) != (state, error.sentence):
            logger.warning("server_%s server=%s cause=%s", state, self.server.name, error.sentence)
        self.state, self.error = state, error
