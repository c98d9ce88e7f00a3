"""One request from the broker to its answer: claim, attempts, deadline, signature, task, reply."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lineside_plugins import meeting
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status, WireError, decode_batch, encode_result, sign, verify

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
_ATTEMPTS_TTL_S = 3600
# Whoever removes the claim answers: a request that two workers hold at once is answered once.
_REPLY_ONCE = """
if redis.call('UNLINK', KEYS[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'id', ARGV[2], 'body', ARGV[3], 'hmac', ARGV[4])
return 1
"""


class Answers(Protocol):
    """Who runs a batch; ``Host`` in a worker."""

    def answer(self, task: str, config: Mapping[str, object], batch: WindowBatch) -> BatchResult:
        """The result of ``batch``; does not raise for what a task does wrong."""
        ...


@dataclass(slots=True)
class Desk:
    """Handles requests one at a time. ``clock`` gives seconds since 1970, to hold against a request's deadline."""

    redis: Any  # redis.Redis; its stubs cannot say whether a reply is awaitable
    host: Answers
    node: str
    hmac_key: bytes = b""
    clock: Callable[[], float] = time.time

    def handle(self, claim_key: str, task: str, meta: Mapping[str, Any]) -> Status | None:
        """Answer one request; returns how, or None if another delivery of it has been answered.

        Raises:
            redis.RedisError: The broker is lost; Celery delivers the request again.
        """
        request_id = str(meta["id"])
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.get(claim_key)
            pipe.incr(meeting.attempts_key(request_id))
            pipe.expire(meeting.attempts_key(request_id), _ATTEMPTS_TTL_S)
            claim, attempts, _ = pipe.execute()
        if claim is None:
            logger.info("claim gone request=%s task=%s attempt=%d", request_id, task, attempts)
            return None
        result = self._result(claim, attempts, task, meta)
        if result.status is Status.PARKED:
            self.redis.set(meeting.parked_key(request_id), claim, ex=meeting.PARKED_TTL_S)
        return result.status if self._reply(claim_key, meta, result, attempts) else None

    def _result(self, claim: bytes, attempts: int, task: str, meta: Mapping[str, Any]) -> BatchResult:
        late_s = self.clock() - float(meta["deadline"])
        if attempts > MAX_ATTEMPTS:
            return BatchResult(
                Status.PARKED,
                error=f"task '{task}': the batch ended its worker {MAX_ATTEMPTS} times and is parked under "
                f"{meeting.parked_key(str(meta['id']))}; look at the worker's log",
            )
        if late_s > 0:
            return BatchResult(
                Status.EXPIRED, error=f"task '{task}': {late_s:.1f} s past its deadline; start more workers"
            )
        try:
            if self.hmac_key:
                verify(self.hmac_key, {**meta, "task": task}, claim)
            batch = decode_batch(claim)
        except WireError as e:
            return BatchResult(Status.FAILED, error=f"task '{task}': {e}")
        return self.host.answer(task, meta.get("config") or {}, batch)

    def _reply(self, claim_key: str, meta: Mapping[str, Any], result: BatchResult, attempts: int) -> bool:
        figures = {**result.meta, "worker": self.node, "attempts": attempts}
        body = encode_result(replace(result, meta=figures))
        request_id = str(meta["id"])
        signature = sign(self.hmac_key, {"id": request_id}, body) if self.hmac_key else ""
        stream = str(meta["reply"])
        if not stream.startswith(meeting.reply_stream("")):
            logger.warning("reply stream refused request=%s stream=%s", request_id, stream)
            return False
        sent = self.redis.eval(
            _REPLY_ONCE, 2, claim_key, stream, meeting.REPLY_MAX_ENTRIES, request_id, body, signature
        )
        return bool(sent)
