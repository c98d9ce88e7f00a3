"""The hosted nodes of one task on one piece of equipment: what they show, and how much it is worth right now."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from asyncua import ua

from lineside_gateway.publish.errors import PublishError
from lineside_gateway.publish.fields import ENUMERATIONS, VARIANT, Field, FieldType, State, contents, flat, structured
from lineside_gateway.publish.nodeids import StatusCodes, status_code
from lineside_gateway.publish.reasons import encoded
from lineside_gateway.publish.variables import Builder, data_value
from lineside_gateway.settings.model import Mode
from lineside_plugins.contract import Outputs
from lineside_plugins.types import Recommendation


class Fault(StrEnum):
    """What is gone behind a recommendation; decides the StatusCode its nodes show: Bad, or Uncertain for abstention."""

    INPUTS = "inputs"
    WORKER = "worker"
    MODEL = "model"
    STANDBY = "standby"
    ABSTAINED = "abstained"


_STATUS = {
    Fault.INPUTS: StatusCodes.BadNoCommunication,
    Fault.WORKER: StatusCodes.BadOutOfService,
    Fault.MODEL: StatusCodes.BadConfigurationError,
    Fault.STANDBY: StatusCodes.BadOutOfService,
    Fault.ABSTAINED: StatusCodes.UncertainSubNormal,
}


OWN_WORD = ("status_text", "good", "state", "state_reason")
"""Fields that are the gateway's own word about a recommendation: stamped with its own clock, and Good."""


class Standing(StrEnum):
    """What the nodes show at present."""

    WAITING = "waiting"
    LIVE = "live"
    STALE = "stale"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HostedTask:
    """One task bound to one piece of equipment or a line; ``location`` is site, area, work center, as far as set.

    ``window_s`` is the length of the task's window, None for a task without.
    """

    task: str
    equipment_id: str
    outputs: Outputs
    mode: Mode = Mode.ADVISORY
    location: tuple[str, ...] = ()
    window_s: float | None = None


@dataclass(slots=True)
class Cell:
    """One Variable, its flat twin and the value both show."""

    shown: Field
    node: ua.NodeId
    twin: ua.NodeId | None = None
    value: object = None


class Mirror(Protocol):
    """Shows a recommendation in other terms besides."""

    async def reflect(self, nodes: RecommendationNodes) -> None:
        """Follow what ``nodes`` show and what it is worth."""


@dataclass(slots=True)
class RecommendationNodes:
    """Cells by field name. Only the hosted server's own loop touches an instance."""

    hosted: HostedTask
    builder: Builder
    good_share: float
    cells: dict[str, Cell] = field(default_factory=dict)
    standing: Standing = Standing.WAITING
    shown: Recommendation | None = None
    status: int = StatusCodes.BadWaitingForInitialData
    good_until_s: float = math.inf
    mirrors: list[Mirror] = field(default_factory=list)

    async def announce(self) -> None:
        """Say in words that nothing has been recommended yet."""
        for name, value in (("status_text", "no recommendation yet"), ("good", False)):
            self.cells[name].value = value
            await self._write(self.cells[name], StatusCodes.Good, datetime.now(UTC))

    async def show(self, rec: Recommendation, mode: Mode, state: State, now: datetime | None) -> None:
        """Put ``rec`` on all nodes, the flag last; Uncertain where its inputs were poor or its time is over.

        Raises:
            PublishError: A value does not fit its declared output; no node was touched.
        """
        values = self._values(rec, mode, state)
        self.shown = rec
        for name, cell in self.cells.items():
            cell.value = values.get(name)
        if now is not None and now > rec.valid_until:
            await self._stale(rec)
            return
        self.standing = Standing.LIVE
        if rec.quality >= self.good_share:
            await self._restate(StatusCodes.Good, "")
            return
        # Part 8, 6.4.3: "has less than the required number of Good sources".
        text = f"only {rec.quality:.0%} of the window's samples were Good; {self.good_share:.0%} are needed"
        await self._restate(StatusCodes.UncertainSubNormal, text)

    async def expire(self, now: datetime) -> bool:
        """Turn Uncertain once ``valid_until`` has passed; True where that was now.

        The plant's time stands still when the plant falls silent: then the wall clock (``good_until_s``) tells.
        """
        if self.standing is not Standing.LIVE or self.shown is None:
            return False
        if now <= self.shown.valid_until and time.monotonic() <= self.good_until_s:
            return False
        await self._stale(self.shown)
        return True

    async def fail(self, fault: Fault, cause: str) -> None:
        """Turn Bad, or Uncertain where the model abstained, with the cause in words, until the next recommendation."""
        self.standing = Standing.FAILED
        await self._restate(_STATUS[fault], cause)

    async def set_state(self, key: str, state: State, why: str = "", only: State | None = None) -> bool:
        """Move the shown recommendation to ``state``, ``why`` in words; False where another one is shown by now.

        With ``only`` it moves from that state alone.
        """
        if self.shown is None or self.shown.key != key:
            return False
        if only is not None and self.cells["state"].value != only.value:
            return True
        for name, value in (("state_reason", why), ("state", state.value)):
            self.cells[name].value = value
            await self._write(self.cells[name], StatusCodes.Good, datetime.now(UTC))
        return True

    async def set_mode(self, mode: Mode) -> None:
        """Show the mode in force; where nothing has been recommended yet there is nothing to show it on."""
        cell = self.cells["operating_mode"]
        if self.shown is not None and self.standing is not Standing.FAILED and cell.value != mode.value:
            cell.value = mode.value
            await self._write(cell, StatusCodes.Good, datetime.now(UTC))

    def supersedes(self, rec: Recommendation) -> bool:
        """True where something newer than ``rec`` is shown already."""
        return self.shown is not None and rec.window_end < self.shown.window_end

    async def _stale(self, rec: Recommendation) -> None:
        self.standing = Standing.STALE
        if self.cells["state"].value == State.PROPOSED.value:
            self.cells["state"].value = State.EXPIRED.value
        since, until = (at.isoformat(timespec="seconds") for at in (rec.window_end, rec.valid_until))
        text = f"no newer recommendation since {since}; valid until {until}"
        await self._restate(StatusCodes.UncertainLastUsableValue, text)

    async def _restate(self, status: int, text: str) -> None:
        """Write every cell with ``status``; what is the gateway's own word stays Good."""
        source = None if self.shown is None else self.shown.window_end
        self.status = status
        self.cells["status_text"].value = text
        self.cells["good"].value = status == StatusCodes.Good
        own = [self.cells[name] for name in OWN_WORD]
        flag = self.cells[self._flag_field]
        now = datetime.now(UTC)
        for cell in self.cells.values():
            if cell is not flag and cell not in own:
                await self._write(cell, status, source)
        for cell in own:
            if cell.value is not None:
                await self._write(cell, StatusCodes.Good, now)
        await self._write(flag, status, source)
        for mirror in self.mirrors:
            await mirror.reflect(self)

    @property
    def _flag_field(self) -> str:
        flag = self.hosted.outputs.flag
        return next(name for name, cell in self.cells.items() if cell.shown.output == flag)

    async def _write(self, cell: Cell, status: int, source: datetime | None) -> None:
        missing = cell.value is None and status != StatusCodes.Good
        value = wire_value(cell.shown, cell.value)
        written = data_value(value, VARIANT[cell.shown.field_type], status, source)
        if missing:
            written = replace(written, StatusCode=status_code(bad_or_no_data(status)))
        await self.builder.write(cell.node, written)
        if cell.twin is not None and cell.shown.flat_type is not None:
            twin = data_value(flat(cell.shown, cell.value), VARIANT[cell.shown.flat_type], status, source)
            await self.builder.write(cell.twin, replace(twin, StatusCode=written.StatusCode))

    def _values(self, rec: Recommendation, mode: Mode, state: State) -> dict[str, object]:
        common: Mapping[str, object] = contents(rec, mode.value, state, self.hosted.window_s)
        values: dict[str, object] = {}
        for name, cell in self.cells.items():
            given = rec.value.get(cell.shown.output) if cell.shown.output else common.get(name)
            try:
                values[name] = structured(cell.shown, given)
            except ValueError as e:
                raise PublishError(
                    f"recommendation {rec.key} is not shown: {e}; correct the outputs declared by task '{rec.task}'"
                ) from e
        return values


def wire_value(shown: Field, value: object) -> object:
    """A cell's value as the structured node carries it: structures for reasons, numbers for enumerated words."""
    if shown.field_type is FieldType.REASONS and isinstance(value, tuple):
        return encoded(value)
    words = ENUMERATIONS.get(shown.field_type)
    return value if words is None or value is None else words.index(str(value))


def bad_or_no_data(status: int) -> int:
    """A cell without a value has nothing to be uncertain about."""
    return status if status_code(status).is_bad() else StatusCodes.BadNoData
