"""Message chunks under symmetric keys: sealed, and verified and opened without copying more than once.

Speaks HMAC-SHA256 with AES-CBC itself, which all policies from Basic256Sha256 on use; any other goes through
asyncua's own cryptography. The objects of one token are made once and used again.
Source: OPC UA Part 6, 6.7.2 (layout of a chunk, padding), 6.7.7 (verification).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from asyncua.crypto.security_policies import (
    Cryptography,
    DecryptorAesCbc,
    EncryptorAesCbc,
    SignerHMac256,
    VerifierHMac256,
)
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from lineside_gateway.opcua.wire.errors import WireError
from lineside_gateway.opcua.wire.extents import Bytes

SIGNATURE = 32
"""Bytes of HMAC-SHA256."""
BLOCK = 16
"""Bytes of an AES block."""
HEADER = 16
"""Message header with channel id, and token id: signed, never encrypted."""
CHUNK_HEADER = struct.Struct("<3scIII")
"""Message type, chunk type, size, channel id, token id."""
SEQUENCE_HEADER = struct.Struct("<II")
"""Sequence number, request id."""
_PADDING = tuple(bytes([n]) * (n + 1) for n in range(256))
"""PaddingSize and padding, by size."""


@dataclass(frozen=True, slots=True)
class _Opening:
    """What opens chunks of one token; asyncua makes new objects for each token."""

    verifier: object
    decryptor: object
    mac: HMAC
    context: CipherContext | None
    """None where chunks are signed only."""
    vector: bytes


@dataclass(frozen=True, slots=True)
class _Sealing:
    """What seals chunks of one token."""

    signer: object
    encryptor: object
    mac: HMAC
    cipher: Cipher[modes.CBC] | None
    """None where chunks are signed only."""


class Opener:
    """Opens the symmetric chunks of one connection."""

    def __init__(self, size: int) -> None:
        """``size`` is the longest chunk in bytes."""
        self._plain = bytearray(size + BLOCK)
        self._view = memoryview(self._plain)
        self._scrap = bytearray(2 * BLOCK)
        self._keys: _Opening | None = None

    def open(self, crypto: Cryptography, buf: bytearray, at: int, end: int) -> tuple[Bytes, int, int]:
        """Buffer, start and end of what the chunk from ``at`` to ``end`` holds, from its SequenceHeader on.

        Valid until the next call.

        Raises:
            InvalidSignature: It was not sealed with the present token's keys, or changed on its way.
            WireError: Its size or its padding is wrong.
        """
        keys = self._of(crypto)
        if keys is None:
            return self.open_by_library(crypto, buf, at, end)
        plain, start, size = buf, at, end - at
        if size < HEADER + SEQUENCE_HEADER.size + SIGNATURE:
            raise WireError(f"signed chunk of {size} bytes")
        if keys.context is not None:
            if (size - HEADER) % BLOCK:
                raise WireError(f"encrypted chunk of {size} bytes; {HEADER} and a whole number of {BLOCK} are needed")
            self._decrypt(keys, keys.context, buf, at, end)
            plain, start = self._plain, 0
        upto = start + size - SIGNATURE
        view = memoryview(plain)
        mac = keys.mac.copy()
        mac.update(view[start:upto])
        mac.verify(bytes(view[upto : upto + SIGNATURE]))  # in constant time
        if keys.context is not None:
            upto -= _padding(plain, start + HEADER, upto)
        return plain, start + HEADER, upto

    def _decrypt(self, keys: _Opening, context: CipherContext, buf: bytearray, at: int, end: int) -> None:
        """Header and decrypted rest of a chunk into ``_plain``."""
        # In CBC a block is chained to the ciphertext before it: the vector, sent through, begins a chunk anew.
        context.update_into(keys.vector, self._scrap)
        self._plain[:HEADER] = buf[at : at + HEADER]
        context.update_into(memoryview(buf)[at + HEADER : end], self._view[HEADER:])

    def _of(self, crypto: Cryptography) -> _Opening | None:
        """Keys of the present token, None where asyncua has to do the work."""
        verifier, decryptor = crypto.Verifier, crypto.Decryptor
        keys = self._keys
        if keys is not None and keys.verifier is verifier and keys.decryptor is decryptor:
            return keys
        if not isinstance(verifier, VerifierHMac256):
            return None
        context, vector = None, b""
        if crypto.is_encrypted:
            if not isinstance(decryptor, DecryptorAesCbc):
                return None
            context, vector = decryptor.cipher.decryptor(), bytes(decryptor.cipher.mode.initialization_vector)
        self._keys = _Opening(verifier, decryptor, HMAC(verifier.key, SHA256()), context, vector)
        return self._keys

    def open_by_library(self, crypto: Cryptography, buf: bytearray, at: int, end: int) -> tuple[Bytes, int, int]:
        """As ``open``, through asyncua, which also keeps the key of the token before."""
        # asyncua's cryptography has no annotations.
        opened = bytes(crypto.decrypt(bytes(buf[at + HEADER : end])))  # type: ignore[no-untyped-call]
        size = int(crypto.vsignature_size())  # type: ignore[no-untyped-call]
        if len(opened) < SEQUENCE_HEADER.size + size:
            raise WireError(f"signed chunk of {end - at} bytes")
        if size:
            opened, signature = opened[:-size], opened[-size:]
            crypto.verify(bytes(buf[at : at + HEADER]) + opened, signature)  # type: ignore[no-untyped-call]
        return opened, 0, len(opened) - (_padding(opened, 0, len(opened)) if crypto.is_encrypted else 0)


class Sealer:
    """Seals the short requests of one connection, each in one chunk."""

    def __init__(self) -> None:
        self._keys: _Sealing | None = None

    def seal(self, crypto: Cryptography, channel: int, token: int, sequence: bytes, body: bytes) -> bytes | None:
        """The chunk of a request with SequenceHeader ``sequence``; None where asyncua has to make it."""
        keys = self._of(crypto)
        if keys is None:
            return None
        content = sequence + body
        if keys.cipher is not None:
            content += _PADDING[-(len(content) + 1 + SIGNATURE) % BLOCK]
        head = CHUNK_HEADER.pack(b"MSG", b"F", HEADER + len(content) + SIGNATURE, channel, token)
        mac = keys.mac.copy()
        mac.update(head + content)
        content += mac.finalize()
        return head + (content if keys.cipher is None else keys.cipher.encryptor().update(content))

    def _of(self, crypto: Cryptography) -> _Sealing | None:
        """Keys of the present token, None for what is spoken by asyncua only."""
        signer, encryptor = crypto.Signer, crypto.Encryptor
        keys = self._keys
        if keys is not None and keys.signer is signer and keys.encryptor is encryptor:
            return keys
        if not isinstance(signer, SignerHMac256):
            return None
        cipher = None
        if crypto.is_encrypted:
            if not isinstance(encryptor, EncryptorAesCbc):
                return None
            cipher = encryptor.cipher
        self._keys = _Sealing(signer, encryptor, HMAC(signer.key, SHA256()), cipher)
        return self._keys


def _padding(plain: Bytes, start: int, upto: int) -> int:
    """Bytes of padding that end at ``upto``, PaddingSize among them; what is padded begins at ``start``.

    Raises:
        WireError: They reach into the SequenceHeader, or one of them is not PaddingSize.
    """
    count = plain[upto - 1] + 1
    if upto - count < start + SEQUENCE_HEADER.size or plain[upto - count : upto] != _PADDING[count - 1]:
        raise WireError("a chunk's padding is not what its size says")
    return count
