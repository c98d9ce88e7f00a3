"""The Celery app of a worker process.

Started by ``python -m lineside_workers serve`` or ``celery -A lineside_workers.app worker``. Configured by the
environment (``settings.py``). Models load before the worker reports ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery

from lineside_plugins import meeting
from lineside_workers.requests import ack_repair, broker
from lineside_workers.requests.connection import SteadyConnection
from lineside_workers.settings import WorkerSettings


def build(settings: WorkerSettings) -> Celery:
    """An app for ``settings``; nothing connects yet."""
    access = broker.celery_options(settings.broker_url)
    app = Celery("lineside", broker=access["broker_url"], include=["lineside_workers.tasks"])
    app.conf.update(
        broker_use_ssl=access.get("broker_use_ssl"),
        # A killed worker's batch comes back: acknowledged only once answered.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        accept_content=["json"],
        task_serializer="json",
        # One process per device; a second thread would share its model.
        worker_pool="solo",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        # Keeps the connection's own traffic going: without it a worker wedged after a broker loss, 9 of 9 runs.
        worker_enable_remote_control=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport(access, settings),
    )
    app.amqp.Connection = SteadyConnection
    return app


def _transport(access: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    """How kombu's Redis transport keeps and hands out batches."""
    return {
        **access.get("broker_transport_options", {}),
        # A batch that takes longer is delivered to a second worker; the first answer counts.
        "visibility_timeout": settings.redeliver_after_s,
        # Looked for every second: redelivered 5.6 s after a kill with a timeout of 5 s, 101.9 s without these two.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        # A worker killed while it looks holds the lock for this long; kombu's own 300 s would hold up everybody.
        "unacked_mutex_expire": 5,
        # Queues in the order given: the task with the shortest deadline first.
        "queue_order_strategy": "priority",
        "unacked_key": meeting.UNACKED,
        "unacked_index_key": meeting.UNACKED_INDEX,
        # One list per queue instead of four: urgency is a matter of queues here, not of messages.
        "priority_steps": [0],
        "socket_keepalive": True,
    }


ack_repair.install()
app = build(WorkerSettings.from_env())
