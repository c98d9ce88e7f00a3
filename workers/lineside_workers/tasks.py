"""The one Celery task of a worker, and what happens when its process starts and ends."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from typing import Any

from celery import signals
from kombu.entity import Queue
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lineside_plugins import meeting
from lineside_plugins.memory import keep_freed_memory, keep_what_is_loaded
from lineside_workers.app import app
from lineside_workers.errors import WorkerError
from lineside_workers.hosting.host import Host
from lineside_workers.requests import broker, deliveries
from lineside_workers.requests.counter import Counter
from lineside_workers.requests.desk import ONE, Desk, Turn
from lineside_workers.requests.line import Line
from lineside_workers.settings import WorkerSettings
from lineside_workers.supervision.heartbeat import Heartbeat
from lineside_workers.supervision.metrics import WorkerCollector, serve

logger = logging.getLogger(__name__)

EXIT_CANNOT_GO_ON = 2


@dataclass(slots=True)
class _Process:
    """What this worker process holds between its start and its end."""

    host: Host
    desk: Desk
    heartbeat: Heartbeat


_process: list[_Process] = []


@app.task(  # type: ignore[untyped-decorator]  # Celery ships no types
    name=meeting.CELERY_TASK, ignore_result=True, Strategy="lineside_workers.requests.strategy:direct"
)
def recommend(_claim_key: str, task: str, meta: dict[str, Any], turn: Turn = ONE) -> None:
    """Answer one request, and those that follow in its turn; whatever goes wrong with one is part of its answer."""
    _process[0].desk.handle(task, meta, turn)


@signals.worker_init.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def open_process(sender: Any, **_: object) -> None:
    """Load all models and choose the queues. Ends the process with code 2 and one sentence if nothing can be served."""
    try:
        settings = WorkerSettings.from_env()
        keep_freed_memory()
        host = Host(settings)
        served = host.load()
    except WorkerError as e:
        print(f"lineside worker: {e}", file=sys.stderr)
        raise SystemExit(EXIT_CANNOT_GO_ON) from e
    for task in served:
        name = meeting.queue(task)
        sender.app.amqp.queues.add(Queue(name, exchange="", routing_key=name))  # type: ignore[no-untyped-call]  # kombu
    sender.app.amqp.queues.select([meeting.queue(t) for t in served])
    options = {"retry": Retry(NoBackoff(), 0), "socket_connect_timeout": 2, "socket_timeout": 2}
    redis = Redis(connection_pool=broker.pool(settings.broker_url, **options))
    if settings.beat:
        _say(json.dumps({"loaded": served}))
    counter = Counter(Line(settings.broker_url))
    deliveries.install(counter)
    desk = Desk(counter, host, sender.hostname, settings.hmac_key, join_windows=settings.join_windows)
    if settings.metrics_port:
        _serve_metrics(settings, WorkerCollector(desk.figures, host.describe, host.compared))
    _process[:] = [
        _Process(host, desk, Heartbeat(redis, sender.hostname, host.describe, _say if settings.beat else _keep_quiet))
    ]


@signals.worker_ready.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def report_ready(sender: Any, **_: object) -> None:
    """Start the heartbeat, and tell the parent process on standard output."""
    _process[0].heartbeat.start()
    keep_what_is_loaded()
    ready = {"ready": True, "node": sender.hostname, **_process[0].host.describe()}
    print(json.dumps(ready), flush=True)


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def close_process(**_: object) -> None:
    """Take the heartbeat back and release the models."""
    while _process:
        closing = _process.pop()
        closing.heartbeat.stop()
        closing.host.close()


def _serve_metrics(settings: WorkerSettings, collector: WorkerCollector) -> None:
    try:
        serve(settings.metrics_port, settings.metrics_host, collector)
    except WorkerError as e:
        print(f"lineside worker: {e}", file=sys.stderr)
        raise SystemExit(EXIT_CANNOT_GO_ON) from e


def _say(row: str) -> None:
    print(row, flush=True)


def _keep_quiet(_row: str) -> None:
    """Without a supervisor nobody reads."""
