"""The one owner of a server's connection: connects, notices loss, waits, takes the session up again, closes on exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from asyncua import ua

from lineside_gateway.errors import ConnectError, CredentialsError, LinesideError, TrustError
from lineside_gateway.opcua.addresses import Namespaces
from lineside_gateway.opcua.connection import Connection, read_limits
from lineside_gateway.opcua.security import Pki, secure
from lineside_gateway.opcua.session_file import SessionFile
from lineside_gateway.opcua.standard import Client, StatusCodes, UaError, UaStatusCodeError
from lineside_gateway.opcua.transport import PROBE_S, Transport
from lineside_gateway.opcua.wire import new_client
from lineside_gateway.settings import ServerSettings

logger = logging.getLogger(__name__)

STEADY_S = 10.0
"""A connection that lived this long starts the next backoff anew."""
REFUSED_WAITS = 6.0
"""How much longer than the longest wait a refused user or certificate waits: too many attempts lock a user out."""
JITTER = 0.2
"""Share by which a wait varies, so that gateways do not return in step."""
MAX_CREATES, CREATES_WITHIN_S = 8, 60.0
"""CreateSession requests to one server, whatever happens; thousands a minute have locked plants out of their PLCs."""
FULL_SERVICE = 200
"""A ServiceLevel from here up is healthy, below it degraded (OPC UA Part 4, 6.6.2.4.2)."""
SETTLE_S = 60.0
"""A connection to one of several endpoints is left for its ServiceLevel after this long at the earliest."""

_REFUSED_USER = (
    ua.uaerrors.BadUserAccessDenied,
    ua.uaerrors.BadIdentityTokenInvalid,
    ua.uaerrors.BadIdentityTokenRejected,
    ua.uaerrors.BadUserSignatureInvalid,
)
_REFUSED_SECURITY = (
    ua.uaerrors.BadCertificateInvalid,
    ua.uaerrors.BadCertificateUntrusted,
    ua.uaerrors.BadCertificateUriInvalid,
    ua.uaerrors.BadSecurityChecksFailed,
    ua.uaerrors.BadSecurityPolicyRejected,
    ua.uaerrors.BadSecurityModeRejected,
)
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


@dataclass(slots=True)
class _Held:
    """One session on the server, connected or to be taken up again."""

    url: str
    transport: Transport
    connection: Connection
    level: int
    """ServiceLevel when it was opened."""
    since: float = 0.0

    def __post_init__(self) -> None:
        self.since = time.monotonic()


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
        self._pki = pki
        self._random = jitter or random.Random()
        self._file = SessionFile(kept)
        self._held: _Held | None = None
        self._former_closed = False
        self._creates: deque[float] = deque(maxlen=MAX_CREATES)
        self._caps: dict[str, int] = {}
        quiet_library()

    async def run(
        self, serve: Callable[[Connection], Awaitable[None]], lost: Callable[[str], None] = lambda _cause: None
    ) -> None:
        """Connect and serve until cancelled. ``serve`` is cancelled when its connection is lost, ``lost`` says why.

        A server that cannot be reached is waited for, with doubling, jittered waits. The session is closed on exit.
        """
        attempt, self._former_closed = 0, False
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
                    self._note(self._explain(e))
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
        held = await self._open(self.server.url)
        watching = asyncio.ensure_future(held.transport.watch())  # keeps the channel's token fresh
        try:
            self._connected(held)
            try:
                yield held.connection
            except (OSError, TimeoutError, UaError) as e:
                raise self._explain(e) from e
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectError):
                await watching
            await held.transport.close()

    # ---- connecting

    async def _reach(self) -> _Held:
        """The former session on a new channel where it may be taken up again, else a new one."""
        if not self._former_closed:
            await self._close_former()
        if self._held is not None:
            if await self._take_up(self._held):
                self.resumes += 1
                self._connected(self._held)
                return self._held
            self._held = None
        self._held = await self._open_best()
        self._connected(self._held)
        return self._held

    def _connected(self, held: _Held) -> None:
        self.connects += not held.connection.vitals.ready
        self.state, self.error, self.namespaces = LinkState.CONNECTED, None, held.connection.namespaces
        logger.info(
            "server_connected server=%s url=%s connects=%d resumes=%d",
            self.server.name, held.url, self.connects, self.resumes,
        )  # fmt: skip

    async def _take_up(self, held: _Held) -> bool:
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
                raise self._explain(e) from e
            logger.info("session_gone server=%s cause=%s", self.server.name, e)
            await held.transport.abandon()
            return False
        except (OSError, TimeoutError, UaError, ValueError) as e:
            if self.server.alternates:  # another endpoint serves; the session here will time out
                await held.transport.abandon()
                return False
            held.transport.drop()
            raise self._explain(e) from e
        if held.connection.vitals.ready:
            return True
        await held.transport.close()
        return False

    async def _close_former(self) -> None:
        """Close the session that a killed gateway of this name has left on the server."""
        client = self._client(self.server.url)
        if self._file.load(client):
            try:
                async with asyncio.timeout(3 * self.server.request_timeout_s):
                    former = Transport(client, self._file)
                    former.login = await secure(client, self.server, self._pki)
                    await former.resume()
                    await former.close()
                logger.info("former_session_closed server=%s", self.server.name)
            except UaStatusCodeError as e:
                logger.info("former_session_gone server=%s cause=%s", self.server.name, e)
            except (OSError, TimeoutError, UaError, ValueError) as e:
                raise self._explain(e) from e
            finally:
                client.disconnect_socket()
            self._file.clear()
        self._former_closed = True

    async def _open_best(self) -> _Held:
        """A connection to the endpoint with the highest ServiceLevel; the first that is healthy will do."""
        best: _Held | None = None
        error: ConnectError | None = None
        for url in (self.server.url, *self.server.alternates):
            try:
                held = await self._open(url)
            except ConnectError as e:
                error = error or e
                continue
            if best is None or held.level > best.level:
                best, held = held, best
            if held is not None:
                await held.transport.close()
            if not self.server.alternates or best.level >= FULL_SERVICE:
                break
        if best is None:
            assert error is not None  # noqa: S101  # there is at least one URL
            raise error
        return best

    def _client(self, url: str) -> Client:
        client = new_client(url, self.server.request_timeout_s, PROBE_S)
        client.session_timeout = int(self.server.session_timeout_s * 1000)
        return client

    async def _open(self, url: str) -> _Held:
        await self._keep_rate()
        client = self._client(url)
        transport = Transport(client, self._file)
        try:
            async with asyncio.timeout(3 * self.server.request_timeout_s):
                transport.login = await secure(client, self.server, self._pki)
                await transport.open()
                uris, limits = await asyncio.gather(
                    client.get_namespace_array(), read_limits(client, self.server, self._caps)
                )
                await transport.probe()
        except (OSError, TimeoutError, UaError, ValueError, ConnectError) as e:
            await transport.close()
            raise self._explain(e) from e
        except BaseException:
            await transport.close()
            raise
        connection = Connection(client, self.server, Namespaces(tuple(uris)), limits, transport.vitals)
        return _Held(url, transport, connection, transport.vitals.service_level)

    async def _keep_rate(self) -> None:
        """Wait until another CreateSession is within ``MAX_CREATES`` in ``CREATES_WITHIN_S``."""
        if len(self._creates) == MAX_CREATES:
            await asyncio.sleep(max(0.0, self._creates[0] + CREATES_WITHIN_S - time.monotonic()))
        self._creates.append(time.monotonic())

    # ---- serving

    async def _serve(self, held: _Held, serve: Callable[[Connection], Awaitable[None]]) -> None:
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

    async def _watch(self, held: _Held) -> None:
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

    def _explain(self, e: Exception) -> ConnectError:
        if isinstance(e, ConnectError):
            return e
        who, detail = f"server '{self.server.name}' at {self.server.url}", f"{type(e).__name__}: {e}"
        if isinstance(e, TimeoutError):
            return ConnectError(f"{who} does not answer; check that it runs, and network and firewall", detail)
        if isinstance(e, ConnectionRefusedError):
            return ConnectError(f"{who} refuses the connection; start it or correct url", detail)
        if isinstance(e, OSError):
            return ConnectError(f"{who} cannot be reached: {e}; check url and network", detail)
        return self._explain_status(e, who, detail)

    def _explain_status(self, e: Exception, who: str, detail: str) -> ConnectError:
        if isinstance(e, _REFUSED_USER):
            return CredentialsError(f"{who} refuses user '{self.server.security.user or 'anonymous'}'", detail)
        if isinstance(e, _REFUSED_SECURITY):
            return TrustError(
                f"{who} refuses our certificate; trust {self._pki.folder / 'own' / 'certificate.der'} on the server",
                detail,
            )
        if isinstance(e, ua.uaerrors.BadTooManySessions):
            return ConnectError(f"{who} has no session left; close other clients or wait for their timeout", detail)
        return ConnectError(f"{who}: {e}", detail)
