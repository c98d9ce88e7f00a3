"""From a batch of windows to a Celery message in Redis, without blocking the event loop.

Celery builds the message (``as_task_v2``); redis.asyncio writes it together with the claim-checked batch in one
transaction. ``apply_async`` would block the loop for 0.64 ms p50, 11 ms p99 (measured), and a 393 KB batch inside the
message costs 3.7 ms instead of 0.01 ms.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from celery import Celery
from kombu.serialization import dumps

from lineside_plugins import meeting
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import encode_batch, sign

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CLAIM_SLACK_S = 60  # a worker that is late by less than this can still say so


@dataclass(frozen=True, slots=True)
class Request:
    """One batch ready to be sent, or sent again: ``message`` is the Celery envelope, ``claim`` the encoded batch."""

    id: str
    task: str
    queue: str
    message: str
    claim: bytes
    ttl_s: int


class RequestProducer:
    """Builds and sends requests for one gateway."""

    def __init__(self, gateway_id: str, hmac_key: bytes = b"") -> None:
        """With an ``hmac_key`` every request is signed, tensor included."""
        self._reply = meeting.reply_stream(gateway_id)
        self._origin = f"gateway@{gateway_id}"
        self._key = hmac_key
        self._app = Celery("lineside-gateway", set_as_current=False)

    def build(
        self, batch: WindowBatch, task: str, deadline: datetime, config: Mapping[str, object], *, now: float
    ) -> Request:
        """Encode ``batch`` for ``task``; ``deadline`` and ``now`` (seconds since 1970) are wall-clock times."""
        request_id = uuid.uuid4().hex
        claim = encode_batch(batch)
        meta: dict[str, object] = {
            "id": request_id,
            "task": task,
            "reply": self._reply,
            "deadline": deadline.timestamp(),
            "config": dict(config),
        }
        if self._key:
            meta["hmac"] = sign(self._key, meta, claim)
        key = meeting.claim_key(request_id)
        return Request(
            id=request_id,
            task=task,
            queue=meeting.queue(task),
            message=self._message(request_id, meeting.queue(task), (key, task, meta), deadline),
            claim=claim,
            ttl_s=max(1, int(deadline.timestamp() - now)) + _CLAIM_SLACK_S,
        )

    async def send(self, redis: Redis, request: Request) -> None:
        """Write batch and message in one transaction. Raises redis-py's errors; the caller tries again."""
        async with redis.pipeline(transaction=True) as pipe:
            pipe.set(meeting.claim_key(request.id), request.claim, ex=request.ttl_s)
            pipe.lpush(request.queue, request.message)
            await pipe.execute()

    async def withdraw(self, redis: Redis, request: Request) -> None:
        """Take back what no worker has fetched, so that a queue without workers does not grow."""
        async with redis.pipeline(transaction=False) as pipe:
            pipe.unlink(meeting.claim_key(request.id))
            pipe.lrem(request.queue, -1, request.message)
            await pipe.execute()

    def _message(self, request_id: str, queue: str, args: tuple[object, ...], deadline: datetime) -> str:
        task = self._app.amqp.as_task_v2(
            request_id,
            meeting.CELERY_TASK,
            args,
            {},
            expires=deadline,
            origin=self._origin,
            ignore_result=True,
            argsrepr=f"('{args[0]}',)",  # Celery's own would spell out the whole configuration for its log
        )
        content_type, content_encoding, body = dumps(task.body, "json")  # type: ignore[no-untyped-call]  # kombu is untyped here
        envelope = {
            "body": base64.b64encode(body.encode() if isinstance(body, str) else body).decode(),
            "content-encoding": content_encoding,
            "content-type": content_type,
            "headers": task.headers,
            "properties": {
                **task.properties,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
        return json.dumps(envelope, separators=(",", ":"))
