"""Whether a worker of this host lives: its heartbeat at the broker, for container health checks."""

from __future__ import annotations

import socket

import redis
from redis.exceptions import RedisError

from lineside_plugins import meeting
from lineside_workers.errors import WorkerError
from lineside_workers.requests import broker
from lineside_workers.settings import WorkerSettings


def living(settings: WorkerSettings, host: str | None = None) -> list[str]:
    """Names of the workers of ``host`` (default: this one) whose heartbeat has not run out.

    Raises:
        WorkerError: The broker does not answer.
    """
    suffix = f"@{host or socket.gethostname()}"
    try:
        with redis.Redis(connection_pool=broker.pool(settings.broker_url, socket_timeout=2.0)) as client:
            keys = [k.decode() for k in client.scan_iter(meeting.WORKER_PATTERN, count=1000)]
    except (RedisError, OSError) as e:
        raise WorkerError(f"the broker does not answer: {e}; start it or correct LINESIDE_BROKER_URL") from e
    prefix = meeting.WORKER_PATTERN.rstrip("*")
    return sorted(k.removeprefix(prefix) for k in keys if k.endswith(suffix))
