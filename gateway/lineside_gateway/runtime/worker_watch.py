"""Which tasks have a worker; the nodes of those that have none turn Bad and say what to start."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from lineside_gateway.dispatch import CeleryDispatcher, WorkerInfo
from lineside_gateway.publish import Fault, HostedServer

logger = logging.getLogger(__name__)

GRACE_S = 20.0  # a worker loads torch and its models before its first heartbeat
LOOK_EVERY_S = 1.0


class WorkerWatch:
    """Looks at the workers' heartbeats once a second. A task recovers with its next recommendation."""

    def __init__(self, tasks: Iterable[str], dispatcher: CeleryDispatcher, hosted: HostedServer) -> None:
        self.workers: tuple[WorkerInfo, ...] = ()
        self._tasks = tuple(tasks)
        self._dispatcher = dispatcher
        self._hosted = hosted
        self._absent: dict[str, str] = {}
        self._started = time.monotonic()

    async def run(self) -> None:
        """Watch until cancelled; for the first 20 s nobody is missed."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.workers = tuple(await self._dispatcher.workers())
            if time.monotonic() - self._started >= GRACE_S:
                for task in self._tasks:
                    await self._look(task)

    async def show(self) -> None:
        """Tell nodes that were hosted later what is absent already."""
        for task, cause in self._absent.items():
            await self._hosted.fault(task, None, cause, Fault.WORKER)

    async def _look(self, task: str) -> None:
        hosting = any(task in w.tasks for w in self.workers)
        if not hosting and task not in self._absent:
            self._absent[task] = self._cause(task)
            logger.error("no_worker task=%s %s", task, self._absent[task])
            await self._hosted.fault(task, None, self._absent[task], Fault.WORKER)
        elif hosting and task in self._absent:
            del self._absent[task]
            logger.info("worker_back task=%s", task)

    def _cause(self, task: str) -> str:
        if not self._dispatcher.connected:
            return "the broker does not answer; start it or correct broker.url"
        failed = [w.failed[task] for w in self.workers if task in w.failed]
        return failed[0] if failed else f"no worker hosts task '{task}'; start one: lineside worker --tasks {task}"
