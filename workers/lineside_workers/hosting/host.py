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
from lineside_workers.errors import WorkerError
from lineside_workers.hosting import as_trained
from lineside_workers.hosting import device as devices
from lineside_workers.hosting.staged import Staged
from lineside_workers.models.store import ModelStore
from lineside_workers.settings import WorkerSettings
from lineside_workers.watching.side_by_side import Pair

logger = logging.getLogger(__name__)

MAX_VARIANTS = 16  # of one task with different configurations; the one unused for longest is closed
MEBIBYTE = 2**20


class Host:
    """Loads the tasks of ``settings`` once; afterwards answers batches from the one thread that loaded them.

    With ``settings.memory_mb`` models that were unused for longest are released when another does not fit, and read
    again by the next batch that wants them.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        """Choose the device; tasks load in ``load``.

        Raises:
            DeviceError: The device is not on this machine.
        """
        self.device = devices.choose(settings.device)
        self.failed: dict[str, str] = {}
        self.batches = 0
        self.evicted = 0
        self._settings = settings
        self._store = ModelStore(settings.models, settings.keys)
        self._served: dict[str, str] = {}  # name and version of the model behind each task
        self._resident: OrderedDict[tuple[str, str], Staged] = OrderedDict()  # the one used last comes last
        self._busy_since: float | None = None

    def load(self) -> list[str]:
        """Load every task as its model was trained; returns those that work, the one with the shortest deadline first.

        A task that cannot load is logged and left out; the others run on.

        Raises:
            WorkerError: None of them loads; the message holds the sentence of each.
        """
        devices.limit_threads(self._settings.threads)
        urgency: dict[str, float] = {}
        for task in self._settings.tasks:
            try:
                config = as_trained.in_use(task, self._store)
                runner = self._start((task, _key(config)), config)
                urgency[task] = runner.deadline_s
                self._served[task] = f"{runner.model_name}:{runner.model_version}"
            except (WorkerError, TaskError) as e:
                self.failed[task] = str(e)
                logger.error("task not served task=%s error=%s", task, e)  # noqa: TRY400 - a sentence, not a trace
        if not self._served:
            raise WorkerError("; ".join(self.failed.values()) or "no task is installed; install lineside[workers]")
        return sorted(urgency, key=lambda t: (urgency[t], t))

    def answer(self, task: str, config: Mapping[str, object], batch: WindowBatch) -> BatchResult:
        """Run ``batch`` through ``task`` with ``config``; never raises for what a task, model or batch does wrong."""
        self._busy_since = time.monotonic()
        try:
            runner = self._runner(task, config)
            result = runner.answer(batch)
        except (WorkerError, TaskError) as e:
            return BatchResult(Status.FAILED, error=str(e))
        else:
            self._served[task] = f"{runner.model_name}:{runner.model_version}"
            return result
        finally:
            self._busy_since = None
            self.batches += 1

    def describe(self) -> dict[str, object]:
        """Device, tasks with model versions, failures and load, as the heartbeat shows them. Any thread."""
        since = self._busy_since
        return {
            "device": self.device,
            "tasks": dict(self._served),
            "failed": dict(self.failed),
            "batches": self.batches,
            "evicted": self.evicted,
            "restarts": self._settings.restarts,
            "busy_s": 0.0 if since is None else round(time.monotonic() - since, 3),
        }

    def compared(self) -> dict[tuple[str, str, str], Pair]:
        """How versions compare with the one in full, by task, version and stage. Any thread."""
        found: dict[tuple[str, str, str], Pair] = {}
        for (task, _), staged in tuple(self._resident.items()):
            for (version, stage), pair in staged.compared().items():
                found.setdefault((task, version, stage), Pair.new()).__iadd__(pair)
        return found

    @property
    def model_bytes(self) -> int:
        """Size of the weights in memory."""
        return sum(runner.model_bytes for runner in self._resident.values())

    def close(self) -> None:
        """Let every task release its model."""
        while self._resident:
            self._resident.popitem()[1].close()

    def _runner(self, task: str, config: Mapping[str, object]) -> Staged:
        if task not in self._served:
            why = self.failed.get(task, f"this worker hosts {', '.join(self._served)}")
            raise WorkerError(f"task '{task}' is not served here: {why}")
        key = (task, _key(config))
        if key not in self._resident:
            self._start(key, config)
        self._resident.move_to_end(key)
        return self._resident[key]

    def _start(self, key: tuple[str, str], config: Mapping[str, object]) -> Staged:
        task = key[0]
        runner = Staged(task, config, device=self.device, store=self._store)
        self._make_room(runner.bytes_to_load)
        runner.load()
        self._resident[key] = runner
        variants = [k for k in self._resident if k[0] == task and k[1] != _key({})]
        if len(variants) > MAX_VARIANTS:
            self._evict(variants[0])
        return runner

    def _make_room(self, wanted: int) -> None:
        """Release models until ``wanted`` bytes more fit; the last one asked for may be larger than all there is."""
        budget = self._settings.memory_mb * MEBIBYTE
        while budget and self._resident and self.model_bytes + wanted > budget:
            self._evict(next(iter(self._resident)))

    def _evict(self, key: tuple[str, str]) -> None:
        self._resident.pop(key).close()
        self.evicted += 1
        devices.release(self.device)
        logger.info("model released task=%s config=%s", *key)


def _key(config: Mapping[str, object]) -> str:
    return json.dumps(config, sort_keys=True) if config else "{}"
