"""The ledger on the hosted server: a folder of counts and gaps per piece of equipment, and a method for single tags."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from asyncua import ua

from lineside_gateway.ingest.gaps import Gap
from lineside_gateway.ingest.pages import EquipmentPage, TagPage
from lineside_gateway.publish.fields import VARIANT, Field, FieldType
from lineside_gateway.publish.names import GATEWAY
from lineside_gateway.publish.nodeids import StatusCodes, status_code
from lineside_gateway.publish.variables import Builder, argument, data_value

FOLDER, TAG_LEDGER = f"{GATEWAY}/Ledger", f"{GATEWAY}/TagLedger"
SHOW_EVERY_S = 5.0
"""A thousand pieces of equipment cost a tenth of a second of CPU each time."""
GAPS_TOLD = 20
"""Newest gaps of a tag in an answer of the method."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = (
    Field("received", FieldType.UINT64, "Samples received of the numeric tags"),
    Field("used", FieldType.UINT64, "Samples used in windows or as latest values"),
    Field("dropped", FieldType.UINT64, "Samples dropped, each with a reason"),
    Field("pending", FieldType.UINT64, "Samples waiting for their window"),
    Field("gaps", FieldType.UINT64, "Gaps that have ended, one per tag and loss"),
    Field("gap_seconds", FieldType.DOUBLE, "Time in them, summed over tags", "s"),
    Field("open_gaps", FieldType.UINT64, "Tags of which values are missing now"),
    Field("last_gap_start", FieldType.DATE_TIME, "SourceTimestamp of the last sample before the newest gap"),
    Field("last_gap_end", FieldType.DATE_TIME, "SourceTimestamp of the first sample after it; none while it is open"),
    Field("last_gap_cause", FieldType.STRING, "Why values may be missing there"),
)


class LedgerPages(Protocol):
    """Where the figures come from: the pages of a tag table."""

    def equipment(self) -> Mapping[str, EquipmentPage]:
        """A page per piece of equipment."""

    def tags(self, equipment_id: str) -> Sequence[TagPage]:
        """The pages of its tags."""


@dataclass(slots=True)
class LedgerNodes:
    """Nodes of ``Lineside/Gateway/Ledger/<equipment>`` and the method ``Lineside/Gateway/TagLedger``."""

    builder: Builder
    pages: LedgerPages
    _folder: ua.NodeId = field(default_factory=ua.NodeId)
    _nodes: dict[str, dict[str, ua.NodeId]] = field(default_factory=dict)
    _shown: dict[ua.NodeId, object] = field(default_factory=dict)
    _due_s: float = 0.0

    async def build(self) -> None:
        """Add folder and method; equipment follows when it is first shown."""
        parent = self.builder.node_id(GATEWAY)
        self._folder = await self.builder.add_object(parent, FOLDER, "Ledger", organizes=True)
        equipment = argument("EquipmentId", ua.VariantType.String, "A piece of equipment")
        told = argument("Tags", ua.VariantType.String, "A JSON list of its numeric tags: counts and newest gaps")
        node = await self.builder.add_method(
            parent, TAG_LEDGER, "TagLedger", "What became of the samples of each tag", (equipment,), outputs=(told,)
        )
        self.builder.server.iserver.isession.add_method_callback(node, self._tell)

    async def _tell(self, _parent: ua.NodeId, equipment: ua.Variant) -> list[ua.Variant] | ua.StatusCode:
        pages = self.pages.tags(str(equipment.Value))
        if not pages:
            return status_code(StatusCodes.BadNotFound)
        return [ua.Variant(json.dumps([_row(p) for p in pages]), ua.VariantType.String)]

    async def show(self) -> None:
        """Show how the equipment stands, at most each ``SHOW_EVERY_S``; what has not changed is not written."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + SHOW_EVERY_S
        now = datetime.now(UTC)
        for equipment_id, page in self.pages.equipment().items():
            nodes = self._nodes.get(equipment_id) or await self._add(equipment_id)
            for shown, value in zip(_FIELDS, _values(page), strict=True):
                node = nodes[shown.name]
                if node not in self._shown or self._shown[node] != value:
                    self._shown[node] = value
                    sample = data_value(value, VARIANT[shown.field_type], StatusCodes.Good, now)
                    await self.builder.write(node, sample)

    async def _add(self, equipment_id: str) -> dict[str, ua.NodeId]:
        above = f"{FOLDER}/{equipment_id}"
        parent = await self.builder.add_object(self._folder, above, equipment_id, organizes=True)
        self._nodes[equipment_id] = {
            f.name: await self.builder.add_variable(parent, f"{above}/{f.browse_name}", f) for f in _FIELDS
        }
        await asyncio.sleep(0)  # some 4 ms of CPU each: the sessions of the running gateway go on in between
        return self._nodes[equipment_id]


def _values(page: EquipmentPage) -> tuple[object, ...]:
    """In the order of ``_FIELDS``."""
    gap = page.last_gap or Gap(None, None, "")
    counts = page.received, page.used, page.dropped, page.pending, page.gaps, page.gap_s, page.open_gaps
    return (*counts, _moment(gap.start_us), _moment(gap.end_us), gap.cause)


def _row(page: TagPage) -> dict[str, object]:
    counts = page.counts
    gaps = [
        {"start": _words(g.start_us), "end": _words(g.end_us), "cause": g.cause}
        for g in reversed(page.gaps[-GAPS_TOLD:])
    ]
    return {
        "tag": page.tag, "received": counts.received, "used": counts.used, "dropped": counts.dropped,
        "pending": counts.pending, "gaps": len(page.gaps), "newest_gaps": gaps,
    }  # fmt: skip


def _moment(time_us: int | None) -> datetime | None:
    return None if time_us is None else _EPOCH + timedelta(microseconds=time_us)


def _words(time_us: int | None) -> str | None:
    moment = _moment(time_us)
    return None if moment is None else moment.isoformat(timespec="milliseconds")
