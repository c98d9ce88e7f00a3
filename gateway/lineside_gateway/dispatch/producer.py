"""From a batch of windows to a Celery message in Redis, without blocking the event loop.

The message is written as Celery's task protocol 2 and kombu's Redis transport have it, by hand: Celery's own
``as_task_v2`` takes four times as long, and ``apply_async`` would block the loop for 0.64 ms p50, 11 ms p99
(measured). Message and claim-checked batch go out in one write; a 393 KB batch inside the message costs 3.7 ms
instead of 0.01 ms.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic_core import to_json

from lineside_gateway.dispatch.line import Command
from lineside_gateway.dispatch.shared_memory import SharedMemory
from lineside_plugins import meeting
from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import batch_pieces, sign

if TYPE_CHECKING:
    from redis.asyncio import Redis

_ALONE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}  # this task is part of no workflow


@dataclass(frozen=True, slots=True)
class Request:
    """One batch ready to be sent, or sent again: ``message`` is the Celery envelope, ``claim`` the encoded batch.

    It is in pieces, which are the windows' own memory: nobody mutates a batch. ``deadline_s`` is wall clock,
    seconds since 1970.
    """

    id: str
    task: str
    queue: str
    message: bytes
    claim: tuple[bytes | memoryview, ...]
    deadline_s: float

    def ttl_ms(self, now: float) -> int:
        """How long the claim is kept from wall clock ``now`` on."""
        return max(1, round(1e3 * (self.deadline_s - now + meeting.CLAIM_SLACK_S)))


class RequestProducer:
    """Builds requests for one gateway."""

    def __init__(self, gateway_id: str, hmac_key: bytes = b"", memory: SharedMemory | None = None) -> None:
        """With an ``hmac_key`` every request is signed, tensor included.

        With a ``memory`` large batches lie there, and only their place goes to the broker.
        """
        self._memory = memory
        self._reply = meeting.reply_stream(gateway_id)
        self._origin = f"gateway@{gateway_id}"
        self._key = hmac_key

    def build(self, batch: WindowBatch, task: str, deadline: datetime, config: Mapping[str, object]) -> Request:
        """Encode ``batch`` for ``task``; ``deadline`` is a wall-clock time."""
        request_id = uuid.uuid4().hex
        claim = batch_pieces(batch)
        meta: dict[str, object] = {
            "id": request_id,
            "task": task,
            "reply": self._reply,
            "config": dict(config),
        }
        if self._key:
            meta["hmac"] = sign(self._key, meta, *claim)
        return Request(
            id=request_id,
            task=task,
            queue=meeting.queue(task),
            message=self._message(request_id, task, meta),
            claim=claim,
            deadline_s=deadline.timestamp(),
        )

    def commands(self, request: Request) -> tuple[Command, ...]:
        """What hands ``request`` to the broker: its batch or the place of it, then its message."""
        place = self._memory.place(request.id, request.claim) if self._memory else None
        claim = request.claim if place is None else place.encode()
        return (
            ("SET", meeting.claim_key(request.id), claim, "PX", request.ttl_ms(time.time())),
            ("LPUSH", request.queue, request.message),
        )

    def lies_in_memory(self, request: Request) -> bool:
        """Whether only the place of its batch goes to the broker."""
        return self._memory is not None and self._memory.holds(request.id)

    def release(self, request: Request) -> None:
        """The request has ended: nobody reads its batch any more."""
        if self._memory:
            self._memory.release(request.id)

    async def known(self, redis: Redis, request: Request) -> bool:
        """Whether the broker has the request in its queue or with a worker. Raises redis-py's errors."""
        async with redis.pipeline(transaction=True) as pipe:
            pipe.hexists(meeting.UNACKED, request.id)
            pipe.lpos(request.queue, request.message)  # type: ignore[arg-type]  # bytes go as they are
            delivered, place = await pipe.execute()
        return bool(delivered) or place is not None

    async def withdraw(self, redis: Redis, request: Request) -> None:
        """Take back what no worker has fetched, so that a queue without workers does not grow."""
        async with redis.pipeline(transaction=False) as pipe:
            pipe.unlink(meeting.claim_key(request.id))
            pipe.lrem(request.queue, -1, request.message)  # type: ignore[arg-type]  # bytes go as they are
            await pipe.execute()

    def _message(self, request_id: str, task: str, meta: Mapping[str, object]) -> bytes:
        """Without Celery's ``expires``: a worker looks at the deadline itself, and says so in an answer."""
        key = meeting.claim_key(request_id)
        body = to_json(((key, task, meta), {}, _ALONE))
        return to_json(
            {
                "body": base64.b64encode(body).decode("ascii"),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {
                    "lang": "py",
                    "task": meeting.CELERY_TASK,
                    "id": request_id,
                    "root_id": request_id,
                    "parent_id": None,
                    "group": None,
                    "retries": 0,
                    "eta": None,
                    "timelimit": (None, None),
                    "argsrepr": f"('{key}',)",  # Celery's own would spell out the whole configuration for its log
                    "kwargsrepr": "{}",
                    "origin": self._origin,
                    "ignore_result": True,
                },
                "properties": {
                    "correlation_id": request_id,
                    "reply_to": "",
                    "delivery_mode": 2,
                    "delivery_info": {"exchange": "", "routing_key": meeting.queue(task)},
                    "priority": 0,
                    "body_encoding": "base64",
                    "delivery_tag": request_id,
                },
            }
        )
