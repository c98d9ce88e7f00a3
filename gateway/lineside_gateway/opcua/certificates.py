"""X.509 certificates as OPC UA uses them: read from files and chains, who vouches for whom, the URI they name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from asyncua.crypto import uacrypto
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization

from lineside_gateway.errors import TrustError

MAX_CHAIN = 8
"""Certificates from a server's own up to a trusted one."""
_SUFFIXES = {".der", ".pem", ".crt", ".cer"}


def der_of(file: Path) -> bytes:
    """A certificate file, DER or PEM, as DER.

    Raises:
        TrustError: There is no such file, or it is not a certificate.
    """
    if not file.is_file():
        raise TrustError(f"certificate {file} does not exist; give the path of a DER or PEM file")
    return load_certificate(file).public_bytes(serialization.Encoding.DER)


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
    return [load_certificate(f) for f in certificate_files(places)]


def certificate_files(places: Iterable[Path]) -> list[Path]:
    """Files of certificates at ``places``; keys beside them are left out."""
    files: list[Path] = []
    for place in places:
        files += sorted(place.iterdir()) if place.is_dir() else [place] if place.is_file() else []
    return [f for f in files if f.suffix.lower() in _SUFFIXES and b"PRIVATE KEY" not in f.read_bytes()]


def load_certificate(file: Path) -> x509.Certificate:
    """A certificate, DER or PEM.

    Raises:
        TrustError: It is none.
    """
    data = file.read_bytes()
    try:
        return (
            x509.load_pem_x509_certificate(data) if data.startswith(b"-----") else x509.load_der_x509_certificate(data)
        )
    except ValueError as e:
        raise TrustError(f"{file} is not a certificate: {e}; remove it or replace it by DER or PEM") from e


def is_trusted(
    certificate: x509.Certificate, trusted: Sequence[x509.Certificate], issuers: Sequence[x509.Certificate]
) -> bool:
    """Whether it is trusted itself, or a trusted CA stands at the end of its chain (OPC UA Part 4, 6.1.3)."""
    now, current = datetime.now(UTC), certificate
    for _ in range(MAX_CHAIN):
        if any(vouches(t, current) for t in trusted):
            return True
        above = next((i for i in issuers if i != current and vouches(i, current)), None)
        if above is None or not above.not_valid_before_utc <= now <= above.not_valid_after_utc:
            return False
        current = above
    return False


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


def uri_of(certificate: x509.Certificate, default: str) -> str:
    """The ApplicationUri that a certificate names (OPC UA Part 6, 6.2.2)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return default
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), default)
