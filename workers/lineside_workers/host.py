"""All tasks of one worker process: their runners, what failed to load, and figures for the heartbeat."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping

from lineside_plugins.registry import TaskError
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status
from lineside_workers import device as devices
from lineside_workers.errors import WorkerError
from lineside_workers.settings import WorkerSettings
from lineside_workers.staged import Staged
from lineside_workers.store import ModelStore

logger = logging.getLogger(__name__)

MAX_VARIANTS = 16  # runners beside the default ones, one per task and configuration; the oldest is closed


class Host:
    """Loads the tasks of ``settings`` once; afterwards answers batches from the one thread that loaded them."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Choose the device; tasks load in ``load``.

        Raises:
            DeviceError: The device is not on this machine.
        """
        self.device = devices.choose(settings.device)
        self.failed: dict[str, str] = {}
        self.batches = 0
        self._settings = settings
        self._store = ModelStore(settings.models, settings.keys)
        self._runners: dict[str, Staged] = {}
        self._variants: OrderedDict[tuple[str, str], Staged] = OrderedDict()
        self._busy_since: float | None = None

    def load(self) -> list[str]:
        """Load every task; returns those that work, the one with the shortest deadline first.

        A task that cannot load is logged and left out; the others run on.

        Raises:
            WorkerError: None of them loads; the message holds the sentence of each.
        """
        devices.limit_threads(self._settings.threads)
        urgency: dict[str, float] = {}
        for task in self._settings.tasks:
            try:
                runner = self._start(task, {})
            except (WorkerError, TaskError) as e:
                self.failed[task] = str(e)
                logger.error("task not served task=%s error=%s", task, e)  # noqa: TRY400 - a sentence, not a trace
            else:
                self._runners[task] = runner
                urgency[task] = runner.deadline_s
        if not self._runners:
            raise WorkerError("; ".join(self.failed.values()) or "no task is installed; install lineside[workers]")
        return sorted(urgency, key=lambda t: (urgency[t], t))

    def answer(self, task: str, config: Mapping[str, object], batch: WindowBatch) -> BatchResult:
        """Run ``batch`` through ``task`` with ``config``; never raises for what a task, model or batch does wrong."""
        self._busy_since = time.monotonic()
        try:
            return self._runner(task, config).answer(batch)
        except (WorkerError, TaskError) as e:
            return BatchResult(Status.FAILED, error=str(e))
        finally:
            self._busy_since = None
            self.batches += 1

    def describe(self) -> dict[str, object]:
        """Device, tasks with model versions, failures and load, as the heartbeat shows them. Any thread."""
        since = self._busy_since
        return {
            "device": self.device,
            "tasks": {t: f"{r.model_name}:{r.model_version}" for t, r in self._runners.items()},
            "failed": dict(self.failed),
            "batches": self.batches,
            "restarts": self._settings.restarts,
            "busy_s": 0.0 if since is None else round(time.monotonic() - since, 3),
        }

    def close(self) -> None:
        """Let every task release its model."""
        for runner in (*self._runners.values(), *self._variants.values()):
            runner.close()

    def _runner(self, task: str, config: Mapping[str, object]) -> Staged:
        if task not in self._runners:
            why = self.failed.get(task, f"this worker hosts {', '.join(self._runners)}")
            raise WorkerError(f"task '{task}' is not served here: {why}")
        if not config:
            return self._runners[task]
        key = (task, json.dumps(config, sort_keys=True))
        if key not in self._variants:
            self._variants[key] = self._start(task, config)
            if len(self._variants) > MAX_VARIANTS:
                self._variants.popitem(last=False)[1].close()
        self._variants.move_to_end(key)
        return self._variants[key]

    def _start(self, task: str, config: Mapping[str, object]) -> Staged:
        runner = Staged(task, config, device=self.device, store=self._store)
        runner.load()
        return runner
