"""Which client applications may open a secured channel: those whose certificate lies in ``pki/trusted``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.security_policies import SecurityPolicy, SecurityPolicyFactory
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from lineside_gateway.errors import TrustError
from lineside_gateway.hosting.users import fingerprint
from lineside_gateway.opcua.certificates import certificates_in, first_certificate, vouches
from lineside_gateway.opcua.security import Pki

logger = logging.getLogger(__name__)

REJECTED_KEPT = 50
"""Rejected certificates kept for the user to look at; an attacker fills no disk."""
_SMALLEST_KEY, _LARGEST_KEY = 2048, 4096  # bits; OPC UA Part 7 for all three policies offered
_LARGEST_CHAIN = 16 * 1024


class ClientTrust:
    """Looks at client certificates before any key of ours is used for them."""

    def __init__(self, pki: Pki, places: Sequence[Path] = ()) -> None:
        self._pki = pki
        self._places = (pki.folder / "trusted", *places)
        self._stamp: tuple[int, ...] = ()
        self._trusted: list[x509.Certificate] = []
        self._own = pki.own()[0].read_bytes()
        self._told: set[str] = set()

    def check(self, chain: bytes | None) -> None:
        """Return where the client's certificate, the first of ``chain``, is trusted and in its time.

        Raises:
            ServiceError: BadSecurityChecksFailed, whatever the cause; the log and ``pki/rejected`` tell the operator.
        """
        if not chain or len(chain) > _LARGEST_CHAIN:
            raise ServiceError(StatusCodes.BadSecurityChecksFailed)
        try:
            der = first_certificate(chain, "a client")
            certificate = x509.load_der_x509_certificate(der)
            key = certificate.public_key()
        except (TrustError, ValueError, TypeError) as e:
            raise ServiceError(StatusCodes.BadSecurityChecksFailed) from e
        now = datetime.now(UTC)
        in_time = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        strong = isinstance(key, RSAPublicKey) and _SMALLEST_KEY <= key.key_size <= _LARGEST_KEY
        if der == self._own or (in_time and strong and any(vouches(t, certificate) for t in self._now_trusted())):
            return
        self._reject(der, certificate, "" if in_time else "out of its time", "" if strong else "no RSA 2048 to 4096")
        raise ServiceError(StatusCodes.BadSecurityChecksFailed)

    def _now_trusted(self) -> list[x509.Certificate]:
        """The trusted certificates, read again when a folder has changed."""
        stamp = tuple(p.stat().st_mtime_ns if p.exists() else 0 for p in self._places)
        if stamp != self._stamp:
            self._trusted, self._stamp = certificates_in(self._places), stamp
        return self._trusted

    def _reject(self, der: bytes, certificate: x509.Certificate, *flaws: str) -> None:
        print_ = fingerprint(der)
        if print_ in self._told:
            return
        folder = self._pki.folder / "rejected"
        folder.mkdir(parents=True, exist_ok=True)
        if len(self._told) >= REJECTED_KEPT or len(list(folder.iterdir())) >= REJECTED_KEPT:
            return
        self._told.add(print_)
        (folder / f"client-{print_[:16]}.der").write_bytes(der)
        why = " and ".join(f for f in flaws if f) or "not trusted"
        logger.warning(
            "client_rejected certificate %s... (%s) is %s; if you know it, run: lineside trust accept %s",
            print_[:16], certificate.subject.rfc4514_string()[:120], why, print_[:16],
        )  # fmt: skip


class TrustedPolicy:
    """A security policy that is only created for a client whose certificate is trusted."""

    def __init__(self, policy: SecurityPolicyFactory, trust: ClientTrust | None) -> None:
        self._policy = policy
        self._trust = trust

    def matches(self, uri: str, mode: ua.MessageSecurityMode | None = None) -> bool:
        """Whether this is the policy asked for."""
        return bool(self._policy.matches(uri, mode))  # type: ignore[no-untyped-call]  # untyped in asyncua

    def create(self, peer_certificate: bytes | None) -> SecurityPolicy:
        """The policy towards one client.

        Raises:
            ServiceError: The client is not trusted.
        """
        if self._trust is not None:
            self._trust.check(peer_certificate)
        made: Any = self._policy.create(peer_certificate)  # type: ignore[no-untyped-call]  # untyped in asyncua
        return made  # type: ignore[no-any-return]
