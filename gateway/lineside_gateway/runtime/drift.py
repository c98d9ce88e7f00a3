"""The drift alarm: what workers say has drifted, kept until they say it has not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from lineside_gateway.publish import HostedServer
from lineside_plugins.wire import BatchResult, Drift

logger = logging.getLogger(__name__)

TELL_AGAIN = 1.25  # times as far as when it was told last
LEAST, STEEP, MOST = 500, 100, 800  # severity at the limit, per limit beyond it, at most; flags are 400 to 800
Key = tuple[str, str, str]


class DriftAlarm:
    """Collects drift by task, machine and tag; each change is logged, audited and shown on the hosted nodes."""

    def __init__(self, hosted: HostedServer, note: Callable[..., object]) -> None:
        """``note`` writes one audit line: an event and its fields."""
        self._hosted = hosted
        self._note = note
        self._standing: dict[Key, Drift] = {}

    @property
    def causes(self) -> tuple[str, ...]:
        """What has drifted, in words."""
        return tuple(self._standing[key].cause for key in sorted(self._standing))

    async def take(self, task: str, equipment_ids: Sequence[str], result: BatchResult) -> None:
        """Follow the drift that a batch of ``equipment_ids`` came back with."""
        if not result.watched:
            return
        now = {(task, d.equipment_id, d.tag): d for d in result.drift}
        own = {key for key in self._standing if key[0] == task and key[1] in equipment_ids}
        began, ended = now.keys() - own, own - now.keys()
        grown = {key for key in own & now.keys() if now[key].times > TELL_AGAIN * self._standing[key].times}
        for key in sorted(began):
            logger.warning("drift task=%s equipment=%s tag=%s cause=%s", *key, now[key].cause)
            self._note("drift", task=key[0], equipment_id=key[1], tag=key[2], text=now[key].cause)
        for key in sorted(ended):
            logger.warning("drift_over task=%s equipment=%s tag=%s", *key)
            self._note("drift_over", task=key[0], equipment_id=key[1], tag=key[2], text=self._standing[key].cause)
            del self._standing[key]
            await self._hosted.alarm(key, active=False, message=_over(key), severity=LEAST)
        self._standing |= {key: now[key] for key in began | grown}
        for key in sorted(now):
            told = self._standing[key]
            severity = min(MOST, round(LEAST + STEEP * max(told.times - 1.0, 0.0)))
            await self._hosted.alarm(key, active=True, message=_words(key, told), severity=severity)
        if began or ended or grown:
            await self._hosted.show_drift(self.causes)


def _words(key: Key, drift: Drift) -> str:
    """The alarm's message: what, by how much, what happens, what to do."""
    task, equipment, tag = key
    if not tag:
        return f"{drift.cause}; look at what has changed there, or retrain"
    return f"{drift.cause}; {task} abstains on {equipment}: check the sensor, or retrain with it as it is"


def _over(key: Key) -> str:
    task, equipment, tag = key
    return f"{equipment}.{tag or task} is as it was learned from again, or was mounted anew"
