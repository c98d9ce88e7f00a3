"""Write-back's way to the plant: each write goes to the server that hosts the tag."""

from __future__ import annotations

from collections.abc import Iterable

from lineside_gateway.errors import JobControlError, WriteError
from lineside_gateway.guard.steps import Fate, WriteOutcome, taken
from lineside_gateway.opcua.client import ServerLink
from lineside_plugins.types import Scalar


class LinkWriter:
    """The ``PlantWriter`` over all server links. A refusal or a lost connection is an outcome."""

    def __init__(self, links: Iterable[ServerLink]) -> None:
        self._links = tuple(links)

    async def write(self, equipment_id: str, tag: str, value: Scalar) -> WriteOutcome:
        """Write one tag on the server that has it, and read it back."""
        link = self._link(equipment_id, tag)
        if link is None:
            return WriteOutcome("BadNotConnected", detail=f"no server has {equipment_id}.{tag}", fate=Fate.PASSING)
        try:
            written = await link.write(equipment_id, tag, value)
        except WriteError as e:
            return WriteOutcome(e.status, detail=e.sentence, fate=_fate(e))
        return taken(written.read_back, written.status)

    async def read(self, equipment_id: str, tag: str) -> Scalar:
        """What the tag holds now, None where it cannot be told."""
        link = self._link(equipment_id, tag)
        return None if link is None else await link.read(equipment_id, tag)

    async def update_job_order(self, job_order_id: str, priority: int, equipment_id: str | None) -> WriteOutcome:
        """Call Update on the MES's job order receiver."""
        link = next((one for one in self._links if one.plan.job_control is not None), None)
        if link is None:
            return WriteOutcome("BadConfigurationError", detail="no job_control in the settings")
        try:
            updated = await link.update_job_order(job_order_id, priority, equipment_id)
        except JobControlError as e:
            return WriteOutcome(e.status, detail=e.sentence, fate=Fate.REFUSED if e.permanent else Fate.PASSING)
        if updated.accepted:
            return taken(None)
        return WriteOutcome("BadInvalidState", detail=updated.reason)

    def _link(self, equipment_id: str, tag: str) -> ServerLink | None:
        return next((one for one in self._links if one.tag(equipment_id, tag) is not None), None)


def _fate(error: WriteError) -> Fate:
    if error.unanswered:
        return Fate.UNKNOWN
    return Fate.REFUSED if error.permanent else Fate.PASSING
