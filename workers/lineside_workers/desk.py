"""One request from the broker to its answer: claim, attempts, deadline, signature, task, reply."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from lineside_plugins import meeting
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status, WireError, decode_batch, encode_result, sign, verify
from lineside_workers.counter import Counter, Delivery
from lineside_workers.figures import Figures

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3


class Answers(Protocol):
    """Who runs a batch; ``Host`` in a worker."""

    def answer(self, task: str, config: Mapping[str, object], batch: WindowBatch) -> BatchResult:
        """The result of ``batch``; does not raise for what a task does wrong."""
        ...


@dataclass(slots=True)
class Desk:
    """Handles requests one at a time. ``clock`` gives seconds since 1970, for what is parked."""

    counter: Counter
    host: Answers
    node: str
    hmac_key: bytes = b""
    clock: Callable[[], float] = time.time
    figures: Figures = field(default_factory=Figures)

    def handle(self, task: str, meta: Mapping[str, Any]) -> Status | None:
        """Answer one request; returns how, or None if another delivery of it has been answered.

        Raises:
            redis.RedisError: The broker is lost; Celery delivers the request again.
        """
        started = time.monotonic()
        delivery = self.counter.delivery(str(meta["id"]))
        if delivery.claim is None:
            logger.info("claim gone request=%s task=%s attempt=%d", delivery.request_id, task, delivery.attempts)
            return None
        result = self._result(delivery, delivery.claim, task, meta)
        if result.status is Status.PARKED:
            self.counter.park(delivery, task, meta.get("config") or {}, result.error, self.clock())
        sent = self._reply(delivery, meta, result)
        self.figures.batches[result.status.value if sent else "answered before"] += 1
        self.figures.windows += len(result.recommendations)
        self.figures.inference_s += float(result.meta.get("inference_s") or 0.0)
        self.figures.answer_s += time.monotonic() - started
        return result.status if sent else None

    def _result(self, delivery: Delivery, claim: bytes, task: str, meta: Mapping[str, Any]) -> BatchResult:
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

    def _reply(self, delivery: Delivery, meta: Mapping[str, Any], result: BatchResult) -> bool:
        figures = {**result.meta, "worker": self.node, "attempts": delivery.attempts}
        body = encode_result(replace(result, meta=figures))
        signature = sign(self.hmac_key, {"id": delivery.request_id}, body) if self.hmac_key else ""
        stream = str(meta["reply"])
        if not stream.startswith(meeting.reply_stream("")):
            logger.warning("reply stream refused request=%s stream=%s", delivery.request_id, stream)
            return False
        return self.counter.answer(delivery, stream, body, signature)
