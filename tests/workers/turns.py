"""What tests of a worker's turn are made of: a host that remembers, and messages taken as kombu takes them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping

from redis import Redis

from lineside_plugins import WindowBatch, meeting
from lineside_plugins.wire import BatchResult, Status
from lineside_workers.requests.counter import Counter
from lineside_workers.requests.desk import Turn

QUEUES = [meeting.queue("soon"), meeting.queue("late")]


class Recorder:
    """A host that answers everything, remembers in which order, and lets a test act in the middle of a batch."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.fails = ""

    def answer(self, task: str, _config: Mapping[str, object], batch: WindowBatch) -> BatchResult:
        self.asked.append((task, "+".join(batch.equipment_ids)))
        self.meanwhile()
        if self.fails in (batch.equipment_ids if self.fails else ()):
            return BatchResult(Status.FAILED, error="cursed")
        return BatchResult(Status.ANSWERED, (None,) * len(batch))


def by_celery(redis: Redis, task: str) -> tuple[str, dict[str, object]]:
    """Takes the next message off its queue, as kombu does; what Celery would call the task with."""
    (_, name, meta), _, _ = json.loads(base64.b64decode(json.loads(redis.rpop(meeting.queue(task)))["body"]))
    return name, meta


def delivered(redis: Redis, counter: Counter, task: str) -> tuple[str, dict[str, object]]:
    """``by_celery`` with kombu's note of it."""
    queue = meeting.queue(task)
    kept = json.dumps([json.loads(redis.lindex(queue, -1)), "", queue])
    name, meta = by_celery(redis, task)
    notes = ("ZADD", meeting.UNACKED_INDEX, time.time(), meta["id"]), ("HSET", meeting.UNACKED, meta["id"], kept)
    counter.take_in(str(meta["id"]), *notes, tag=str(meta["id"]))
    return name, meta


def restore(redis: Redis) -> None:
    """Puts back what a dead worker had, to the front as kombu does."""
    for tag, kept in redis.hgetall(meeting.UNACKED).items():
        message, _exchange, queue = json.loads(kept)
        redis.hdel(meeting.UNACKED, tag)
        redis.zrem(meeting.UNACKED_INDEX, tag)
        redis.rpush(queue, json.dumps(message))


def turn(leave: Callable[[], bool] = lambda: False) -> Turn:
    return Turn(QUEUES, time.monotonic() + 60, leave)


def answered(redis: Redis) -> list[str]:
    return [fields[b"id"].decode() for _, fields in redis.xrange(meeting.reply_stream("gw"))]


def fetched(redis: Redis, *ids: str) -> Callable[[], None]:
    """Holds the first run up until requests ``ids`` have been taken."""
    missing = set(ids)

    def wait() -> None:
        while missing:
            missing.difference_update([i for i in missing if redis.hexists(meeting.UNACKED, i)])
            time.sleep(0.001)

    return wait
