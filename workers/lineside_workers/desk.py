"""One request from the broker to its answer: claim, attempts, deadline, signature, task, reply."""

from __future__ import annotations

import base64
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from pydantic_core import from_json

from lineside_plugins import meeting
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status, WireError, decode_batch, encode_result, sign, verify
from lineside_workers.counter import Counter, Delivery
from lineside_workers.figures import Figures

logger = logging.getLogger(__name__)

_Request: TypeAlias = tuple[str, Mapping[str, Any]]  # task and meta

MAX_ATTEMPTS = 3
FETCH_AHEAD_BELOW_S = 0.05  # a batch fetched ahead of a longer one would wait while another worker is idle


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
class Desk:
    """Handles requests one at a time. ``clock`` gives seconds since 1970, for what is parked."""

    counter: Counter
    host: Answers
    node: str
    hmac_key: bytes = b""
    clock: Callable[[], float] = time.time
    figures: Figures = field(default_factory=Figures)
    _took_s: dict[str, float] = field(default_factory=dict)  # by each task's batch before

    def handle(self, task: str, meta: Mapping[str, Any], turn: Turn = ONE) -> Status | None:
        """Answer this request, then those that follow in its turn.

        Returns how this one was answered, or None if another delivery of it has been.

        Raises:
            redis.RedisError: The broker is lost; what was not answered is delivered again.
        """
        how: list[Status | None] = []
        delivery: Delivery | None = self.counter.delivery(str(meta["id"]))
        request: _Request | None = (task, meta)
        heard: Callable[[Status | None], object] = how.append
        while delivery is not None:
            self._one(delivery, request, turn, heard)
            leave = turn.leave()
            delivery = self.counter.follow(_queues(turn), leave=leave)
            request = None if delivery is None else read_request(delivery.message)
            heard = _nobody
        return how[0] if how else None

    def _one(
        self, delivery: Delivery, request: _Request | None, turn: Turn, heard: Callable[[Status | None], object]
    ) -> None:
        if request is None or delivery.claim is None:
            what = "message of another version" if request is None else "claim gone"
            logger.info("%s request=%s attempt=%d", what, delivery.request_id, delivery.attempts)
            self.counter.drop(delivery)
            return
        task, meta = request
        started = time.monotonic()
        quick = self._took_s.get(task, math.inf) < FETCH_AHEAD_BELOW_S
        self.counter.begin(delivery, _queues(turn) if quick else ())
        result = self._result(delivery, delivery.claim, task, meta)
        if result.status is Status.PARKED:
            self.counter.park(delivery, task, meta.get("config") or {}, result.error, self.clock())
        self._reply(delivery, meta, result, heard)
        self._took_s[task] = time.monotonic() - started
        self.figures.answer_s += self._took_s[task]

    def _result(self, delivery: Delivery, claim: bytes | memoryview, task: str, meta: Mapping[str, Any]) -> BatchResult:
        if delivery.attempts > MAX_ATTEMPTS:
            return BatchResult(
                Status.PARKED,
                error=f"task '{task}': the batch ended its worker {MAX_ATTEMPTS} times and is parked as {meta['id']}; "
                "look at the worker's log, then: lineside parked retry",
            )
        if delivery.left_s < 0:
            late = f"{-delivery.left_s:.1f} s past its deadline"
            return BatchResult(Status.EXPIRED, error=f"task '{task}': {late}; start more workers")
        try:
            if self.hmac_key:
                verify(self.hmac_key, {**meta, "task": task}, claim)
            batch = decode_batch(claim)
        except WireError as e:
            return BatchResult(Status.FAILED, error=f"task '{task}': {e}")
        return self.host.answer(task, meta.get("config") or {}, batch)

    def _reply(
        self, delivery: Delivery, meta: Mapping[str, Any], result: BatchResult,
        heard: Callable[[Status | None], object],
    ) -> None:  # fmt: skip
        stream = str(meta["reply"])
        if not stream.startswith(meeting.reply_stream("")):
            logger.warning("reply stream refused request=%s stream=%s", delivery.request_id, stream)
            self.counter.drop(delivery)
            return
        figures = {**result.meta, "worker": self.node, "attempts": delivery.attempts}
        body = encode_result(replace(result, meta=figures))
        signature = sign(self.hmac_key, {"id": delivery.request_id}, body) if self.hmac_key else ""

        def count(first: bool) -> None:
            self.figures.batches[result.status.value if first else "answered before"] += 1
            self.figures.windows += len(result.recommendations)
            self.figures.inference_s += float(result.meta.get("inference_s") or 0.0)
            heard(result.status if first else None)

        self.counter.answer(delivery, stream, body, signature, count)


def _queues(turn: Turn) -> Sequence[str]:
    return turn.queues if time.monotonic() < turn.until else ()


def _nobody(_status: Status | None) -> None:
    """Only the first request of a turn has somebody who asks."""


def read_request(message: bytes) -> _Request | None:
    """Task and meta of a message of Celery's protocol 2 as Redis holds it; None if it is something else."""
    try:
        envelope = from_json(message)
        (_claim, task, meta), _kwargs, _workflow = from_json(base64.b64decode(envelope["body"]))
        return str(task), {**meta}
    except (ValueError, KeyError, TypeError):
        return None
