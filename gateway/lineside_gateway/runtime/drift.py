"""The drift alarm: what workers say has drifted, kept until they say it has not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from lineside_gateway.publish import HostedServer
from lineside_plugins.wire import BatchResult

logger = logging.getLogger(__name__)


class DriftAlarm:
    """Collects drift by task, machine and tag; each change is logged, audited and shown on the hosted nodes."""

    def __init__(self, hosted: HostedServer, note: Callable[..., object]) -> None:
        """``note`` writes one audit line: an event and its fields."""
        self._hosted = hosted
        self._note = note
        self._standing: dict[tuple[str, str, str], str] = {}

    @property
    def causes(self) -> tuple[str, ...]:
        """What has drifted, in words."""
        return tuple(self._standing[key] for key in sorted(self._standing))

    async def take(self, task: str, equipment_ids: Sequence[str], result: BatchResult) -> None:
        """Follow the drift that a batch of ``equipment_ids`` came back with."""
        if not result.watched:
            return
        now = {(task, d.equipment_id, d.tag): d.cause for d in result.drift}
        own = {key for key in self._standing if key[0] == task and key[1] in equipment_ids}
        began, ended = now.keys() - own, own - now.keys()
        for key in sorted(began):
            logger.warning("drift task=%s equipment=%s tag=%s cause=%s", *key, now[key])
            self._note("drift", task=key[0], equipment_id=key[1], tag=key[2], text=now[key])
        for key in sorted(ended):
            logger.warning("drift_over task=%s equipment=%s tag=%s", *key)
            self._note("drift_over", task=key[0], equipment_id=key[1], tag=key[2], text=self._standing[key])
            del self._standing[key]
        self._standing |= now
        if began or ended:
            await self._hosted.show_drift(self.causes)
