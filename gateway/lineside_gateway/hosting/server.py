"""asyncua's server with our sockets, sessions, users and policies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.server.server import Server

from lineside_gateway.hosting.internals import ASYNCUA, HostedInternals, differences
from lineside_gateway.hosting.limits import LARGEST_FRAME, Limits
from lineside_gateway.hosting.logins import Logins
from lineside_gateway.hosting.protocol import HostedBinaryServer
from lineside_gateway.hosting.roles import HostedUser, Rights
from lineside_gateway.hosting.trust import ClientTrust, TrustedPolicy
from lineside_gateway.opcua.security import Pki

USERS_LOOK_S = 0.5
"""How often sessions are held against the users file; a request is, each time."""

logger = logging.getLogger(__name__)

P = ua.SecurityPolicyType
ALL_POLICIES = (
    P.Basic256Sha256_Sign,
    P.Basic256Sha256_SignAndEncrypt,
    P.Aes128Sha256RsaOaep_Sign,
    P.Aes128Sha256RsaOaep_SignAndEncrypt,
    P.Aes256Sha256RsaPss_Sign,
    P.Aes256Sha256RsaPss_SignAndEncrypt,
)


@dataclass(frozen=True, slots=True)
class Access:
    """Who gets in and how: anonymous readers over an unsecured channel, users over secured ones, or both.

    ``anonymous_user`` is what a client without user name counts as: a viewer. Without ``pki`` there are no secured
    endpoints. ``trust`` are further places of trusted client certificates.
    ``alias`` makes the name that others read from a user's.
    """

    anonymous: bool = True
    anonymous_user: HostedUser = field(default_factory=HostedUser)
    pki: Pki | None = None
    policies: tuple[ua.SecurityPolicyType, ...] = ALL_POLICIES
    users: Path | None = None
    trust: tuple[Path, ...] = ()
    attempts: int = 5
    lockout_s: float = 300.0
    limits: Limits = field(default_factory=Limits)
    alias: Callable[[str], str] = str


class HostingServer(Server):
    """A server that takes nothing from a client before it has looked at it."""

    iserver: HostedInternals

    def __init__(self, access: Access, logins: Logins, rights: Rights) -> None:
        super().__init__(iserver=HostedInternals(logins, rights, access.limits))
        self._access = access
        self._doorman: asyncio.Task[None] | None = None
        bytes_ = access.limits.message_bytes
        self.limits = TransportLimits(LARGEST_FRAME, LARGEST_FRAME, math.ceil(bytes_ / LARGEST_FRAME) + 1, bytes_)

    async def init(self, shelf_file: Path | None = None) -> None:
        """Build the standard nodes; take certificate, policies and kinds of identity from the access."""
        await super().init(shelf_file)
        await self.iserver.publish_limits()
        access = self._access
        tokens: list[type] = [ua.AnonymousIdentityToken] if access.anonymous else []
        policies = [P.NoSecurity] if access.anonymous else []
        if access.pki is not None:
            certificate, key = access.pki.own()
            await self.load_certificate(certificate)
            await self.load_private_key(key)
            tokens += [ua.UserNameIdentityToken] if access.users is not None else []
            tokens.append(ua.X509IdentityToken)
            policies += access.policies
        self.allow_remote_admin(False)
        self.set_identity_tokens(tokens)
        self.set_security_policy(policies)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address cannot be opened.
        """
        await self._setup_server_nodes()
        self._guard_endpoints()
        await self.iserver.start()
        host, port = self._get_bind_socket_info()
        server = HostedBinaryServer(self.iserver, host or "", port or 0, self.limits, self._access.limits)
        server.set_policies(self._policies)
        try:
            await server.start()
        except OSError:
            await self.iserver.stop()
            raise
        self.bserver = server
        self._doorman = asyncio.create_task(self._look_at_users(), name="users of the hosted server")

    async def _look_at_users(self) -> None:
        while True:
            await asyncio.sleep(USERS_LOOK_S)
            await self.iserver.end_unwelcome()

    async def stop(self) -> None:
        """Close all connections and stop."""
        if self._doorman is not None:
            self._doorman.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._doorman
            self._doorman = None
        await super().stop()
        self.iserver.logins.close()

    def _guard_endpoints(self) -> None:
        """Hold each endpoint to the identities it takes, and each secured policy to trusted clients."""
        trust = ClientTrust(self._access.pki, self._access.trust) if self._access.pki is not None else None
        self._policies = [
            TrustedPolicy(p, trust if p.mode != ua.MessageSecurityMode.None_ else None)  # type: ignore[misc]  # duck
            for p in self._policies
        ]
        for endpoint in self.iserver.endpoints:
            self.iserver.offered.add((str(endpoint.SecurityPolicyUri), endpoint.SecurityMode))
            if endpoint.SecurityMode == ua.MessageSecurityMode.None_:
                kept = [t for t in endpoint.UserIdentityTokens if t.TokenType == ua.UserTokenType.Anonymous]
                endpoint.UserIdentityTokens = kept


class PlainServer(Server):
    """asyncua's own server, unsecured: for another asyncua than the one this room was written against."""

    def __init__(self, access: Access, logins: Logins) -> None:
        super().__init__(user_manager=logins)
        self._access = access

    async def init(self, shelf_file: Path | None = None) -> None:
        """Build the standard nodes; anonymous readers where they are allowed."""
        await super().init(shelf_file)
        self.allow_remote_admin(False)
        self.set_identity_tokens([ua.AnonymousIdentityToken] if self._access.anonymous else [])
        self.set_security_policy([P.NoSecurity])


def hosting_server(access: Access, rights: Rights) -> Server:
    """A server that is not yet initialised; asyncua's plain one where its names are not as needed.

    The plain one is asyncua's own work in speed and limits: it hosts over an unsecured channel, for anonymous readers
    where they are allowed and for nobody otherwise. The log says so once.
    """
    own = access.pki.own()[0].read_bytes() if access.pki is not None else None
    logins = Logins(
        anonymous=access.anonymous_user if access.anonymous else None, users=access.users, attempts=access.attempts,
        lockout_s=access.lockout_s, own_certificate=own, alias=access.alias,
    )  # fmt: skip
    found = differences()
    if found:
        logger.error("hosted_server_plain %s; install asyncua %s*", "; ".join(found), ASYNCUA)
        return PlainServer(access, logins)
    return HostingServer(access, logins, rights)
