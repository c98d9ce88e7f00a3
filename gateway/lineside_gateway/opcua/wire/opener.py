"""Message chunks under a symmetric key: verified and decrypted without copying more than once.

Speaks HMAC-SHA256 with AES-CBC itself, which all policies from Basic256Sha256 on use; any other goes through
asyncua's own cryptography. Source: OPC UA Part 6, 6.7.2 (layout of a chunk), 6.7.7 (verification).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from asyncua.crypto.security_policies import Cryptography, DecryptorAesCbc, VerifierHMac256
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from lineside_gateway.opcua.wire.errors import WireError

SIGNATURE = 32
"""Bytes of HMAC-SHA256."""
BLOCK = 16
"""Bytes of an AES block."""
HEADER = 16
"""Message header with channel id, and token id: signed, never encrypted."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens chunks of one token; asyncua makes new objects for each token."""

    verifier: object
    decryptor: object
    mac: hmac.HMAC
    cipher: Cipher[modes.CBC] | None
    """None where chunks are signed only."""


class Opener:
    """Opens the symmetric chunks of one connection."""

    def __init__(self, size: int) -> None:
        """``size`` is the longest chunk in bytes."""
        self._plain = bytearray(size + BLOCK)
        self._keys: Keys | None = None

    def open(self, crypto: Cryptography, buf: bytearray, at: int, end: int) -> tuple[bytearray | bytes, int, int]:
        """Buffer, start and end of what the chunk from ``at`` to ``end`` holds, from its SequenceHeader on.

        Valid until the next call.

        Raises:
            WireError: The signature or the padding is wrong.
        """
        keys = self._of(crypto)
        if keys is None:
            return self.open_by_library(crypto, buf, at, end)
        head = memoryview(buf)[at : at + HEADER]
        body = memoryview(buf)[at + HEADER : end]
        plain, size = buf, len(body)
        start = at + HEADER
        if keys.cipher is not None:
            if size % BLOCK:
                raise WireError(f"encrypted chunk of {size} bytes; a whole number of {BLOCK} is needed")
            keys.cipher.decryptor().update_into(body, self._plain)
            plain, start = self._plain, 0
        upto = start + size - SIGNATURE
        if upto <= start:
            raise WireError(f"signed chunk of {size} bytes")
        view = memoryview(plain)
        mac = keys.mac.copy()
        mac.update(head)
        mac.update(view[start:upto])
        if not hmac.compare_digest(mac.digest(), bytes(view[upto : upto + SIGNATURE])):
            raise InvalidSignature
        if keys.cipher is not None:
            upto -= plain[upto - 1] + 1
        if upto < start:
            raise WireError("padding longer than its chunk")
        return plain, start, upto

    def _of(self, crypto: Cryptography) -> Keys | None:
        """Keys of the present token, None where asyncua has to do the work."""
        verifier, decryptor = crypto.Verifier, crypto.Decryptor
        keys = self._keys
        if keys is not None and keys.verifier is verifier and keys.decryptor is decryptor:
            return keys
        if not isinstance(verifier, VerifierHMac256):
            return None
        cipher = None
        if crypto.is_encrypted:
            if not isinstance(decryptor, DecryptorAesCbc):
                return None
            cipher = decryptor.cipher
        self._keys = Keys(verifier, decryptor, hmac.new(verifier.key, digestmod="sha256"), cipher)
        return self._keys

    def open_by_library(self, crypto: Cryptography, buf: bytearray, at: int, end: int) -> tuple[bytes, int, int]:
        """As ``open``, through asyncua, which also keeps the key of the token before."""
        # asyncua's cryptography has no annotations.
        opened = bytes(crypto.decrypt(bytes(buf[at + HEADER : end])))  # type: ignore[no-untyped-call]
        size = int(crypto.vsignature_size())  # type: ignore[no-untyped-call]
        if size:
            opened, signature = opened[:-size], opened[-size:]
            crypto.verify(bytes(buf[at : at + HEADER]) + opened, signature)  # type: ignore[no-untyped-call]
        opened = bytes(crypto.remove_padding(opened))  # type: ignore[no-untyped-call]
        return opened, 0, len(opened)
