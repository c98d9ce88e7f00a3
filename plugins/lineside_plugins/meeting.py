"""Where gateway and workers meet at the broker: the names both sides use. Neither imports the other.

A request is a Celery message (task ``lineside.recommend``, arguments claim key, task, meta) in the queue of its task.
Its batch, or the place of it in shared memory (``wire.shared``), lies beside it under the claim key, with a TTL that
ends ``CLAIM_SLACK_S`` after the deadline: how much time is left is told by the broker, so that the clocks of gateway
and worker may differ. ``meta`` is JSON: id, reply (stream), config (of the task), and hmac where a key is set. The
answer is one entry of the reply stream with the fields id, body and hmac.
"""

from __future__ import annotations

CELERY_TASK = "lineside.recommend"
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"  # where kombu keeps what is delivered and not acknowledged
WORKER_PATTERN = "lineside:worker:*"
PARKED_TTL_S = 24 * 3600
CLAIM_SLACK_S = 60  # how long a claim outlives its deadline, so that a worker that is late can still say so
REPLY_MAX_ENTRIES = 10_000  # per gateway; a gateway that is away longer than this many answers loses the oldest


def queue(task: str) -> str:
    """The Celery queue of ``task``; a worker takes the queues of the tasks it hosts, the most urgent first."""
    return f"lineside.{task}"


def claim_key(request_id: str) -> str:
    """Key of the encoded batch of a request."""
    return f"lineside:claim:{request_id}"


def attempts_key(request_id: str) -> str:
    """Key of the counter of deliveries of a request."""
    return f"lineside:attempts:{request_id}"


def taken_key(worker: str) -> str:
    """Key under which a worker finds the batch it has just taken; for the time of one exchange."""
    return f"lineside:taken:{worker}"


def parked_key(request_id: str) -> str:
    """Key under which the batch of a parked request is kept for ``PARKED_TTL_S``, to look into."""
    return f"lineside:parked:{request_id}"


def reply_stream(gateway_id: str) -> str:
    """The Redis Stream on which a gateway gets its answers."""
    return f"lineside:results:{gateway_id}"


def worker_key(node: str) -> str:
    """Key of a worker's heartbeat; it lives only as long as the worker renews it."""
    return f"lineside:worker:{node}"
