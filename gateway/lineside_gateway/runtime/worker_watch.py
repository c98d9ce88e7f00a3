"""Which tasks have a worker; the nodes of those that have none turn Bad and say what to start."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from lineside_gateway.dispatch import CeleryDispatcher, WorkerInfo
from lineside_gateway.publish import Fault, HostedServer

logger = logging.getLogger(__name__)

GRACE_S = 20.0  # a worker loads torch and its models before its first heartbeat; one that was seen gets none
LOOK_EVERY_S = 1.0


class WorkerWatch:
    """Looks at the workers' heartbeats once a second. A task recovers with its next recommendation."""

    def __init__(self, tasks: Iterable[str], dispatcher: CeleryDispatcher, hosted: HostedServer) -> None:
        self.workers: tuple[WorkerInfo, ...] = ()
        self._tasks = tuple(tasks)
        self._dispatcher = dispatcher
        self._hosted = hosted
        self._absent: dict[str, tuple[Fault, str]] = {}
        self._seen: set[str] = set()
        self._started = time.monotonic()

    async def run(self) -> None:
        """Watch until cancelled; for the first 20 s nobody is missed who has not been seen."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.workers = tuple(await self._dispatcher.workers())
            patient = time.monotonic() - self._started < GRACE_S
            for task in self._tasks:
                if not patient or task in self._seen or any(task in w.tasks for w in self.workers):
                    await self._look(task)

    def unbacked(self, tasks: Iterable[str]) -> str:
        """Why nobody stands behind one of ``tasks``, "" where a worker with its model stands behind each."""
        if not self._dispatcher.connected:
            return "the broker does not answer"
        for task in tasks:
            if task in self._absent:
                return self._absent[task][1]
            if task not in self._seen:
                return f"no worker for task '{task}' yet"
        return ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Each different cause for which a task has no worker, in words; nobody is missed in the first 20 s."""
        return tuple(dict.fromkeys(cause for _, cause in self._absent.values()))

    @property
    def backed(self) -> bool:
        """Whether a worker stands behind each task."""
        return not self.unbacked(self._tasks)

    async def show(self) -> None:
        """Tell nodes that were hosted later what is absent already."""
        for task, (fault, cause) in tuple(self._absent.items()):
            await self._hosted.fault(task, None, cause, fault)

    async def _look(self, task: str) -> None:
        hosting = any(task in w.tasks for w in self.workers)
        if not hosting and task not in self._absent:
            fault, cause = self._absent[task] = self._why(task)
            logger.error("no_worker task=%s %s", task, cause)
            await self._hosted.fault(task, None, cause, fault)
        elif hosting:
            self._seen.add(task)
            if self._absent.pop(task, None) is not None:
                logger.info("worker_back task=%s", task)

    def _why(self, task: str) -> tuple[Fault, str]:
        if not self._dispatcher.connected:
            return Fault.WORKER, "the broker does not answer; start it or correct broker.url"
        failed = [w.failed[task] for w in self.workers if task in w.failed]
        if failed:
            return Fault.MODEL, failed[0]
        return Fault.WORKER, f"no worker hosts task '{task}'; start one: lineside worker --tasks {task}"
