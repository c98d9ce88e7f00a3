"""One client's socket, secure channel and session: opened, renewed, probed, resumed on a new channel, closed.

Whoever holds a ``Transport`` owns its reconnecting; asyncua's own supervisor, which would be a second owner, is never
started. A session outlives its channel (OPC UA Part 4, 6.7): after a loss the same session is activated on a new
channel, its subscriptions have kept what was sampled meanwhile, and a PLC with ten sessions gives up none.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from asyncua.client.ua_client import UaClientState

from lineside_gateway.errors import ConnectError, TrustError
from lineside_gateway.opcua.security import Login
from lineside_gateway.opcua.session_file import SessionFile
from lineside_gateway.opcua.standard import AttributeIds, Client, ObjectIds, UaError, standard

PROBE_S = 4.0
"""A connection that has been quiet this long is asked for its ServerStatus, and has as long again to answer."""
CLOSE_S = 2.0
"""Longest wait for CloseSession; a server that is gone does not answer it."""
RENEW_AT = 0.75
"""Share of a channel's lifetime after which it is renewed (OPC UA Part 4, 5.5.2.1)."""
_NO_ANSWER = (OSError, TimeoutError, UaError)


@dataclass(slots=True)
class Vitals:
    """Signs of life of one connection: who reads its stream calls ``beat``, who has set it up sets ``ready``."""

    heard_at: float = field(default_factory=time.monotonic)
    ready: bool = False
    """Whether all that was asked for is set up, so that the session is worth taking up again after a loss."""
    service_level: int = 255

    def beat(self) -> None:
        """The server has sent something."""
        self.heard_at = time.monotonic()


class Transport:
    """A client and what it holds on the server. One event loop."""

    def __init__(self, client: Client, file: SessionFile) -> None:
        self.client = client
        self.vitals = Vitals()
        self.holds_session = False
        """True from CreateSession until the server has confirmed CloseSession or says that it has none."""
        self.login = Login()
        """Who we are to the server; without a user anonymous, or whom the client's user certificate names."""
        self._file = file
        self._renew_at = 0.0

    async def open(self) -> None:
        """Open socket and channel, create and activate a session. The caller closes, also after an error."""
        await self._open_channel()
        await self.client.create_session()
        self.holds_session = True
        expected = self.login.server_certificate
        if expected is not None and self.client.security_policy.peer_certificate != expected:
            raise TrustError("the server shows another certificate than its endpoint; the password is not sent")
        await self._activate()

    async def resume(self) -> None:
        """Activate the session on a new channel.

        Raises:
            UaStatusCodeError: The server has dropped the session, or does not let it move to another channel.
        """
        self.drop()
        await self._open_channel()
        self.client.uaclient.session.rebind_authentication_token()
        await self._activate()

    async def _open_channel(self) -> None:
        await self.client.connect_socket()
        await self.client.send_hello()
        await self.client.open_secure_channel()
        self._set_renewal()

    def _set_renewal(self) -> None:
        self._renew_at = time.monotonic() + RENEW_AT * self.client.secure_channel_timeout / 1e3

    async def _activate(self) -> None:
        await self.client.activate_session(self.login.user, self.login.password, self.client.user_certificate)
        self._file.save(self.client)
        self.vitals.beat()

    async def watch(self, *, always: bool = False) -> None:
        """Renew the channel and probe the server until the connection is lost; ``always``: even while data come.

        Raises:
            ConnectError: The socket is closed, or nothing has come for twice ``PROBE_S``.
        """
        probed_at = time.monotonic()
        async with self.client.uaclient.subscribe_state() as states:
            while True:
                since = probed_at if always else self.vitals.heard_at
                now = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    await states.next_change(max(min(since + PROBE_S, self._renew_at) - now, 0.01))
                if self.client.uaclient.state is not UaClientState.CONNECTED:
                    raise ConnectError("the connection was closed", f"state {self.client.uaclient.state.value}")
                if time.monotonic() >= self._renew_at:
                    await self._renew()
                elif time.monotonic() - (probed_at if always else self.vitals.heard_at) >= PROBE_S:
                    await self.probe()
                    probed_at = time.monotonic()

    async def _renew(self) -> None:
        try:
            await self.client.open_secure_channel(renew=True)
        except _NO_ANSWER as e:
            raise ConnectError("the secure channel was not renewed", f"{type(e).__name__}: {e}") from e
        self.client.uaclient.revolve_security_token()
        self._set_renewal()

    async def probe(self) -> None:
        """Ask for state and ServiceLevel. Data that come before the answer, on a slow line, are a sign of life too."""
        nodes = [standard(ObjectIds.Server_ServerStatus_State), standard(ObjectIds.Server_ServiceLevel)]
        began = time.monotonic()
        try:
            async with asyncio.timeout(PROBE_S):
                _, level = await self.client.uaclient.read_attributes(nodes, AttributeIds.Value)
        except _NO_ANSWER as e:
            if isinstance(e, TimeoutError) and self.vitals.heard_at > began:
                return
            raise ConnectError(f"nothing has come for {2 * PROBE_S:g} s", f"probe: {type(e).__name__}: {e}") from e
        self.vitals.beat()
        if level.Value is not None and isinstance(level.Value.Value, int):
            self.vitals.service_level = level.Value.Value

    def drop(self) -> None:
        """Close the socket at once, without a word to the server; what has not been sent never will be."""
        protocol = self.client.uaclient.protocol
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()
        self.client.disconnect_socket()

    def _forget(self) -> None:
        self.holds_session = False
        self._file.clear()

    async def abandon(self) -> None:
        """The server has no session of ours any more: end what runs for it here."""
        self.drop()
        self._forget()
        await self.client.uaclient.close_session(True)  # without a socket it sends nothing

    async def close(self) -> None:
        """Close session, channel and socket; ``holds_session`` stays true where the server did not confirm it."""
        uaclient = self.client.uaclient
        try:
            if uaclient.state in {UaClientState.CONNECTED, UaClientState.CHANNEL_OPEN}:
                async with asyncio.timeout(CLOSE_S):
                    await uaclient.close_session(True)
                    if uaclient.protocol is not None and not uaclient.protocol.is_closed:
                        self._forget()
                    await uaclient.close_secure_channel()
        except _NO_ANSWER:
            pass  # holds_session tells
        finally:
            self.drop()
