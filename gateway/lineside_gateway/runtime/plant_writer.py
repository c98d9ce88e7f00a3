"""Write-back's way to the plant: each write goes to the server that hosts the tag."""

from __future__ import annotations

from collections.abc import Iterable

from lineside_gateway.errors import JobControlError, WriteError
from lineside_gateway.guard.write_back import WriteOutcome
from lineside_gateway.opcua.client import ServerLink
from lineside_plugins.types import Scalar

_REFUSED, _FAILED = "BadUserAccessDenied", "BadNoCommunication"


class LinkWriter:
    """The ``PlantWriter`` over all server links. A refusal or a lost connection is an outcome."""

    def __init__(self, links: Iterable[ServerLink]) -> None:
        self._links = tuple(links)

    async def write(self, equipment_id: str, tag: str, value: Scalar) -> WriteOutcome:
        """Write one tag on the server that has it, and read it back."""
        link = next((one for one in self._links if one.tag(equipment_id, tag) is not None), None)
        if link is None:
            return WriteOutcome(_FAILED, detail=f"no connected server has {equipment_id}.{tag}")
        try:
            written = await link.write(equipment_id, tag, value)
        except WriteError as e:
            return WriteOutcome(_REFUSED if e.permanent else _FAILED, detail=e.sentence)
        return WriteOutcome(written.status, written.read_back)

    async def update_job_order(self, job_order_id: str, priority: int, equipment_id: str | None) -> WriteOutcome:
        """Call Update on the MES's job order receiver."""
        link = next((one for one in self._links if one.plan.job_control is not None), None)
        if link is None:
            return WriteOutcome(_FAILED, detail="no job_control in the settings")
        try:
            updated = await link.update_job_order(job_order_id, priority, equipment_id)
        except JobControlError as e:
            return WriteOutcome(_FAILED, detail=e.sentence)
        return WriteOutcome("Good" if updated.accepted else "BadInvalidState", detail=updated.reason)
