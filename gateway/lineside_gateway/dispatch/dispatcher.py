"""Batches out to the workers, results back, each request answered, expired or failed: exactly one of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lineside_gateway.dispatch.connection import (
    FIRST_WAIT_S,
    IO_TIMEOUT_S,
    LONGEST_WAIT_S,
    LOSSES,
    connect,
    without_password,
)
from lineside_gateway.dispatch.errors import BrokerError
from lineside_gateway.dispatch.line import Line, Reply
from lineside_gateway.dispatch.producer import Request, RequestProducer
from lineside_gateway.dispatch.results import ResultReader
from lineside_gateway.dispatch.shared_memory import SharedMemory
from lineside_plugins import meeting
from lineside_plugins.memory import keep_freed_memory
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status

logger = logging.getLogger(__name__)

NO_CONFIG: Mapping[str, object] = {}
LOOK_EVERY_S, LOST_AFTER_LOOKS = 1.0, 2
MAX_IN_FLIGHT = 3  # batches of a task; more add latency and no throughput (measured with one worker)


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as its heartbeat describes it. ``tasks`` maps a task to "model:version", ``failed`` to a sentence."""

    node: str
    device: str
    tasks: Mapping[str, str]
    failed: Mapping[str, str]
    batches: int
    busy_s: float


class Dispatcher(Protocol):
    """What the pipeline needs of whoever runs the batches."""

    async def submit(
        self, batch: WindowBatch, task: str, deadline: datetime, config: Mapping[str, object] = NO_CONFIG
    ) -> BatchResult:
        """The result of ``batch``; EXPIRED at the wall-clock ``deadline`` (aware). Never raises for a failed batch."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Workers alive now."""
        ...


@dataclass(slots=True)
class _Pending:
    request: Request
    answer: asyncio.Future[BatchResult | None]  # None: to be sent again
    sent: bool = False
    looks: int = 0  # how often it has been looked for
    missed: int = 0  # how often in a row it was nowhere


class CeleryDispatcher:
    """Dispatch through the broker at ``url``; use it as an async context manager.

    At most ``max_in_flight`` batches of a task are with the workers; further ones wait for a slot until their
    deadline. ``counts``: submitted = answered + failed + expired + cancelled + pending at any time; beside them
    retries, resent, late (answers nobody waits for) and in_memory (batches that did not go by the broker).
    """

    def __init__(
        self,
        gateway_id: str,
        url: str,
        *,
        hmac_key: bytes = b"",
        max_in_flight: int = MAX_IN_FLIGHT,
        on_late: Callable[[str, BatchResult], Awaitable[None]] | None = None,
    ) -> None:
        """``on_late`` gets answers without a waiter: late ones, and those to a former process of this gateway."""
        self.counts: Counter[str] = Counter()
        self.spent_s = {"inference": 0.0, "transfer": 0.0}  # over answered batches, queueing included in the second
        self._url = url
        self._redis = connect(url)
        self._requests, self._answers = Line(self._redis), Line(self._redis)
        self._memory = SharedMemory() if SharedMemory.fits(url) else None
        self._producer = RequestProducer(gateway_id, hmac_key, self._memory)
        self._reader = ResultReader(self._answers, gateway_id, self._handle, self._resend_lost, hmac_key)
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(max_in_flight))
        self._pending: dict[str, _Pending] = {}
        self._on_late = on_late
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def __aenter__(self) -> CeleryDispatcher:
        keep_freed_memory()
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(self._reader.run(), name="results"),
            loop.create_task(self._look_for_lost(), name="lost requests"),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        async with (
            contextlib.AsyncExitStack() as connections
        ):  # closed one and all, also where this is cancelled or one fails
            if self._memory is not None:
                connections.callback(self._memory.give_up)
            for close in (self._redis.aclose, self._answers.close, self._requests.close):
                connections.push_async_callback(close)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connected(self) -> bool:
        """Whether the broker answered last time."""
        return self._reader.connected

    @property
    def pending(self) -> int:
        """Batches submitted and not yet answered, failed or expired."""
        c = self.counts
        return c["submitted"] - c["answered"] - c["failed"] - c["expired"] - c["cancelled"]

    async def check(self) -> None:
        """Ask the broker for a sign of life.

        Raises:
            BrokerError: It does not answer, or refuses the password.
        """
        try:
            async with asyncio.timeout(IO_TIMEOUT_S):
                await self._redis.ping()
        except LOSSES as e:
            raise BrokerError(
                f"the broker at {without_password(self._url)} cannot be used: {e}; start it or correct broker.url"
            ) from e

    async def submit(
        self, batch: WindowBatch, task: str, deadline: datetime, config: Mapping[str, object] = NO_CONFIG
    ) -> BatchResult:
        """See ``Dispatcher``; waits for a slot, survives the loss of the broker until ``deadline``."""
        self.counts["submitted"] += 1
        now = time.time()
        pending: _Pending | None = None
        try:
            async with asyncio.timeout(deadline.timestamp() - now), self._slots[task]:
                request = self._producer.build(batch, task, deadline, config)
                pending = self._pending[request.id] = _Pending(request, asyncio.get_running_loop().create_future())
                result = await self._answer(pending)
        except TimeoutError:
            result = BatchResult(Status.EXPIRED, error=self._why_expired(task, pending))
            await self._withdraw(pending)
        except asyncio.CancelledError:
            self.counts["cancelled"] += 1
            raise
        finally:
            if pending is not None:
                self._pending.pop(pending.request.id, None)
                self._producer.release(pending.request)
        self.counts["failed" if result.status is Status.PARKED else result.status.value] += 1
        return result

    async def workers(self) -> list[WorkerInfo]:
        """Workers whose heartbeat is fresh, by node name; none while the broker is away."""
        try:
            async with asyncio.timeout(IO_TIMEOUT_S):
                return await self._heartbeats()
        except LOSSES:
            return []

    async def _heartbeats(self) -> list[WorkerInfo]:
        keys = sorted([key async for key in self._redis.scan_iter(meeting.WORKER_PATTERN, count=1000)])
        rows = await self._redis.mget(keys) if keys else []
        return [_worker(json.loads(row)) for row in rows if row is not None]

    async def _answer(self, pending: _Pending) -> BatchResult:
        """Write the request until broker and worker have taken it; its answer."""
        wait = FIRST_WAIT_S
        while True:
            await self._send(pending)
            sent = time.monotonic()
            result = await pending.answer
            if result is not None:
                inference_s = float(result.meta.get("inference_s") or 0.0)
                self.spent_s["inference"] += inference_s
                self.spent_s["transfer"] += time.monotonic() - sent - inference_s
                return result
            self.counts["retries"] += 1
            pending.answer = asyncio.get_running_loop().create_future()
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    async def _send(self, pending: _Pending) -> None:
        """Write the request, with word of the answers that have been handled since."""
        handled = self._reader.take_handled()

        def hear(reply: Reply) -> None:
            if isinstance(reply, Exception):
                self._reader.give_back(handled)
                pending.sent = False
                if not pending.answer.done():
                    pending.answer.set_result(None)

        commands = (*self._reader.acknowledging(handled), *self._producer.commands(pending.request))
        try:
            await self._requests.tell(commands, hear)
            pending.sent = True
            if self._producer.lies_in_memory(pending.request):
                self.counts["in_memory"] += 1
        except LOSSES as e:
            hear(e)
        except asyncio.CancelledError:
            self._reader.give_back(handled)
            raise

    async def _withdraw(self, pending: _Pending | None) -> None:
        if pending is not None and pending.sent:
            with contextlib.suppress(*LOSSES):
                async with asyncio.timeout(IO_TIMEOUT_S):
                    await self._producer.withdraw(self._redis, pending.request)

    async def _handle(self, request_id: str, result: BatchResult) -> None:
        pending = self._pending.get(request_id)
        if pending is not None and not pending.answer.done():
            unread = result.status is Status.UNREAD
            if unread and self._memory is not None and not self._memory.off:
                logger.info("batches go by the broker, a worker cannot read them from memory: %s", result.error)
                self._memory.give_up()
            pending.answer.set_result(None if unread else result)
            return
        if result.status is Status.UNREAD:  # by the time it was read its request had ended
            return
        self.counts["late"] += 1
        if self._on_late is not None:
            await self._on_late(request_id, result)

    async def _resend_lost(self) -> None:
        """After a broker came back empty: send again what it has forgotten. A second answer counts as late."""
        for pending in [p for p in self._pending.values() if p.sent and not p.answer.done()]:
            if not await self._redis.exists(meeting.claim_key(pending.request.id)):
                self.counts["resent"] += 1
                await self._requests.ask(self._producer.commands(pending.request))

    async def _look_for_lost(self) -> None:
        """Send again what is neither queued, nor with a worker, nor answered.

        kombu takes a message off its queue first and notes it as delivered next: a worker that dies in between takes
        the message along. Twice in a row, because between the two steps a message is nowhere for a moment.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for pending in [p for p in self._pending.values() if p.sent and not p.answer.done()]:
                pending.looks += 1
                if pending.looks == 1:  # sent just now, perhaps
                    continue
                with contextlib.suppress(*LOSSES):
                    async with asyncio.timeout(IO_TIMEOUT_S):
                        known = await self._producer.known(self._redis, pending.request)
                        pending.missed = 0 if known else pending.missed + 1
                        if pending.missed >= LOST_AFTER_LOOKS:
                            pending.missed = 0
                            self.counts["resent"] += 1
                            await self._requests.ask(self._producer.commands(pending.request))

    def _why_expired(self, task: str, pending: _Pending | None) -> str:
        if not self.connected:
            return f"task '{task}': the broker at {without_password(self._url)} does not answer; start it"
        if pending is None:
            return f"task '{task}': no slot before the deadline; start more workers or batch less often"
        return f"task '{task}': no worker answered before the deadline; look at lineside worker's log"


def _worker(row: Mapping[str, object]) -> WorkerInfo:
    tasks, failed = row.get("tasks"), row.get("failed")
    return WorkerInfo(
        node=str(row.get("node")),
        device=str(row.get("device")),
        tasks=dict(tasks) if isinstance(tasks, dict) else {},
        failed=dict(failed) if isinstance(failed, dict) else {},
        batches=int(str(row.get("batches", 0))),
        busy_s=float(str(row.get("busy_s", 0.0))),
    )
