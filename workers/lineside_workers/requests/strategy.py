"""How a worker runs a request: straight from its message, where nobody watches Celery's events.

Celery's own strategy makes a request object, keeps its state for inspection, traces the task and sends its signals: a
tenth of the forward pass of a small model for each batch. None of it decides anything here: claims, attempts and
deadlines are the desk's, and results go to a stream. Nor does Celery deliver what waits while a request is answered:
the desk takes it itself, for a quarter of a second. As soon as somebody watches, or has revoked a task, Celery's own
strategy is what runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker import state
from celery.worker.strategy import default

from lineside_workers.requests.desk import Turn

logger = logging.getLogger(__name__)

TURN_S = 0.25  # then Celery has its timers, its commands and its signals looked at


def direct(task: Any, app: Any, consumer: Any) -> Callable[..., None]:
    """A handler of messages for ``task``; Celery asks for it once per connection."""
    eventer, revoked = consumer.event_dispatcher, consumer.controller.state.revoked
    celerys_own: list[Callable[..., object]] = []

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **_: object) -> None:
        if revoked or _tells_of_tasks(eventer):
            if not celerys_own:  # made now, because it asks whether events are sent when it is made
                celerys_own.append(default(task, app, consumer))
            celerys_own[0](message, body, ack, reject, callbacks)
            return
        try:
            args, kwargs, _workflow = message.payload
        except (TypeError, ValueError) as e:
            raise InvalidTaskError(f"the message is not of Celery's task protocol 2: {e}") from e

        def leave() -> bool:
            return revoked or _tells_of_tasks(eventer) or (state.should_stop, state.should_terminate) != (None, None)

        queues = [q.name for q in consumer.task_consumer.queues]
        try:
            task.run(*args, turn=Turn(queues, time.monotonic() + TURN_S, leave), **kwargs)
        except Exception:  # supervision point: the message is done with, as with Celery; the gateway asks again
            logger.exception("request_failed task=%s", task.name)
        ack(logger, consumer.connection_errors)

    return handle


def _tells_of_tasks(eventer: Any) -> bool:
    """Whether events of tasks are sent; those of the worker itself always are. No groups means all of them."""
    return bool(eventer and eventer.enabled and (not eventer.groups or "task" in eventer.groups))
