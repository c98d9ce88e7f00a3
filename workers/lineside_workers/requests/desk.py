"""From the broker to the answer: claim, attempts, deadline, signature, task, reply."""

from __future__ import annotations

import base64
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic_core import from_json

from lineside_plugins import meeting
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status, WireError, decode_batch, encode_result, sign, verify
from lineside_workers.requests import joining
from lineside_workers.requests.beside import Beside
from lineside_workers.requests.counter import Counter, Delivery
from lineside_workers.requests.figures import Figures
from lineside_workers.requests.shared_memory import SharedMemory, UnreadError

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
AHEAD = 2  # batches that are fetched while one runs: a gateway has three of a task on their way
FETCH_AHEAD_BELOW_S = 0.05  # a batch fetched ahead of a longer one would wait while another worker is idle
ASKED_EVERY = 1 / 3  # of what a run usually takes: what comes during one is there when the next begins
ASKED_EVERY_S = 0.0005  # and not more often: an empty answer costs the broker 0.05 ms
JOIN_WINDOWS = 64  # as many as a gateway puts into a batch unless it is told otherwise


class Answers(Protocol):
    """Who runs a batch; ``Host`` in a worker."""

    def answer(self, task: str, config: Mapping[str, object], batch: WindowBatch) -> BatchResult:
        """The result of ``batch``; does not raise for what a task does wrong."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """For how long a worker goes on from one request to the next by itself: its queues, the most urgent first.

    Until ``until`` (monotonic) batches are fetched ahead; once ``leave()`` is true, those that were go back.
    """

    queues: Sequence[str] = ()
    until: float = 0.0
    leave: Callable[[], bool] = lambda: False


ONE = Turn()  # this request and no other


@dataclass(slots=True)
class Request:
    """A delivery with what its message says, and who hears how it was answered (None: another delivery of it was)."""

    delivery: Delivery
    task: str
    meta: Mapping[str, Any]
    heard: Callable[[Status | None], object] = lambda _status: None

    @property
    def config(self) -> Mapping[str, object]:
        """The task's configuration, {} for its own."""
        return self.meta.get("config") or {}


@dataclass(slots=True)
class Desk:
    """Handles requests one after the other, those that wait for the same model at once.

    ``clock`` gives seconds since 1970, for what is parked. ``join_windows``: how many windows of several requests are
    computed at once; a request with more is computed alone.
    """

    counter: Counter
    host: Answers
    node: str
    hmac_key: bytes = b""
    clock: Callable[[], float] = time.time
    join_windows: int = JOIN_WINDOWS
    figures: Figures = field(default_factory=Figures)
    memory: SharedMemory = field(default_factory=SharedMemory)
    _held: list[tuple[Request, WindowBatch]] = field(default_factory=list)
    _beside: Beside = field(default_factory=Beside)
    _usual_s: dict[tuple[str, int], float] = field(default_factory=dict)  # by task and windows, of the run before
    _took_s: dict[str, float] = field(default_factory=dict)  # by each task's run before

    def handle(self, task: str, meta: Mapping[str, Any], turn: Turn = ONE) -> Status | None:
        """Answer this request, then those that follow in its turn.

        Returns how this one was answered, or None if another delivery of it has been.

        Raises:
            redis.RedisError: The broker is lost; what was not answered is delivered again.
        """
        how: list[Status | None] = []
        self._held.clear()  # of a turn that ended by the loss of the broker
        self._look_at(Request(self.counter.delivery(str(meta["id"])), task, meta, how.append))
        while True:
            if self._held:
                self._run(self._next(), turn)
            leave = turn.leave()
            taken = self.counter.follow(() if leave else _queues(turn), AHEAD, idle=not self._held)
            if leave:
                self.counter.give_back([*(r.delivery for r, _ in self._held), *taken])
                break
            for delivery in taken:
                self._look_at(read_request(delivery))
            if not self._held and not taken:
                break
        return how[0] if how else None

    def _look_at(self, request: Request) -> None:
        """Hold ``request`` with its batch, if there is something to run; answer what needs no model."""
        if request.delivery.claim is None or not request.task:
            what = "claim gone" if request.task else "message of another version"
            logger.info("%s request=%s attempt=%d", what, request.delivery.request_id, request.delivery.attempts)
            self.counter.drop(request.delivery)
            return
        try:
            claim = self.memory.find(request.delivery.request_id, request.delivery.claim)
        except UnreadError as e:
            self._reply(request, BatchResult(Status.UNREAD, error=f"{self.node}: {e}"))
            return
        request.delivery = request.delivery._replace(claim=claim)
        found = self._batch(request, claim)
        if isinstance(found, WindowBatch):
            self._held.append((request, found))
            return
        if found.status is Status.PARKED:
            self.counter.park(request.delivery, request.task, request.config, found.error, self.clock())
        self._reply(request, found)

    def _batch(self, request: Request, claim: bytes | memoryview) -> WindowBatch | BatchResult:
        task, delivery = request.task, request.delivery
        if delivery.attempts > MAX_ATTEMPTS:
            return BatchResult(
                Status.PARKED,
                error=f"task '{task}': the batch ended its worker {MAX_ATTEMPTS} times and is parked as "
                f"{delivery.request_id}; look at the worker's log, then: lineside parked retry",
            )
        if delivery.left_s < 0:
            late = f"{-delivery.left_s:.1f} s past its deadline"
            return BatchResult(Status.EXPIRED, error=f"task '{task}': {late}; start more workers")
        try:
            if self.hmac_key:
                verify(self.hmac_key, {**request.meta, "task": task}, claim)
            return decode_batch(claim)
        except WireError as e:
            return BatchResult(Status.FAILED, error=f"task '{task}': {e}")

    def _next(self) -> list[tuple[Request, WindowBatch]]:
        """The request held for longest, and those that can be computed with it.

        Only what is tried for the first time is joined: whoever ends the worker is then alone the next time.
        """
        first, batch = self._held[0]
        group, count = [self._held[0]], len(batch)
        for other, windows in self._held[1:]:
            same = (other.task, other.config, other.meta["reply"]) == (first.task, first.config, first.meta["reply"])
            new = first.delivery.attempts == other.delivery.attempts == 1
            if same and new and count + len(windows) <= self.join_windows and joining.fit(batch, windows):
                group.append((other, windows))
                count += len(windows)
        gone = {id(request) for request, _ in group}
        self._held = [(r, b) for r, b in self._held if id(r) not in gone]
        return group

    def _run(self, group: Sequence[tuple[Request, WindowBatch]], turn: Turn) -> None:
        started, (first, _) = time.monotonic(), group[0]
        batches = [batch for _, batch in group]
        quick = self._took_s.get(first.task, math.inf) < FETCH_AHEAD_BELOW_S
        self.counter.begin([request.delivery for request, _ in group])
        result = self._answer(first, joining.join(batches), turn if quick else ONE)
        if len(group) > 1 and result.status is not Status.ANSWERED:  # perhaps by the fault of one
            results = [self.host.answer(first.task, first.config, batch) for batch in batches]
        else:
            results = joining.split(result, batches)
        for (request, _), part in zip(group, results, strict=True):
            self._reply(request, part)
        self._took_s[first.task] = time.monotonic() - started
        self.figures.answer_s += self._took_s[first.task]

    def _answer(self, request: Request, batch: WindowBatch, turn: Turn) -> BatchResult:
        """Compute; what comes in the ``turn`` meanwhile is fetched and read beside."""
        started, run, most = time.monotonic(), (request.task, len(batch)), AHEAD - len(self._held)
        if turn.queues and most > 0:
            usual_s = self._usual_s.get(run, 0.0)
            self._beside.start(lambda waited: self._fetch(turn, most, usual_s, waited))
        try:
            return self.host.answer(request.task, request.config, batch)
        finally:
            self._beside.end()
            self._usual_s[run] = time.monotonic() - started

    def _fetch(self, turn: Turn, most: int, usual_s: float, waited: Callable[[float], bool]) -> None:
        """Ask for up to ``most`` requests, again and again while the first thread computes, and read their batches."""
        while most > 0 and waited(max(ASKED_EVERY_S, ASKED_EVERY * usual_s)):
            for delivery in self.counter.fetch(_queues(turn), most):
                self._look_at(read_request(delivery))
                most -= 1

    def _reply(self, request: Request, result: BatchResult) -> None:
        delivery, stream = request.delivery, str(request.meta["reply"])
        if not stream.startswith(meeting.reply_stream("")):
            logger.warning("reply stream refused request=%s stream=%s", delivery.request_id, stream)
            self.counter.drop(delivery)
            return
        body = encode_result(result, {"worker": self.node, "attempts": delivery.attempts})
        signature = sign(self.hmac_key, {"id": delivery.request_id}, body) if self.hmac_key else ""

        def count(first: bool) -> None:
            self.figures.batches[result.status.value if first else "answered before"] += 1
            self.figures.windows += len(result.recommendations)
            self.figures.inference_s += float(result.meta.get("inference_s") or 0.0)
            request.heard(result.status if first else None)

        self.counter.answer(delivery, stream, body, signature, count)


def read_request(delivery: Delivery) -> Request:
    """What the message of ``delivery`` says: one of Celery's protocol 2, as Redis holds it. No task if it is not."""
    try:
        envelope = from_json(delivery.message)
        (_claim, task, meta), _kwargs, _workflow = from_json(base64.b64decode(envelope["body"]))
        return Request(delivery, str(task), {**meta, "reply": str(meta["reply"])})
    except (ValueError, KeyError, TypeError):
        return Request(delivery, "", {})


def _queues(turn: Turn) -> Sequence[str]:
    return turn.queues if time.monotonic() < turn.until else ()
