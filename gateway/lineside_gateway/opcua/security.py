"""Certificates: our own, the server's, and whom we trust. What the settings ask for is used or nothing is."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto import cert_gen, security_policies, uacrypto
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from lineside_gateway.errors import TrustError
from lineside_gateway.opcua.standard import Client
from lineside_gateway.settings import SecurityMode, SecurityPolicy, ServerSettings, secret

_POLICIES: dict[SecurityPolicy, type[Any]] = {
    SecurityPolicy.BASIC256SHA256: security_policies.SecurityPolicyBasic256Sha256,
    SecurityPolicy.AES128: security_policies.SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicy.AES256: security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_MODES = {
    SecurityMode.SIGN: ua.MessageSecurityMode.Sign,
    SecurityMode.SIGN_AND_ENCRYPT: ua.MessageSecurityMode.SignAndEncrypt,
}
_CERTIFICATE_DAYS = 3650
_SUFFIXES = {".der", ".pem", ".crt", ".cer"}


@dataclass(frozen=True, slots=True)
class Pki:
    """The gateway's certificate folders: ``own/``, ``trusted/`` and ``rejected/`` below ``folder``."""

    folder: Path
    gateway_id: str

    @property
    def application_uri(self) -> str:
        """ApplicationUri of this gateway; its certificate carries it."""
        return f"urn:{socket.gethostname()}:lineside:{self.gateway_id}"

    def own(self) -> tuple[Path, Path]:
        """Certificate (DER) and key (PEM) of this gateway, made at the first call. Takes about 0.1 s then."""
        certificate, key = self.folder / "own" / "certificate.der", self.folder / "own" / "key.pem"
        if not (certificate.is_file() and key.is_file()):
            self._make(certificate, key)
        return certificate, key

    def _make(self, certificate: Path, key: Path) -> None:
        certificate.parent.mkdir(parents=True, exist_ok=True)
        private = cert_gen.generate_private_key()
        key.touch(mode=0o600)
        key.write_bytes(cert_gen.dump_private_key_as_pem(private))
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(self.application_uri),
            x509.DNSName(socket.gethostname()),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        made = cert_gen.generate_self_signed_app_certificate(
            private,
            f"lineside {self.gateway_id}",
            {},
            names,
            extended=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
            days=_CERTIFICATE_DAYS,
        )
        certificate.write_bytes(made.public_bytes(serialization.Encoding.DER))

    def check(self, server: ServerSettings, der: bytes) -> None:
        """Return where the server's certificate is trusted and in its time; else keep it in ``rejected/``.

        Trusted is a certificate that lies in ``trusted/`` or ``security.trust`` itself, or that a CA lying there
        has issued.

        Raises:
            TrustError: Not trusted, or out of its time.
        """
        certificate = x509.load_der_x509_certificate(der)
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise TrustError(
                f"server '{server.name}': its certificate is valid {certificate.not_valid_before_utc:%Y-%m-%d} to "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}, not today; renew it on the server or correct the clock"
            )
        trusted = [*certificates_in([self.folder / "trusted"]), *certificates_in(server.security.trust)]
        if any(vouches(t, certificate) for t in trusted):
            return
        print_ = certificate.fingerprint(hashes.SHA256()).hex()
        rejected = self.folder / "rejected" / f"{server.name}-{print_[:16]}.der"
        rejected.parent.mkdir(parents=True, exist_ok=True)
        rejected.write_bytes(der)
        raise TrustError(
            f"server '{server.name}': its certificate (SHA-256 {print_[:16]}...) is not trusted; compare it, then move "
            f"{rejected} to {self.folder / 'trusted'}",
            detail=certificate.subject.rfc4514_string(),
        )

    def rejected(self) -> dict[str, x509.Certificate]:
        """Rejected certificates by their SHA-256 in hex."""
        found = certificates_in([self.folder / "rejected"])
        return {c.fingerprint(hashes.SHA256()).hex(): c for c in found}

    def trust(self, start: str) -> str:
        """Move the rejected certificate whose SHA-256 starts with ``start`` to ``trusted/``; its whole SHA-256.

        Raises:
            TrustError: None or several do.
        """
        hits = [print_ for print_ in self.rejected() if print_.startswith(start.lower())]
        if len(hits) != 1:
            what = "several rejected certificates start" if hits else "no rejected certificate starts"
            raise TrustError(f"{what} with '{start}' in {self.folder / 'rejected'}; 'lineside trust' lists them")
        place = self.folder / "trusted"
        place.mkdir(parents=True, exist_ok=True)
        for file in sorted((self.folder / "rejected").iterdir()):
            if file.suffix.lower() in _SUFFIXES and _load(file).fingerprint(hashes.SHA256()).hex() == hits[0]:
                file.replace(place / file.name)
        return hits[0]


def der_of(file: Path) -> bytes:
    """A certificate file, DER or PEM, as DER.

    Raises:
        TrustError: There is no such file, or it is not a certificate.
    """
    if not file.is_file():
        raise TrustError(f"certificate {file} does not exist; give the path of a DER or PEM file")
    return _load(file).public_bytes(serialization.Encoding.DER)


async def secure(client: Client, server: ServerSettings, pki: Pki) -> tuple[str | None, str | None]:
    """Set policy, mode and certificates on a client that has not connected yet; returns user and password.

    The endpoint list is fetched over an unsecured channel; nothing secret is sent before the certificate is checked.

    Raises:
        TrustError: No endpoint offers exactly this policy and mode, or the server's certificate is not trusted.
        SettingsError: The password file cannot be read.
    """
    client.application_uri = pki.application_uri
    client.name = client.description = f"lineside {pki.gateway_id}"
    security = server.security
    login = security.user, secret(security) if security.user is not None else None
    if security.policy is SecurityPolicy.NONE:
        return login
    policy, mode = _POLICIES[security.policy], _MODES[security.effective_mode]
    offered = await Client(
        client.server_url.geturl(), timeout=server.request_timeout_s
    ).connect_and_get_server_endpoints()
    endpoint = next((e for e in offered if (e.SecurityMode, e.SecurityPolicyUri) == (mode, policy.URI)), None)
    if endpoint is None:
        names = ", ".join(
            sorted({f"{str(e.SecurityPolicyUri).partition('#')[2]}/{e.SecurityMode.name}" for e in offered})
        )
        raise TrustError(
            f"server '{server.name}' does not offer {security.policy}/{security.effective_mode}; it offers {names}; "
            "set security to one of these"
        )
    der = first_certificate(endpoint.ServerCertificate or b"", server.name)
    await asyncio.to_thread(pki.check, server, der)
    if security.certificate is not None and security.private_key is not None:
        certificate, key = security.certificate, security.private_key
        client.application_uri = await asyncio.to_thread(_uri_of, certificate, client.application_uri)
    else:
        certificate, key = await asyncio.to_thread(pki.own)
    await client.set_security(
        policy, certificate, key, server_certificate=uacrypto.CertProperties(der, "der"), mode=mode
    )
    return login


async def as_the_gateway(client: Client, pki: Pki, policy: SecurityPolicy) -> None:
    """Let ``client`` talk to the gateway of ``pki`` with the gateway's own certificate, as application and as user."""
    certificate, key = await asyncio.to_thread(pki.own)
    own = uacrypto.CertProperties(certificate.read_bytes(), "der")
    client.application_uri = pki.application_uri
    await client.set_security(
        _POLICIES[policy], certificate, key, server_certificate=own, mode=_MODES[SecurityMode.SIGN_AND_ENCRYPT]
    )
    await client.load_client_certificate(str(certificate))
    await client.load_private_key(key)


def first_certificate(chain: bytes, name: str) -> bytes:
    """The peer's own certificate, which comes first where the endpoint carries its chain (Part 6, 6.2.6)."""
    certificate: x509.Certificate | None = uacrypto.x509_from_der(chain) if chain else None  # type: ignore[no-untyped-call]  # untyped in asyncua
    if certificate is None:
        raise TrustError(f"server '{name}' offers security without a certificate; install one on the server")
    return certificate.public_bytes(serialization.Encoding.DER)


def certificates_in(places: Iterable[Path]) -> list[x509.Certificate]:
    """The certificates at ``places``: files, or folders of DER and PEM files.

    Raises:
        TrustError: One of them is not a certificate.
    """
    files: list[Path] = []
    for place in places:
        files += sorted(place.iterdir()) if place.is_dir() else [place] if place.is_file() else []
    return [_load(f) for f in files if f.suffix.lower() in _SUFFIXES]


def _load(file: Path) -> x509.Certificate:
    data = file.read_bytes()
    try:
        return (
            x509.load_pem_x509_certificate(data) if data.startswith(b"-----") else x509.load_der_x509_certificate(data)
        )
    except ValueError as e:
        raise TrustError(f"{file} is not a certificate: {e}; remove it or replace it by DER or PEM") from e


def vouches(trusted: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether ``certificate`` is ``trusted`` itself or issued by it, a CA."""
    if trusted.fingerprint(hashes.SHA256()) == certificate.fingerprint(hashes.SHA256()):
        return True
    try:
        if not trusted.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        certificate.verify_directly_issued_by(trusted)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        return False
    return True


def _uri_of(certificate: Path, default: str) -> str:
    try:
        names = _load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return default
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), default)
