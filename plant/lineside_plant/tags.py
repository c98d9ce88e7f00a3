"""The tag catalogue of the PLCs: which machine shows what, in which data type, unit and range."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lineside_plant.errors import CommandError
from lineside_plant.spec import GRINDERS, MACHINES, MILLS, PRESS, SPEED_HIGH, SPEED_LOW


class TagType(StrEnum):
    """OPC UA data types in use (Part 6 names)."""

    BOOLEAN = "Boolean"
    INT32 = "Int32"
    UINT32 = "UInt32"
    DOUBLE = "Double"
    FLOAT_ARRAY = "Float[]"
    STRING = "String"
    BYTE_STRING = "ByteString"


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag. ``low`` and ``high`` are its EURange, ``initial`` what it shows before anything happened.

    ``sampled`` tags come every second as columns, the others as changes.
    """

    name: str
    data_type: TagType
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    writable: bool = False
    sampled: bool = False
    initial: bool | int | float | str | bytes | tuple[float, ...] = 0
    machines: tuple[str, ...] = MACHINES


_SAMPLED = (
    Tag("State", TagType.INT32, "0 idle, 1 running, 2 setup, 3 blocked, 4 tripped, 5 failed, 6 planned maintenance, "
        "7 tool change", "", 0, 7, sampled=True),
    Tag("SpindlePower", TagType.DOUBLE, "Power of the main drive", "kW", 0, 40, sampled=True, initial=0.0),
    Tag("SpindleTemp", TagType.DOUBLE, "Temperature of the main bearing", "degC", -20, 150, sampled=True, initial=20.0),
    Tag("VibRms", TagType.DOUBLE, "RMS of the vibration velocity", "mm/s", 0, 100, sampled=True, initial=0.0),
    Tag("VibKurtosis", TagType.DOUBLE, "Kurtosis of the vibration", "", -10, 40, sampled=True, initial=3.0),
    Tag("Energy", TagType.DOUBLE, "Energy used since plant time 0", "kWh", 0, 1e7, sampled=True, initial=0.0),
    Tag("Heartbeat", TagType.UINT32, "Counts the seconds of plant time", sampled=True),
    Tag("PlantTime", TagType.DOUBLE, "Seconds since the plant's epoch; written last each second", "s", 0, 1e10,
        sampled=True, initial=0.0),
)  # fmt: skip
_ON_CHANGE = (
    Tag("ActiveFamily", TagType.INT32, "Family in the machine, -1 none", "", -1, 3, initial=-1),
    Tag("ForceCurve", TagType.FLOAT_ARRAY, "Press force over the stroke of the last part", "kN", 0, 1000,
        initial=(0.0,) * 256, machines=(PRESS,)),
    Tag("SurfaceImage", TagType.BYTE_STRING, "PNG, 128 x 128 grey, of the last ground surface", initial=b"",
        machines=GRINDERS),
    Tag("CycleTime", TagType.DOUBLE, "Processing time of the last part", "s", 0, 600, initial=0.0),
    Tag("ToolCount", TagType.UINT32, "Parts cut with the tool in the spindle", "", 0, 1000, machines=MILLS),
    Tag("PartCount", TagType.UINT32, "Parts completed since plant time 0", "", 0, 1e9),
    Tag("SerialNo", TagType.STRING, "Serial number of the part just completed", initial=""),
    Tag("MaintenanceTaken", TagType.UINT32, "Remote maintenance requests carried out", "", 0, 1e9),
    Tag("RejectsTaken", TagType.UINT32, "Remote rejects carried out", "", 0, 1e9),
    Tag("RejectsRefused", TagType.UINT32, "Remote rejects of a serial number that had left or is unknown", "", 0, 1e9),
    Tag("OffsetsTaken", TagType.UINT32, "Remote tool offsets carried out", "", 0, 1e9, machines=MILLS),
    Tag("AdviceFallback", TagType.BOOLEAN, "The PLC is on its own: the gateway's heartbeat has stopped or reads 0",
        initial=False),
    Tag("LastRejectedSerialNo", TagType.STRING, "Serial number of the last reject carried out", initial=""),
)  # fmt: skip
_WRITABLE = (
    Tag("SpeedOverride", TagType.DOUBLE, "Speed set-point of the spindle, clamped", "", SPEED_LOW, SPEED_HIGH,
        writable=True, initial=1.0, machines=MILLS),
    Tag("ToolOffset", TagType.DOUBLE, "Dimension compensation", "um", -200, 200, writable=True, initial=0.0,
        machines=MILLS),
    Tag("MaintenanceRequest", TagType.BOOLEAN, "Ask for maintenance at the next boundary; falls back when taken",
        writable=True, initial=False),
    Tag("RejectSerialNo", TagType.STRING, "Serial number to reject", writable=True, initial=""),
    Tag("RejectFlag", TagType.BOOLEAN, "Rising edge rejects RejectSerialNo; falls back", writable=True, initial=False),
    Tag("GatewayHeartbeat", TagType.UINT32, "Counted up by the gateway while all behind its advice lives, else 0",
        writable=True),
)  # fmt: skip

TAGS: tuple[Tag, ...] = (*_SAMPLED, *_ON_CHANGE, *_WRITABLE)
"""All tags, in the order a PLC writes them; PlantTime ends the sampled ones."""


def tags_of(machine: str) -> tuple[Tag, ...]:
    """The tags of ``machine``.

    Raises:
        CommandError: The plant has no such machine.
    """
    if machine not in MACHINES:
        raise CommandError(f"machine '{machine}' is not in the plant; it has {', '.join(MACHINES)}")
    return tuple(t for t in TAGS if machine in t.machines)
