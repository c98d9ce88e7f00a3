"""The one owner of a server's connection: connects, notices loss, waits, connects again, closes on exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Any

from asyncua import ua

from lineside_gateway.errors import ConnectError, CredentialsError, LinesideError, TrustError
from lineside_gateway.opcua.addresses import Namespaces
from lineside_gateway.opcua.connection import Connection, read_limits
from lineside_gateway.opcua.security import Pki, secure
from lineside_gateway.opcua.standard import Client, UaError
from lineside_gateway.opcua.wire import new_client
from lineside_gateway.settings import ServerSettings

logger = logging.getLogger(__name__)

PROBE_S = 5.0
"""asyncua reads ServerStatus this often, and gives the server this long to answer."""
CLOSE_S = 2.0
"""Longest wait for CloseSession; a server that is gone does not answer it."""
STEADY_S = 10.0
"""A connection that lived this long starts the next backoff anew."""
JITTER = 0.2
"""Share by which a wait varies, so that gateways do not return in step."""

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
    """Keeps one server connected and hands each new connection to ``serve``.

    ``state``, ``error`` (what stands in the way, None when connected), ``connects`` and ``namespaces`` (of the latest
    connection) may be read at any time from the event loop.
    """

    def __init__(self, server: ServerSettings, pki: Pki, jitter: random.Random | None = None) -> None:
        self.server = server
        self.state = LinkState.WAITING
        self.error: ConnectError | None = None
        self.connects = 0
        self.namespaces = Namespaces(())
        self._pki = pki
        self._random = jitter or random.Random()
        quiet_library()

    async def run(self, serve: Callable[[Connection], Awaitable[None]]) -> None:
        """Connect and serve until cancelled. ``serve`` is cancelled when its connection is lost.

        A server that cannot be reached is waited for, with doubling, jittered waits. The session is closed on exit.
        """
        attempt = 0
        try:
            while True:
                started = time.monotonic()
                try:
                    async with self.connect() as connection:
                        await _until_lost(connection, serve)
                except ConnectError as e:
                    self._note(e)
                except LinesideError as e:
                    self._note(ConnectError(e.sentence, e.detail))
                except Exception as e:  # the session loop is a supervision point: the others run on
                    crash = ConnectError(f"server '{self.server.name}': {type(e).__name__}: {e}; see the log")
                    if self.error is None or self.error.sentence != crash.sentence:
                        logger.exception("session_crashed server=%s", self.server.name)
                    self._note(crash)
                if time.monotonic() - started > STEADY_S:
                    attempt = 0
                await asyncio.sleep(self.wait_s(attempt))
                attempt += 1
        finally:
            self.state = LinkState.CLOSED

    def wait_s(self, attempt: int) -> float:
        """Wait after failed attempt ``attempt``, from 0: doubling within the settings' bounds, jittered."""
        low, high = self.server.reconnect_min_s, self.server.reconnect_max_s
        wait = high if self.state is LinkState.REFUSED else min(low * 2.0 ** min(attempt, 30), high)
        return wait * self._random.uniform(1 - JITTER, 1 + JITTER)

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """One connection, closed on exit; namespaces and OperationLimits are read anew.

        Raises:
            ConnectError: Not reachable, not trusted, refused; the sentence has the next step.
        """
        client = new_client(self.server.url, self.server.request_timeout_s, PROBE_S)
        client.session_timeout = int(self.server.session_timeout_s * 1000)
        try:
            try:
                async with asyncio.timeout(3 * self.server.request_timeout_s):
                    await secure(client, self.server, self._pki)
                    await client.connect()
                    uris, limits = await asyncio.gather(client.get_namespace_array(), read_limits(client, self.server))
                    namespaces = Namespaces(tuple(uris))
            except (OSError, TimeoutError, UaError, ValueError) as e:
                raise self._explain(e) from e
            self.connects += 1
            self.state, self.error, self.namespaces = LinkState.CONNECTED, None, namespaces
            logger.info(
                "server_connected server=%s url=%s connects=%d", self.server.name, self.server.url, self.connects
            )
            try:
                yield Connection(client, self.server, namespaces, limits)
            except (OSError, TimeoutError, UaError) as e:
                raise self._explain(e) from e
        finally:
            await _close(client)

    def _note(self, error: ConnectError) -> None:
        """Keep what stands in the way; log it when it changes, not at each attempt."""
        refused = isinstance(error, TrustError | CredentialsError)
        state = LinkState.REFUSED if refused else LinkState.LOST if self.connects else LinkState.WAITING
        if self.error is None or (self.state, self.error.sentence) != (state, error.sentence):
            logger.warning("server_%s server=%s cause=%s", state, self.server.name, error.sentence)
        self.state, self.error = state, error

    def _explain(self, e: Exception) -> ConnectError:
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


async def _until_lost(connection: Connection, serve: Callable[[Connection], Awaitable[None]]) -> None:
    """Run ``serve`` until it ends or the transport is lost.

    Raises:
        ConnectError: The connection was lost.
    """
    lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def note(error: Exception) -> None:
        if not lost.done():
            lost.set_result(error)

    connection.client.connection_lost_callback = note
    serving = asyncio.ensure_future(serve(connection))
    try:
        waited: set[asyncio.Future[Any]] = {serving, lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        name = connection.server.name
        raise ConnectError(
            f"server '{name}' is lost; connecting again", repr(lost.result()) if lost.done() else "ended"
        )
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError, LinesideError, OSError, TimeoutError, UaError):
            await serving


async def _close(client: Client) -> None:
    """CloseSession and CloseSecureChannel where the server still answers; the socket in any case."""
    client.connection_lost_callback = None
    with contextlib.suppress(OSError, TimeoutError, UaError):
        async with asyncio.timeout(CLOSE_S):
            await client.disconnect()
    client.disconnect_socket()
