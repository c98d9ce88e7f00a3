"""The tags of a PLC: data types, engineering units, ranges and who may write them.

Units follow OPC UA Part 8, 5.6.3: UNECE Recommendation 20 common codes, and a UnitId made of the code's characters.
"""

from __future__ import annotations

from dataclasses import dataclass

from asyncua import ua

from lineside_plant.spec import MILLS, PRESS, SPEED_HIGH, SPEED_LOW

UNECE_URI = "http://www.opcfoundation.org/UA/units/un/cefact"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure: UNECE common code, the symbol operators read, its name."""

    code: str
    symbol: str
    name: str

    @property
    def information(self) -> ua.EUInformation:
        """The OPC UA EUInformation structure of the unit."""
        unit_id = int.from_bytes(self.code.encode("ascii"), "big")
        return ua.EUInformation(UNECE_URI, unit_id, ua.LocalizedText(self.symbol), ua.LocalizedText(self.name))


KILOWATT = Unit("KWT", "kW", "kilowatt")
CELSIUS = Unit("CEL", "degC", "degree Celsius")
MILLIMETRE_PER_SECOND = Unit("C16", "mm/s", "millimetre per second")
KILOWATT_HOUR = Unit("KWH", "kWh", "kilowatt hour")
SECOND = Unit("SEC", "s", "second")
MICROMETRE = Unit("4H", "um", "micrometre")
KILONEWTON = Unit("B47", "kN", "kilonewton")
ONE = Unit("C62", "1", "one")


@dataclass(frozen=True, slots=True)
class Tag:
    """One Variable of a PLC. ``unit`` and ``limits`` (EURange) make it an analog item; ``array`` a vector."""

    name: str
    data_type: ua.VariantType
    initial: object
    description: str
    unit: Unit | None = None
    limits: tuple[float, float] | None = None
    writable: bool = False
    array: bool = False


_DOUBLE, _UINT32, _INT32 = ua.VariantType.Double, ua.VariantType.UInt32, ua.VariantType.Int32
_STRING, _BOOLEAN = ua.VariantType.String, ua.VariantType.Boolean

SPEED_LIMITS = (SPEED_LOW, SPEED_HIGH)
TOOL_OFFSET_LIMITS_UM = (-500.0, 500.0)

_CYCLIC = (
    Tag(
        "State",
        _INT32,
        0,
        "0 starved, 1 running, 2 setup, 3 blocked, 4 tripped, 5 failed, 6 maintenance, 7 tool change",
    ),
    Tag("SpindlePower", _DOUBLE, 0.0, "Electrical power of the spindle drive", KILOWATT, (0.0, 60.0)),
    Tag("SpindleTemp", _DOUBLE, 20.0, "Temperature of the spindle bearing", CELSIUS, (0.0, 150.0)),
    Tag("VibRms", _DOUBLE, 0.0, "Vibration velocity, RMS over one second", MILLIMETRE_PER_SECOND, (0.0, 100.0)),
    Tag("VibKurtosis", _DOUBLE, 3.0, "Kurtosis of the vibration signal", ONE, (0.0, 100.0)),
    Tag("Energy", _DOUBLE, 0.0, "Energy counter", KILOWATT_HOUR, (0.0, 1e6)),
    Tag("PlantTime", _DOUBLE, 0.0, "Plant time; written last in each second", SECOND, (0.0, 1e9)),
    Tag("Heartbeat", _UINT32, 0, "Counts the PLC's seconds"),
)
_ON_CHANGE = (
    Tag("PartCount", _UINT32, 0, "Parts completed"),
    Tag("SerialNo", _STRING, "", "Serial number of the part just completed; written after all other tags of the part"),
    Tag("CycleTime", _DOUBLE, 0.0, "Time from start to end of the part just completed", SECOND, (0.0, 3600.0)),
    Tag("ActiveFamily", _INT32, -1, "Product family in work, -1 none"),
    Tag("MaintenanceTaken", _UINT32, 0, "Remote maintenance requests carried out"),
    Tag("RejectsTaken", _UINT32, 0, "Reject flags that reached their part in time"),
    Tag("RejectsRefused", _UINT32, 0, "Reject flags whose part had already left or was never made"),
    Tag("LastRejectedSerialNo", _STRING, "", "Serial number of the last reject flag taken"),
)
_WRITABLE = (
    Tag(
        "MaintenanceRequest",
        _BOOLEAN,
        False,
        "Write True to ask for maintenance; falls back when taken",
        None,
        None,
        True,
    ),
    Tag(
        "RejectSerialNo", _STRING, "", "Serial number that the next rising edge of RejectFlag rejects", None, None, True
    ),
    Tag("RejectFlag", _BOOLEAN, False, "A rising edge rejects RejectSerialNo; falls back by itself", None, None, True),
)
_MILL = (
    Tag("ToolCount", _UINT32, 0, "Parts made with the present tool"),
    Tag("SpeedOverride", _DOUBLE, 1.0, "Cutting speed factor; clamped to its range", ONE, SPEED_LIMITS, True),
    Tag("ToolOffset", _DOUBLE, 0.0, "Tool length compensation; clamped", MICROMETRE, TOOL_OFFSET_LIMITS_UM, True),
)
_PRESS = (
    Tag(
        "ForceCurve",
        ua.VariantType.Float,
        [0.0] * 256,
        "Press force over the stroke of the part just pressed",
        KILONEWTON,
        (0.0, 1000.0),
        array=True,
    ),
)
_GRINDER = (Tag("SurfaceImage", ua.VariantType.ByteString, b"", "Ground surface of the part, 128x128 grey, PNG"),)


def tags_of(machine: str) -> tuple[Tag, ...]:
    """Every tag that the PLC of ``machine`` shows, in browse order."""
    special = _MILL if machine in MILLS else _PRESS if machine == PRESS else _GRINDER
    return (*_CYCLIC, *_ON_CHANGE, *special, *_WRITABLE)
