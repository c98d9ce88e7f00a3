"""Heartbeats both ways: the PLCs' is watched, ours is written while everything behind our advice lives."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lineside_gateway.guard.steps import PlantWriter
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.publish import Fault, HostedServer
from lineside_gateway.settings import HeartbeatSettings

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
BEATS_MISSED = 2  # periods without a change after which a PLC's heartbeat stands still
_WRAP = 2**32


@dataclass(slots=True)
class _Beat:
    """Our heartbeat at one piece of equipment: what was written last, when, and whether a write is under way."""

    count: int = 0
    at_s: float = 0.0
    why: str = "not written yet"
    writing: bool = False


class Pulse:
    """Watches and beats until cancelled. Times are wall clock.

    ``beaten()`` names the equipment whose PLC is given our heartbeat, with what is missing behind the advice for it,
    "" where nothing is.
    """

    def __init__(
        self,
        settings: HeartbeatSettings,
        writer: PlantWriter,
        hosted: HostedServer,
        beaten: Callable[[], Mapping[str, str]],
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._hosted = hosted
        self._beaten = beaten
        self._heard: dict[str, tuple[object, float]] = {}
        self._beats: dict[str, _Beat] = {}
        self._silent: dict[str, str] = {}
        self._writes: set[asyncio.Task[None]] = set()

    def expect(self, machines: Iterable[Equipment]) -> None:
        """Listen for the heartbeat of those ``machines`` that have the tag, from now on."""
        for machine in machines:
            if self._settings.plant_tag in machine.tags:
                self._heard.setdefault(machine.id, (None, time.monotonic()))

    def on_tag(self, equipment_id: str, tag: str, value: object) -> None:
        """Take a value of the PLC's heartbeat; other tags, and values that are no number, are passed over."""
        if tag != self._settings.plant_tag or not isinstance(value, int | float) or not math.isfinite(value):
            return
        last = self._heard.get(equipment_id)
        if last is None or last[0] != value:
            self._heard[equipment_id] = (value, time.monotonic())

    def silence(self, equipment_id: str) -> str:
        """Why the PLC of ``equipment_id`` is not to be relied on, "" where it beats or is not asked to."""
        return self._silent.get(equipment_id, "")

    @property
    def silent(self) -> tuple[str, ...]:
        """Equipment whose PLC's heartbeat stands still."""
        return tuple(sorted(self._silent))

    async def run(self) -> None:
        """Look four times a second; a change for the worse is written at once."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                now = time.monotonic()
                await self._listen(now)
                if self._settings.gateway_tag is not None:
                    self._beat(self._beaten().items(), self._settings.gateway_tag, now)
        finally:
            for task in self._writes:
                task.cancel()

    async def _listen(self, now: float) -> None:
        limit_s = BEATS_MISSED * self._settings.period_s
        for equipment_id, (_, at_s) in tuple(self._heard.items()):
            still = now - at_s > limit_s
            if still and equipment_id not in self._silent:
                tag = f"{equipment_id}.{self._settings.plant_tag}"
                cause = f"the PLC is silent: {tag} has stood still for over {limit_s:g} s"
                self._silent[equipment_id] = cause  # before anything is awaited: the guard asks for it
                logger.error("plant_heartbeat_stopped equipment=%s", equipment_id)
                await self._hosted.fault(None, equipment_id, cause, Fault.INPUTS)
            elif not still and equipment_id in self._silent:
                del self._silent[equipment_id]
                logger.info("plant_heartbeat_back equipment=%s", equipment_id)

    def _beat(self, beaten: Iterable[tuple[str, str]], tag: str, now: float) -> None:
        for equipment_id, why in beaten:
            beat = self._beats.setdefault(equipment_id, _Beat())
            changed = bool(why) != bool(beat.why)
            if beat.writing or not (changed or now - beat.at_s >= self._settings.period_s):
                continue
            if changed:
                level = logging.WARNING if why else logging.INFO
                logger.log(level, "gateway_heartbeat equipment=%s why=%s", equipment_id, why or "all stands")
            beat.count, beat.at_s, beat.why, beat.writing = beat.count + 1, now, why, True
            count = 0 if why else beat.count % (_WRAP - 1) + 1  # 0 is kept for: do not rely on me
            task = asyncio.create_task(self._write(equipment_id, tag, count, beat), name=f"heartbeat {equipment_id}")
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def _write(self, equipment_id: str, tag: str, count: int, beat: _Beat) -> None:
        try:
            await self._writer.write(equipment_id, tag, count)
        finally:
            beat.writing = False
