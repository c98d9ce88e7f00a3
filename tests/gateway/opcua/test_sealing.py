"""Chunks under symmetric keys: as asyncua makes and reads them, and never what was changed on its way."""

from __future__ import annotations

import random
import struct

import pytest
from asyncua import ua
from asyncua.common.connection import MessageChunk
from asyncua.common.utils import Buffer
from asyncua.crypto import security_policies
from asyncua.crypto.security_policies import Cryptography
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from lineside_gateway.opcua.wire import WireError
from lineside_gateway.opcua.wire.sealing import Opener, Sealer

CHANNEL, TOKEN, NUMBER, REQUEST = 7, 13, 41, 9
SIGN, ENCRYPT = ua.MessageSecurityMode.Sign, ua.MessageSecurityMode.SignAndEncrypt
MODES = pytest.mark.parametrize("mode", [SIGN, ENCRYPT])
MAC_KEY, KEY, VECTOR = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 80))
SIZE = 1 << 17


class Policy:
    """What asyncua asks of a security policy to read a chunk."""

    def __init__(self, mode: ua.MessageSecurityMode, signature: str = "HMac256") -> None:
        made = Cryptography(mode)
        key = MAC_KEY if signature == "HMac256" else MAC_KEY[:16]
        made.Signer = getattr(security_policies, f"Signer{signature}")(key)
        made.Verifier = getattr(security_policies, f"Verifier{signature}")(key)
        made.Encryptor = security_policies.EncryptorAesCbc(KEY, VECTOR)
        made.Decryptor = security_policies.DecryptorAesCbc(KEY, VECTOR)
        self.symmetric_cryptography = made


def chunk_of(policy: Policy, body: bytes) -> bytearray:
    """A chunk as asyncua makes it."""
    chunk = MessageChunk(policy.symmetric_cryptography, body)
    chunk.MessageHeader.ChannelId, chunk.SecurityHeader.TokenId = CHANNEL, TOKEN
    chunk.SequenceHeader.SequenceNumber, chunk.SequenceHeader.RequestId = NUMBER, REQUEST
    return bytearray(chunk.to_binary())


def sealed_by_hand(content: bytes) -> bytearray:
    """A chunk with a right signature around ``content``, whatever its padding."""
    head = struct.pack("<3scIII", b"MSG", b"F", 16 + len(content) + 32, CHANNEL, TOKEN)
    mac = HMAC(MAC_KEY, SHA256())
    mac.update(head + content)
    return bytearray(head + Cipher(algorithms.AES(KEY), modes.CBC(VECTOR)).encryptor().update(content + mac.finalize()))


@MODES
@pytest.mark.parametrize("signature", ["HMac256", "AesCbc"])
def test_what_asyncua_seals_is_opened(mode, signature):
    """One after the other with the same objects, of all lengths, with a policy of ours and with one of asyncua's."""
    policy, opener = Policy(mode, signature), Opener(SIZE)
    for length in (*range(70), 8000, 65_000):
        body = random.Random(length).randbytes(length)
        chunk = chunk_of(policy, body)
        buf = bytearray(3) + chunk + bytes(5)
        plain, start, upto = opener.open(policy.symmetric_cryptography, buf, 3, 3 + len(chunk))
        assert bytes(plain[start:upto]) == struct.pack("<II", NUMBER, REQUEST) + body


@MODES
def test_what_is_sealed_asyncua_opens(mode):
    """All lengths of a request, one after the other with the same objects."""
    policy, sealer = Policy(mode), Sealer()
    for length in (*range(70), 4096):
        body, sequence = random.Random(length).randbytes(length), struct.pack("<II", NUMBER, REQUEST)
        sealed = sealer.seal(policy.symmetric_cryptography, CHANNEL, TOKEN, sequence, body)
        assert sealed is not None
        assert struct.unpack_from("<I", sealed, 4)[0] == len(sealed)
        found = MessageChunk.from_binary(policy, Buffer(sealed))
        assert (found.MessageHeader.ChannelId, found.SecurityHeader.TokenId) == (CHANNEL, TOKEN)
        assert (found.SequenceHeader.SequenceNumber, found.SequenceHeader.RequestId) == (NUMBER, REQUEST)
        assert bytes(found.Body) == body


def test_another_signature_is_left_to_asyncua():
    """HMAC-SHA1, of the policies that are no longer recommended, is not sealed here."""
    policy = Policy(ENCRYPT, "AesCbc")
    assert Sealer().seal(policy.symmetric_cryptography, CHANNEL, TOKEN, bytes(8), b"") is None


@MODES
def test_no_changed_byte_is_taken(mode):
    """Each byte of a chunk is changed in turn, the header's too, and each time the chunk is refused."""
    policy, opener, rng = Policy(mode), Opener(SIZE), random.Random(1)
    chunk = chunk_of(policy, rng.randbytes(200))
    for at in range(len(chunk)):
        changed = bytearray(chunk)
        changed[at] ^= 1 << rng.randrange(8)
        with pytest.raises(InvalidSignature):
            opener.open(policy.symmetric_cryptography, changed, 0, len(changed))
    plain, start, upto = opener.open(policy.symmetric_cryptography, chunk, 0, len(chunk))
    assert upto - start == 208
    assert plain[start : start + 8] == struct.pack("<II", NUMBER, REQUEST)


@MODES
def test_no_piece_of_a_chunk_is_taken(mode):
    """A chunk that is cut short anywhere is refused."""
    policy, opener = Policy(mode), Opener(SIZE)
    chunk = chunk_of(policy, random.Random(2).randbytes(100))
    for end in range(16, len(chunk)):
        with pytest.raises((InvalidSignature, WireError)):
            opener.open(policy.symmetric_cryptography, chunk, 0, end)


@MODES
def test_keys_of_another_token_open_nothing(mode):
    """After new keys the old ones are not used any more."""
    policy, opener = Policy(mode), Opener(SIZE)
    crypto = policy.symmetric_cryptography
    chunk = chunk_of(policy, b"old")
    opener.open(crypto, bytearray(chunk), 0, len(chunk))
    crypto.Verifier = security_policies.VerifierHMac256(MAC_KEY[::-1])
    crypto.Decryptor = security_policies.DecryptorAesCbc(KEY[::-1], VECTOR)
    with pytest.raises(InvalidSignature):
        opener.open(crypto, chunk, 0, len(chunk))


def test_padding_that_is_wrong_is_refused_although_its_signature_is_right():
    """All bytes of the padding say its size, and it begins after the SequenceHeader."""
    opener, crypto = Opener(SIZE), Policy(ENCRYPT).symmetric_cryptography
    right = struct.pack("<II", NUMBER, REQUEST) + bytes([7]) * 8
    chunk = sealed_by_hand(right)
    plain, start, upto = opener.open(crypto, chunk, 0, len(chunk))
    assert plain[start:upto] == right[:8]
    for wrong in (bytes([6]) + bytes([7]) * 7, bytes([8]) * 8, bytes([255]) * 8):
        chunk = sealed_by_hand(right[:8] + wrong)
        with pytest.raises(WireError, match="padding"):
            opener.open(crypto, chunk, 0, len(chunk))
