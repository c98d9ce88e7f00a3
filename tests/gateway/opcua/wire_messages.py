"""Publish responses as a server would encode them, of all built-in types, masks and layouts."""

from __future__ import annotations

import random
import struct
import uuid
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import variant_to_binary
from hypothesis import strategies as st

from lineside_gateway.opcua.wire import Published
from lineside_gateway.opcua.wire.columns import ChangeDecoder
from lineside_gateway.opcua.wire.messages import published

NOW = 134_123_456_789_012_345  # ticks of 100 ns since 1601, in 2026
UNSET_CLOCK = 1_000_000_000
EPOCH_US = 11_644_473_600_000_000
NUMBERS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
PUBLISH_HEAD = struct.pack("<BBHqIIBiBBB", 1, 0, 829, NOW, 7, 0, 0, -1, 0, 0, 0)
STATUSES = (0, 0x480, 0x4092_0000, 0x8005_0000)


@dataclass(frozen=True)
class Sent:
    """One item as encoded: what the decoder has to find again."""

    handle: int
    mask: int
    variant: bytes
    status: int
    source: int
    server: int

    def encoded(self) -> bytes:
        """Fields in the order of OPC UA Part 6, 5.2.2.17."""
        out = struct.pack("<IB", self.handle, self.mask) + (self.variant if self.mask & 1 else b"")
        for bit, form, value in (
            (2, "<I", self.status), (4, "<q", self.source), (16, "<H", 4321), (8, "<q", self.server), (32, "<H", 9876),
        ):  # fmt: skip
            out += struct.pack(form, value) if self.mask & bit else b""
        return out

    @property
    def number(self) -> float | int | None:
        """The number in it, NaN without a value, None where it holds none."""
        if not self.mask & 1 or self.variant == b"\0":
            return float("nan")
        form = NUMBERS.get(self.variant[0])
        return None if form is None else struct.unpack("<" + form, self.variant[1:])[0]

    @property
    def time_us(self) -> int | None:
        """SourceTimestamp, else ServerTimestamp; None where the wall clock has to serve."""
        for bit, ticks in ((4, self.source), (8, self.server)):
            if self.mask & bit and ticks != UNSET_CLOCK:
                return ticks // 10 - EPOCH_US
        return None


def variant(kind: int, rng: random.Random) -> bytes:
    """A Variant of built-in type ``kind`` as asyncua encodes it; 0 is null, 100 and above arrays of the same types."""
    if kind == 0:
        return b"\0"
    if kind in NUMBERS:
        size = struct.calcsize(NUMBERS[kind])
        raw = rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size))
        return bytes([kind]) + (bytes([raw[0] & 1]) if kind == 1 else raw)
    base, array = (kind - 100, True) if kind >= 100 else (kind, False)
    values = [_value(base, rng) for _ in range(rng.choice((0, 1, 2, 6)) if array else 1)]
    dimensions = [2, 3] if len(values) == 6 and base < 23 and rng.random() < 0.5 else None
    return variant_to_binary(
        ua.Variant(values if array else values[0], ua.VariantType(base), dimensions, is_array=array)
    )


def _value(kind: int, rng: random.Random) -> Any:
    text = "".join(rng.choices("aäß漢 ", k=rng.randrange(6)))
    makers: dict[int, Any] = {
        12: lambda: rng.choice((None, "", text)),
        13: lambda: ua.uatypes.win_epoch_to_datetime(NOW + rng.randrange(10**12)),
        14: lambda: uuid.UUID(bytes=rng.randbytes(16)),
        15: lambda: rng.choice((None, b"", rng.randbytes(9))),
        17: lambda: rng.choice((ua.NodeId(5), ua.NodeId(300, 2), ua.NodeId(text, 1), ua.NodeId(b"ab", 3))),
        18: lambda: ua.ExpandedNodeId(7, 1, NamespaceUri="urn:x", ServerIndex=3),
        19: lambda: ua.StatusCode(ua.UInt32(rng.choice(STATUSES))),
        20: lambda: ua.QualifiedName(text, 3),
        21: lambda: ua.LocalizedText(text, rng.choice((None, "en"))),
        22: lambda: rng.choice((ua.Range(1.0, 2.0), ua.EUInformation(DisplayName=ua.LocalizedText(text)))),
        23: lambda: ua.DataValue(ua.Variant(rng.random(), ua.VariantType.Double)),
        24: lambda: ua.Variant(rng.random(), ua.VariantType.Double),
    }
    if kind in NUMBERS:
        return struct.unpack("<" + NUMBERS[kind], variant(kind, rng)[1:])[0]
    return makers[kind]()


SCALARS = (*NUMBERS, 0, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23)
ARRAYS = tuple(100 + k for k in (*NUMBERS, 12, 13, 15, 17, 19, 20, 21, 22, 23, 24))


def item(handle: int, kind: int, mask: int, rng: random.Random) -> Sent:
    return Sent(
        handle,
        mask,
        variant(kind, rng),
        rng.choice(STATUSES) if mask & 2 else 0,
        rng.choice((NOW + rng.randrange(10**9), NOW, UNSET_CLOCK)),
        NOW - 7_000_000 + rng.randrange(10**6),
    )


def change(items: list[Sent], diagnostics: int = -1) -> bytes:
    body = struct.pack("<i", len(items)) + b"".join(i.encoded() for i in items)
    body += struct.pack("<i", diagnostics) + (b"\x01\x05\0\0\0" * max(diagnostics, 0))
    return struct.pack("<BBHBi", 1, 0, 811, 1, len(body)) + body


def response(notifications: list[bytes], number_: int = 42, more: bool = False) -> bytes:
    head = PUBLISH_HEAD + struct.pack("<Iii", 3, 2, 41) + struct.pack("<I", 42) + struct.pack("<?", more)
    body = struct.pack("<Iqi", number_, NOW, len(notifications)) + b"".join(notifications)
    return head + body + struct.pack("<iIi", 1, 0, -1)


@st.composite
def messages(draw: Any) -> tuple[list[list[Sent]], int]:
    """Notifications of one form, of repeated mixtures of forms, or of everything; and the diagnostics in each."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    style = draw(st.sampled_from(("uniform", "numbers", "everything")))
    kinds = SCALARS + ARRAYS if style == "everything" else (*NUMBERS, 0)
    found: list[list[Sent]] = []
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        count = draw(st.sampled_from((0, 1, 2, 17, 60)))
        if style == "uniform":
            kind, mask = draw(st.sampled_from(kinds)), draw(st.integers(0, 63))
            found.append([item(rng.randrange(1000), kind, mask, rng) for _ in range(count)])
        else:
            found.append([item(rng.randrange(1000), rng.choice(kinds), rng.randrange(64), rng) for _ in range(count)])
    return found, draw(st.sampled_from((-1, -1, 0, 2)))


def decode(body: bytes, decoder: ChangeDecoder | None = None) -> Published:
    around = bytearray(b"\xee" * 9 + body + b"\xee" * 40)  # what lies around a message must not matter
    return published(around, 9, 9 + len(body), decoder or ChangeDecoder())
