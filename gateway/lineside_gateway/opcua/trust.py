"""The trust list: certificates of servers that were refused, accepted ones, issuers, and how they change places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from lineside_gateway.errors import TrustError
from lineside_gateway.opcua.certificates import certificate_files, load_certificate, uri_of
from lineside_gateway.opcua.security import Pki

SHORTEST_PREFIX = 6
"""Characters of a fingerprint that name a certificate at least."""


class Standing(StrEnum):
    """Folders of the PKI (OPC UA Part 12, 7.8.2: trusted and issuer certificates of a TrustList)."""

    OWN = "own"
    TRUSTED = "trusted"
    REJECTED = "rejected"
    ISSUERS = "issuers"


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate in the PKI."""

    standing: Standing
    file: Path
    fingerprint: str
    """SHA-256, hexadecimal; what to compare with the server's own display."""
    subject: str
    application_uri: str
    valid_until: datetime

    def is_named(self, name: str) -> bool:
        """Whether ``name`` is its file name, or the beginning of its fingerprint."""
        prefix = name.lower().replace(":", "")
        return name in {self.file.name, self.file.stem} or (
            len(prefix) >= SHORTEST_PREFIX and self.fingerprint.startswith(prefix)
        )


def entries(pki: Pki, standing: Standing | None = None) -> list[Entry]:
    """Certificates of the PKI, of one standing or of all.

    Raises:
        TrustError: A file is no certificate.
    """
    out: list[Entry] = []
    for s in Standing if standing is None else (standing,):
        for file in certificate_files([pki.folder / s]):
            certificate = load_certificate(file)
            out.append(
                Entry(
                    s, file, certificate.fingerprint(hashes.SHA256()).hex(), _subject(certificate),
                    uri_of(certificate, ""), certificate.not_valid_after_utc,
                )
            )  # fmt: skip
    return out


def accept(pki: Pki, name: str) -> Entry:
    """Trust a certificate that was refused: the next connection uses it.

    Raises:
        TrustError: No refused certificate, or more than one, is named so.
    """
    return _move(pki, name, Standing.REJECTED, Standing.TRUSTED)


def reject(pki: Pki, name: str) -> Entry:
    """Trust a certificate no longer; a session that stands is not ended.

    Raises:
        TrustError: No trusted certificate, or more than one, is named so.
    """
    return _move(pki, name, Standing.TRUSTED, Standing.REJECTED)


def _move(pki: Pki, name: str, from_: Standing, to: Standing) -> Entry:
    there = entries(pki, from_)
    found = [e for e in there if e.is_named(name)]
    if len({e.fingerprint for e in found}) != 1:
        raise TrustError(_which(pki, name, from_, there, found))
    (pki.folder / to).mkdir(parents=True, exist_ok=True)
    for entry in found:
        entry.file.replace(pki.folder / to / entry.file.name)
    return found[0]


def _which(pki: Pki, name: str, standing: Standing, there: Sequence[Entry], found: Sequence[Entry]) -> str:
    if found:
        return f"'{name}' names {len(found)} certificates; give more of the fingerprint"
    names = ", ".join(f"{e.file.name} ({e.fingerprint[:16]})" for e in there) or "none"
    return f"no certificate '{name}' in {pki.folder / standing}; there: {names}"


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
