"""The PLC's own logic: what becomes of a value that a client writes.

A write is judged when it arrives. Numbers are clamped to their range, a flag starts its action on the rising edge, and
at the next scan (one wall tick in real time, the next Advance in lock-step) flags whose work is done fall back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, TypeAlias

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.address_space import AddressSpace, AttributeService
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from lineside_plant.spec import MILLS
from lineside_plant.tags import TAGS

WriteValue: TypeAlias = float | bool | str
Judge: TypeAlias = Callable[[str, WriteValue], Awaitable[int]]

LIMITS = {
    tag.name: (tag.low, tag.high) for tag in TAGS if tag.writable and tag.low is not None and tag.high is not None
}
"""Numbers a client may write, and the range the PLC clamps them to."""
MAX_SERIAL_CHARS = 64
WATCHDOG_S = 12.0  # wall clock; two of the gateway's heartbeats of 6 s
OWN_SPEED = 1.0  # the speed factor of a mill that nobody advises
_SCAN_S = 2.0  # the plant takes a command at the next whole second


class _Request(Enum):
    """How far a maintenance request has come."""

    NONE = auto()
    ASKED = auto()
    TAKEN_UP = auto()


class Commands(Protocol):
    """What a PLC may ask of the plant; each command takes effect when the plant is next advanced."""

    def request_maintenance(self, machine: str) -> None:
        """Carry out maintenance at the next boundary."""

    def reject(self, machine: str, serial_no: str) -> bool:
        """Send the part to the bench; False if it has already left or was never made."""

    def set_speed(self, machine: str, speed: float) -> None:
        """Set the cutting speed factor of a mill."""

    def set_tool_offset(self, machine: str, offset_um: float) -> None:
        """Set the tool length compensation of a mill."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the PLC makes of a written value: its status, and what it stores where (nothing if refused)."""

    status: int = StatusCodes.Good
    stored: WriteValue | None = None


class Watchdog:
    """The PLC's fallback: on its own values when the gateway's heartbeat stands still or reads 0.

    Armed by the first beat, so that a plant without a gateway is not in fallback. ``wall()`` is in seconds: a PLC's
    timers run by the wall clock, whatever the plant's time does.
    """

    def __init__(self, limit_s: float, wall: Callable[[], float]) -> None:
        self.fallen_back = False
        self._limit_s = limit_s
        self._wall = wall
        self._count = 0
        self._beat_s: float | None = None

    def beat(self, count: int) -> None:
        """The gateway has written ``count``."""
        if count and count != self._count:
            self._beat_s = self._wall()
        self._count = count

    def scan(self) -> bool:
        """True where the state of fallback has changed."""
        if self._beat_s is None:
            return False
        before = self.fallen_back
        self.fallen_back = not self._count or self._wall() - self._beat_s > self._limit_s
        return before != self.fallen_back


class PlcLogic:
    """Interlocks of one machine. Pure state and commands: no OPC UA server in it."""

    def __init__(
        self,
        machine: str,
        commands: Commands,
        watchdog_s: float = WATCHDOG_S,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        """``watchdog_s`` is the wall time without a heartbeat after which the PLC is on its own."""
        self._watchdog = Watchdog(watchdog_s, wall)
        self._machine = machine
        self._commands = commands
        self._serial = ""
        self._raised_for: str | None = None
        self._maintenance = _Request.NONE
        self._asked_s = 0.0

    def write(self, tag: str, value: WriteValue, now_s: float) -> Verdict:
        """Judge ``value``, written to ``tag`` at plant time ``now_s``, and act on it."""
        if tag in LIMITS:
            return self._set_point(tag, float(value))
        if tag == "RejectSerialNo":
            return self._serial_no(str(value))
        if tag == "RejectFlag":
            return self._reject(bool(value))
        if tag == "GatewayHeartbeat":
            self._watchdog.beat(int(value))
            return Verdict(stored=int(value))
        return self._request_maintenance(bool(value), now_s)

    def scan(self, now_s: float) -> dict[str, WriteValue]:
        """One scan cycle: the tags that fall back now, with the value they fall back to.

        A maintenance request that the machine did not take up within a second of plant time has met a machine that is
        under repair or maintenance already.
        """
        fallen: dict[str, WriteValue] = {}
        if self._raised_for is not None:
            self._raised_for = None
            fallen["RejectFlag"] = False
        if self._maintenance is _Request.ASKED and now_s >= self._asked_s + _SCAN_S:
            self._maintenance = _Request.NONE
            fallen["MaintenanceRequest"] = False
        if self._watchdog.scan():
            fallen |= self._fall_back(self._watchdog.fallen_back)
        return fallen

    def _fall_back(self, alone: bool) -> dict[str, WriteValue]:
        """Set-points of the gateway give way to the machine's own; they come back when the gateway writes them anew."""
        told: dict[str, WriteValue] = {"AdviceFallback": alone}
        if alone and self._machine in MILLS:
            self._commands.set_speed(self._machine, OWN_SPEED)
            told["SpeedOverride"] = OWN_SPEED
        return told

    def maintenance_changed(self, standing: bool) -> None:
        """The machine has taken up the request, or it is done with."""
        self._maintenance = _Request.TAKEN_UP if standing else _Request.NONE

    def _set_point(self, tag: str, value: float) -> Verdict:
        if not math.isfinite(value):
            return Verdict(StatusCodes.BadOutOfRange)
        low, high = LIMITS[tag]
        clamped = min(max(value, low), high)
        if tag == "SpeedOverride":
            self._commands.set_speed(self._machine, clamped)
        else:
            self._commands.set_tool_offset(self._machine, clamped)
        return Verdict(StatusCodes.Good if clamped == value else StatusCodes.GoodClamped, clamped)

    def _serial_no(self, value: str) -> Verdict:
        if len(value) > MAX_SERIAL_CHARS:
            return Verdict(StatusCodes.BadOutOfRange)
        self._serial = value
        return Verdict(stored=value)

    def _reject(self, raised: bool) -> Verdict:
        """A rising edge rejects; while the flag still stands, only another serial number makes a new edge."""
        if not raised:
            self._raised_for = None
        elif self._raised_for != self._serial:
            self._raised_for = self._serial
            self._commands.reject(self._machine, self._serial)
        return Verdict(stored=raised)

    def _request_maintenance(self, requested: bool, now_s: float) -> Verdict:
        """A request once given stands until it is taken: the crew may be on its way."""
        if not requested:
            return Verdict(StatusCodes.Good if self._maintenance is _Request.NONE else StatusCodes.BadInvalidState)
        if self._maintenance is _Request.NONE:
            self._maintenance = _Request.ASKED
            self._asked_s = now_s
            self._commands.request_maintenance(self._machine)
        return Verdict(stored=True)


class InterlockedWrites(AttributeService):
    """The Write service of a PLC server: client values of writable tags pass through the PLC's logic.

    Runs inside the client's own Write request, so that status and read-back are settled when the client is answered.
    """

    def __init__(self, space: AddressSpace, tags: dict[ua.NodeId, tuple[str, ua.VariantType]], judge: Judge) -> None:
        super().__init__(space)
        self._tags = tags
        self._judge = judge

    async def write(
        self,
        params: ua.WriteParameters,
        user: User = User(role=UserRole.Admin),  # noqa: B008  asyncua's signature
    ) -> list[ua.StatusCode]:
        """Answer each item of a Write request; items of other nodes go asyncua's way."""
        results: list[ua.StatusCode] = []
        for item in params.NodesToWrite:
            target = self._tags.get(item.NodeId) if item.AttributeId == AttributeIds.Value else None
            if target is None:
                results += await super().write(ua.WriteParameters(NodesToWrite=[item]), user)
                continue
            tag, data_type = target
            variant = item.Value.Value
            if variant is None or variant.VariantType != data_type or variant.is_array or variant.Value is None:
                results.append(ua.StatusCode(ua.UInt32(StatusCodes.BadTypeMismatch)))
                continue
            results.append(ua.StatusCode(ua.UInt32(await self._judge(tag, variant.Value))))
        return results
