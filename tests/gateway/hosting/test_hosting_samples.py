"""The bytes of hosted values."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from lineside_gateway.hosting import Sample
from lineside_gateway.hosting.samples import encode

NOW = datetime(2026, 1, 5, 7, 0, 0, 123456, tzinfo=UTC)
VALUES = [
    (True, ua.VariantType.Boolean),
    (-7, ua.VariantType.Int32),
    (7, ua.VariantType.UInt32),
    (2**60, ua.VariantType.UInt64),
    (1.5, ua.VariantType.Double),
    (math.inf, ua.VariantType.Double),
    ("größer", ua.VariantType.String),
    (None, ua.VariantType.String),
    (NOW, ua.VariantType.DateTime),
    (b"\x00\x01", ua.VariantType.ByteString),
    (None, ua.VariantType.Null),
    ([1.0, 2.0], ua.VariantType.Double),
    (ua.LocalizedText("hi"), ua.VariantType.LocalizedText),
    (UUID(int=5), ua.VariantType.Guid),
    (2.5, ua.VariantType.Float),
]


@pytest.mark.parametrize(("value", "kind"), VALUES)
@pytest.mark.parametrize("times", [(None, None), (NOW, None), (None, NOW), (NOW, NOW + timedelta(seconds=1))])
def test_bytes_are_those_of_asyncua(
    value: object, kind: ua.VariantType, times: tuple[datetime | None, datetime | None]
) -> None:
    """The short encoder writes byte for byte what asyncua's writes, for every type and either timestamp."""
    plain = ua.DataValue(ua.Variant(value, kind), ua.StatusCode(0x408F0000), *times)
    assert encode(plain) == struct_to_binary(plain)
    assert Sample.of(plain).encoded == struct_to_binary(plain)


def test_picoseconds_stand_beside_their_timestamp() -> None:
    """Picoseconds follow their own timestamp as OPC UA Part 6 orders, where asyncua puts both at the end."""
    value = ua.DataValue(ua.Variant(1, ua.VariantType.Int32), ua.StatusCode(), NOW, NOW, 1, 2)
    wire = encode(value)
    assert wire[0] == 0x3F
    assert wire[18:20] == b"\x01\x00"
    assert wire[28:30] == b"\x02\x00"


def test_a_value_of_a_wrong_type_is_named() -> None:
    """A value that does not fit its variant type is an error that says which."""
    with pytest.raises(ua.UaError, match=r"Cannot pack VariantType\.Int32 with value 'x'"):
        encode(ua.DataValue(ua.Variant("x", ua.VariantType.Int32)))
