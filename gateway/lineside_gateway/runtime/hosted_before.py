"""What was hosted before a restart, so that HMIs find their nodes again at once, PLC or no PLC.

Nodes are hosted as their server is reached. A client that asks for them earlier is told BadNodeIdUnknown, and many an
HMI never asks again. What an earlier run hosted stands from the first moment, BadWaitingForInitialData.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from lineside_gateway.publish import HostedTask
from lineside_gateway.runtime.tasks import BoundTask
from lineside_gateway.settings import Settings

FILE = "hosted.json"
logger = logging.getLogger(__name__)


class HostedBefore:
    """The list in ``data_dir``, for these settings; with others it begins anew, for places and tasks may have moved."""

    def __init__(self, settings: Settings, tasks: Mapping[str, BoundTask]) -> None:
        self._path = settings.gateway.data_dir / FILE
        said = settings.model_dump(mode="json", include={"equipment": True, "tasks": True, "gateway": {"id"}})
        self._settings = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        self._tasks = tasks
        self.tasks = tuple(self._load())
        self._now: list[HostedTask] = []

    def keep(self, hosted: Iterable[HostedTask], *, complete: bool) -> None:
        """Note what is hosted in this run too; ``complete``: every server was reached, what is not there is gone."""
        self._now += hosted
        kept = {(t.task, t.equipment_id): t for t in (*(() if complete else self.tasks), *self._now)}
        rows = [{"task": t.task, "equipment": t.equipment_id, "location": list(t.location)} for t in kept.values()]
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"settings": self._settings, "hosted": rows}))
        fresh.replace(self._path)

    def _load(self) -> Iterable[HostedTask]:
        for row in _rows(self._path, self._settings):
            task = self._tasks.get(row["task"])
            if task is not None:
                yield task.hosted(row["equipment"], tuple(row["location"]))


def _rows(path: Path, settings: str) -> list[dict[str, str]]:
    try:
        found = json.loads(path.read_text())
        rows: list[dict[str, str]] = found["hosted"] if found["settings"] == settings else []
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as e:
        logger.warning("hosted_before_unreadable file=%s cause=%r; nodes appear as their servers are reached", path, e)
        return []
    return rows
