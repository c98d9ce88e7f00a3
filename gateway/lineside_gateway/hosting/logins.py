"""Who a client is: anonymous where that is configured, a user with his password, or a user with his certificate."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User
from asyncua.server.user_managers import UserManager
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError
from cryptography.exceptions import InvalidSignature

from lineside_gateway.hosting.lockout import Lockout
from lineside_gateway.hosting.roles import HostedUser, Role
from lineside_gateway.hosting.users import UserEntry, UsersError, UsersFile

if TYPE_CHECKING:
    from asyncua.server.internal_server import InternalServer

    from lineside_gateway.hosting.sessions import HostedSession

logger = logging.getLogger(__name__)

_WAITING = 16
"""Passwords at most that wait for their hash; more are told that the server is busy."""
Security = tuple[str, ua.MessageSecurityMode]


class Logins(UserManager):
    """Identifies users. Passwords are hashed in a thread of their own, one at a time, so that no client waits for it.

    ``own_certificate`` is the gateway's: whoever holds its key may look, which is how ``lineside status`` does.
    ``alias`` makes the name that others read from a user's.
    """

    def __init__(
        self, *, anonymous: HostedUser | None, users: Path | None = None, attempts: int = 5, lockout_s: float = 300.0,
        own_certificate: bytes | None = None, alias: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        self.anonymous = anonymous
        self.users = UsersFile(users) if users is not None else None
        self._lockout = Lockout(attempts, lockout_s, time.monotonic)
        self._own = own_certificate
        self._alias = alias
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._waiting = 0

    def get_user(
        self, iserver: InternalServer, username: str | None = None, password: str | None = None,
        certificate: object = None,
    ) -> User | None:  # fmt: skip
        """Anonymous or nobody: asyncua's plain server, without our limits, lets no user name in."""
        del iserver, password, certificate
        return None if username else self.anonymous

    async def identify(
        self, session: HostedSession, params: ua.ActivateSessionParameters, security: Security, address: str
    ) -> HostedUser:
        """The user who activates ``session``.

        Raises:
            ServiceError: He may not come in, or not this way.
        """
        token = params.UserIdentityToken
        match token:
            case None | ua.AnonymousIdentityToken() | ua.ExtensionObject(Body=None):
                if self.anonymous is None:
                    raise ServiceError(StatusCodes.BadIdentityTokenRejected)
                return self.anonymous
            case ua.UserNameIdentityToken() if security[1] != ua.MessageSecurityMode.None_ and self.users is not None:
                return await self._by_password(session, token, security, address)
            case ua.X509IdentityToken() if security[1] != ua.MessageSecurityMode.None_:
                return self._by_certificate(session, token, params.UserTokenSignature)
        raise ServiceError(StatusCodes.BadIdentityTokenRejected)

    def present(self, user: User) -> User | None:
        """``user`` with the role he has by now; None where he, or what he came in with, is no longer in the users file.

        A file that cannot be read changes nothing for who is in already.
        """
        if not isinstance(user, HostedUser) or not user.proof or self.users is None:
            return user
        try:
            entry = self.users.users().get(user.name or "")
        except (OSError, UsersError):
            return user
        if entry is None or user.proof not in {entry.password, entry.certificate}:
            return None
        return user if entry.role is user.granted else replace(user, granted=entry.role)

    def close(self) -> None:
        """End the hashing thread."""
        self._hashing.shutdown(wait=False, cancel_futures=True)

    async def _by_password(
        self, session: HostedSession, token: ua.UserNameIdentityToken, security: Security, address: str
    ) -> HostedUser:
        if security[1] == ua.MessageSecurityMode.Sign and not token.EncryptionAlgorithm:
            raise ServiceError(StatusCodes.BadIdentityTokenInvalid)  # the password would have been readable
        try:
            name, password = session.iserver.decrypt_user_token(session, token)
        except (ValueError, TypeError, UaError) as e:
            raise ServiceError(StatusCodes.BadIdentityTokenInvalid) from e
        if not name or not password or self._lockout.locked(name, address):
            raise ServiceError(StatusCodes.BadUserAccessDenied)
        if self._waiting >= _WAITING:
            raise ServiceError(StatusCodes.BadServerTooBusy)
        self._waiting += 1
        try:
            entry = await asyncio.get_running_loop().run_in_executor(self._hashing, self._entry, name, password)
        finally:
            self._waiting -= 1
        if entry is not None:
            self._lockout.succeeded(name, address)
            return HostedUser(name=entry.name, granted=entry.role, shown=self._alias(entry.name), proof=entry.password)
        if self._lockout.failed(name, address):
            logger.warning("login_locked user=%r address=%s", name[:64], address)
        else:
            logger.info("login_failed user=%r address=%s", name[:64], address)
        raise ServiceError(StatusCodes.BadUserAccessDenied)

    def _entry(self, name: str, password: str) -> UserEntry | None:
        assert self.users is not None  # noqa: S101 - the caller has looked
        try:
            return self.users.by_password(name, password)
        except UsersError as e:
            logger.error("users_unreadable %s", e)  # noqa: TRY400 - one sentence, no traceback
            return None

    def _by_certificate(
        self, session: HostedSession, token: ua.X509IdentityToken, signature: ua.SignatureData
    ) -> HostedUser:
        try:
            der = session.iserver.verify_x509_token(session, token, signature)
        except (ValueError, TypeError, InvalidSignature, UaError) as e:
            raise ServiceError(StatusCodes.BadIdentityTokenInvalid) from e
        if self._own is not None and der == self._own:
            return HostedUser(name="gateway", granted=Role.VIEWER)
        try:
            entry = self.users.by_certificate(der) if self.users is not None else None
        except UsersError as e:
            logger.error("users_unreadable %s", e)  # noqa: TRY400 - one sentence, no traceback
            entry = None
        if entry is None:
            raise ServiceError(StatusCodes.BadUserAccessDenied)
        return HostedUser(name=entry.name, granted=entry.role, shown=self._alias(entry.name), proof=entry.certificate)
