"""Who the gateway is to a server, and which servers it trusts. What the settings ask for is used or nothing is."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto import cert_gen, security_policies, uacrypto
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from lineside_gateway.errors import TrustError
from lineside_gateway.opcua.certificates import certificates_in, first_certificate, is_trusted, load_certificate, uri_of
from lineside_gateway.opcua.standard import Client
from lineside_gateway.settings import GatewaySettings, SecurityMode, SecurityPolicy, ServerSettings, Settings, secret

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
_NONE_URI = "http://opcfoundation.org/UA/SecurityPolicy#None"


@dataclass(frozen=True, slots=True)
class Pki:
    """The gateway's certificate folders below ``folder``: ``own/``, ``trusted/``, ``rejected/`` and ``issuers/``.

    A CA in ``issuers/`` completes chains; it is trusted only if a CA above it is in ``trusted/``. ``member`` is the
    gateway's name in its fleet, whose members share ``gateway_id``.
    """

    folder: Path
    gateway_id: str
    member: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Pki:
        """Those of the gateway with these settings."""
        gateway, fleet = settings.gateway, settings.fleet
        return cls(gateway.data_dir / "pki", gateway.id, fleet.member if fleet else "")

    @classmethod
    def beside(cls, file: Path) -> Pki:
        """Those that a gateway with the settings ``file`` will have, unless it sets data_dir or id."""
        gateway = GatewaySettings()
        return cls(file.parent / gateway.data_dir / "pki", gateway.id)

    @property
    def application_uri(self) -> str:
        """ApplicationUri of this gateway, unique also among members of a fleet on one host (OPC UA Part 4, 7.2).

        A certificate that was made before the gateway had its present names keeps the one it carries.
        """
        own = f"urn:{socket.gethostname()}:lineside:{self.gateway_id}{f':{self.member}' if self.member else ''}"
        certificate = self.folder / "own" / "certificate.der"
        return uri_of(load_certificate(certificate), own) if certificate.is_file() else own

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
        if is_trusted(certificate, trusted, certificates_in([self.folder / "issuers"])):
            return
        print_ = certificate.fingerprint(hashes.SHA256()).hex()
        rejected = self.folder / "rejected" / f"{server.name}-{print_[:16]}.der"
        rejected.parent.mkdir(parents=True, exist_ok=True)
        rejected.write_bytes(der)
        raise TrustError(
            f"server '{server.name}': its certificate (SHA-256 {print_[:16]}...) is not trusted; compare it, then move "
            f"{rejected} to {self.folder / 'trusted'}, or run: lineside trust accept {print_[:16]}",
            detail=certificate.subject.rfc4514_string(),
        )


@dataclass(frozen=True, slots=True)
class Login:
    """Who the gateway is to a server. ``server_certificate`` is the one that may see the password, None any."""

    user: str | None = None
    password: str | None = None
    server_certificate: bytes | None = None


async def secure(client: Client, server: ServerSettings, pki: Pki) -> Login:
    """Set policy, mode and certificates on a client that has not connected yet, and say who logs in.

    The endpoint list is fetched over an unsecured channel; nothing secret is sent before the certificate is checked.

    Raises:
        TrustError: No endpoint offers exactly this policy and mode, the server's certificate is not trusted, or the
            password would go in plain text.
        SettingsError: The password file cannot be read.
    """
    client.application_uri = pki.application_uri
    client.name = client.description = f"lineside {pki.gateway_id}"
    security = server.security
    if security.user_certificate is not None and security.user_key is not None:
        await client.load_client_certificate(str(security.user_certificate))
        await client.load_private_key(security.user_key)
    if security.policy is SecurityPolicy.NONE and security.user is None:
        return Login()
    endpoint = await _endpoint(client, server)
    user, password = security.user, secret(security) if security.user is not None else None
    encrypts = _encrypts_password(endpoint)
    if password and not encrypts and not security.plaintext_password:
        raise TrustError(
            f"server '{server.name}' would be sent the password of '{user}' in plain text; set a security policy, or "
            "plaintext_password: true"
        )
    if security.policy is SecurityPolicy.NONE:
        if not password or security.plaintext_password:
            return Login(user, password)
        der = first_certificate(endpoint.ServerCertificate or b"", server.name)
        await asyncio.to_thread(pki.check, server, der)
        return Login(user, password, der)
    der = first_certificate(endpoint.ServerCertificate or b"", server.name)
    await asyncio.to_thread(pki.check, server, der)
    if security.certificate is not None and security.private_key is not None:
        certificate, key = security.certificate, security.private_key
        own = await asyncio.to_thread(load_certificate, certificate)
        client.application_uri = uri_of(own, client.application_uri)
    else:
        certificate, key = await asyncio.to_thread(pki.own)
    await client.set_security(
        _POLICIES[security.policy], certificate, key, server_certificate=uacrypto.CertProperties(der, "der"),
        mode=_MODES[security.effective_mode],
    )  # fmt: skip
    return Login(user, password)


async def _endpoint(client: Client, server: ServerSettings) -> ua.EndpointDescription:
    """The endpoint with exactly the policy and mode of the settings."""
    security = server.security
    uri = _NONE_URI if security.policy is SecurityPolicy.NONE else str(_POLICIES[security.policy].URI)
    mode = _MODES.get(security.effective_mode, ua.MessageSecurityMode.None_)
    asking = Client(client.server_url.geturl(), timeout=server.request_timeout_s)
    offered = await asking.connect_and_get_server_endpoints()
    endpoint = next((e for e in offered if (e.SecurityMode, e.SecurityPolicyUri) == (mode, uri)), None)
    if endpoint is None:
        names = ", ".join(
            sorted({f"{str(e.SecurityPolicyUri).partition('#')[2]}/{e.SecurityMode.name.rstrip('_')}" for e in offered})
        )
        raise TrustError(
            f"server '{server.name}' does not offer {security.policy}/{security.effective_mode}; it offers {names}; "
            "set security to one of these"
        )
    return endpoint


def _encrypts_password(endpoint: ua.EndpointDescription) -> bool:
    """Whether a password is unreadable on the way: the token is encrypted (Part 4, 7.41), or the channel is."""
    if endpoint.SecurityMode is ua.MessageSecurityMode.SignAndEncrypt:
        return True
    tokens = [t for t in endpoint.UserIdentityTokens or () if t.TokenType == ua.UserTokenType.UserName]
    return bool(tokens) and (tokens[0].SecurityPolicyUri or endpoint.SecurityPolicyUri) != _NONE_URI


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
