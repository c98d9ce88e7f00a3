"""The session that stands on a server, kept on disk while it does: a gateway that was killed closes it when it returns.

A PLC with ten sessions and a timeout of a minute is otherwise exhausted by a gateway that crashes every few seconds.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from pathlib import Path

from asyncua import ua

from lineside_gateway.opcua.standard import Client, UaError

logger = logging.getLogger(__name__)


class SessionFile:
    """AuthenticationToken and what ActivateSession needs besides, readable by the owner only; no path keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def save(self, client: Client) -> None:
        """Keep the client's session; the server's nonce is another after each activation."""
        if self._path is None:
            return
        certificate = client.security_policy.peer_certificate
        kept = {
            "url": client.server_url.geturl(),
            "token": client.uaclient.session.authentication_token.to_string(),
            # asyncua has no public name for nonce and token policies; a test fails where another asyncua drops them.
            "nonce": (client._server_nonce or b"").hex(),  # noqa: SLF001
            "policies": [[p.PolicyId, int(p.TokenType), p.SecurityPolicyUri] for p in client._policy_ids],  # noqa: SLF001
            "certificate": None if certificate is None else base64.b64encode(certificate).decode(),
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump(kept, file)
            new.replace(self._path)
        except OSError as e:
            logger.warning("session_not_kept file=%s cause=%s", self._path, e)

    def load(self, client: Client) -> bool:
        """Give the kept session, if there is one of the same URL, to a client that is not connected."""
        if self._path is None or not self._path.is_file():
            return False
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if kept["url"] != client.server_url.geturl():
                return False
            token, nonce = ua.NodeId.from_string(kept["token"]), bytes.fromhex(kept["nonce"])
            policies = [
                ua.UserTokenPolicy(PolicyId=i, TokenType=ua.UserTokenType(t), SecurityPolicyUri=u)
                for i, t, u in kept["policies"]
            ]
            certificate = None if kept["certificate"] is None else base64.b64decode(kept["certificate"])
        except (OSError, ValueError, KeyError, TypeError, UaError) as e:
            logger.warning("session_file_unreadable file=%s cause=%s: %s", self._path, type(e).__name__, e)
            return False
        client.uaclient.session.restore_authentication_token(token)
        client._server_nonce, client._policy_ids = nonce, policies  # type: ignore[assignment]  # noqa: SLF001  # typed None in asyncua
        if client.security_policy.peer_certificate is None:
            client.security_policy.peer_certificate = certificate
        return True

    def clear(self) -> None:
        """The server has it no more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
