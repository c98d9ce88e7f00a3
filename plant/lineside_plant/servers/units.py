"""Data types and engineering units of the tag catalogue, as OPC UA names them.

Units follow OPC UA Part 8, 5.6.3: UNECE Recommendation 20 common codes, and a UnitId made of the code's characters.
"""

from __future__ import annotations

from asyncua import ua

from lineside_plant.tags import TagType

UNECE_URI = "http://www.opcfoundation.org/UA/units/un/cefact"

VARIANT_TYPES = {
    TagType.BOOLEAN: ua.VariantType.Boolean,
    TagType.INT32: ua.VariantType.Int32,
    TagType.UINT32: ua.VariantType.UInt32,
    TagType.DOUBLE: ua.VariantType.Double,
    TagType.FLOAT_ARRAY: ua.VariantType.Float,
    TagType.STRING: ua.VariantType.String,
    TagType.BYTE_STRING: ua.VariantType.ByteString,
}

_UNECE = {
    "kW": ("KWT", "kilowatt"),
    "degC": ("CEL", "degree Celsius"),
    "mm/s": ("C16", "millimetre per second"),
    "kWh": ("KWH", "kilowatt hour"),
    "s": ("SEC", "second"),
    "um": ("4H", "micrometre"),
    "kN": ("B47", "kilonewton"),
    "": ("C62", "one"),
}


def unit_information(symbol: str) -> ua.EUInformation:
    """The EUInformation structure of the unit operators read as ``symbol``; an empty symbol is dimension one."""
    code, name = _UNECE[symbol]
    unit_id = int.from_bytes(code.encode("ascii"), "big")
    return ua.EUInformation(
        ua.String(UNECE_URI), ua.Int32(unit_id), ua.LocalizedText(symbol or "1"), ua.LocalizedText(name)
    )
