"""Sessions opened: within a rate, at the best of several endpoints, and what a killed gateway left closed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from lineside_gateway.errors import ConnectError
from lineside_gateway.opcua.addresses import Namespaces
from lineside_gateway.opcua.connection import Connection, read_limits
from lineside_gateway.opcua.explaining import explain
from lineside_gateway.opcua.security import Pki, secure
from lineside_gateway.opcua.session_file import SessionFile
from lineside_gateway.opcua.standard import Client, UaError, UaStatusCodeError
from lineside_gateway.opcua.transport import PROBE_S, Transport
from lineside_gateway.opcua.wire import new_client
from lineside_gateway.settings import ServerSettings

logger = logging.getLogger(__name__)

MAX_CREATES, CREATES_WITHIN_S = 8, 60.0
"""CreateSession requests to one server, whatever happens; thousands a minute have locked plants out of their PLCs."""
FULL_SERVICE = 200
"""A ServiceLevel from here up is healthy, below it degraded (OPC UA Part 4, 6.6.2.4.2)."""


@dataclass(slots=True)
class Held:
    """One session on the server, connected or to be taken up again."""

    url: str
    transport: Transport
    connection: Connection
    level: int
    """ServiceLevel when it was opened."""
    since: float = 0.0

    def __post_init__(self) -> None:
        self.since = time.monotonic()


class Opening:
    """Opens the sessions of one server."""

    def __init__(self, server: ServerSettings, pki: Pki, kept: Path | None) -> None:
        """``kept`` is where the session is noted while it stands."""
        self.server = server
        self._pki = pki
        self._file = SessionFile(kept)
        self._former_closed = False
        self._creates: deque[float] = deque(maxlen=MAX_CREATES)
        self._caps: dict[str, int] = {}

    def begin(self) -> None:
        """A run of the gateway begins: what a former one left is looked for again."""
        self._former_closed = False

    def explain(self, e: Exception) -> ConnectError:
        """``e`` as a sentence with the next step."""
        return explain(self.server, self._pki.folder, e)

    async def close_former(self) -> None:
        """Close the session that a killed gateway of this name has left on the server; once in a run.

        Raises:
            ConnectError: The server cannot be reached.
        """
        if self._former_closed:
            return
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
                raise self.explain(e) from e
            finally:
                client.disconnect_socket()
            self._file.clear()
        self._former_closed = True

    async def open_best(self) -> Held:
        """A connection to the endpoint with the highest ServiceLevel; the first that is healthy will do."""
        best: Held | None = None
        error: ConnectError | None = None
        for url in (self.server.url, *self.server.alternates):
            try:
                held = await self.open(url)
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

    async def open(self, url: str) -> Held:
        """A new session at ``url``, namespaces and OperationLimits read.

        Raises:
            ConnectError: Not reachable, not trusted, refused.
        """
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
            raise self.explain(e) from e
        except BaseException:
            await transport.close()
            raise
        connection = Connection(client, self.server, Namespaces(tuple(uris)), limits, transport.vitals)
        return Held(url, transport, connection, transport.vitals.service_level)

    async def _keep_rate(self) -> None:
        """Wait until another CreateSession is within ``MAX_CREATES`` in ``CREATES_WITHIN_S``."""
        if len(self._creates) == MAX_CREATES:
            await asyncio.sleep(max(0.0, self._creates[0] + CREATES_WITHIN_S - time.monotonic()))
        self._creates.append(time.monotonic())
