"""kombu's bookkeeping of deliveries, in the same exchanges as claims and answers (see ``counter``)."""

from __future__ import annotations

import json
import time
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from lineside_plugins import meeting
from lineside_workers.requests.counter import Counter


def install(counter: Counter) -> None:
    """Let the channels of this process, from now on, account for requests at ``counter``."""
    base: Any = kombu_redis.Channel.QoS  # the repaired one where that is installed

    class RequestQoS(base):  # type: ignore[misc]  # the base is chosen at run time
        """kombu's QoS; for messages of other tasks it does what it always does."""

        def append(self, message: Any, delivery_tag: str) -> None:
            """Note the message as delivered, and fetch the claim of its request on the way."""
            headers = message.headers or {}
            if headers.get("task") != meeting.CELERY_TASK:
                super().append(message, delivery_tag)
                return
            info = message.delivery_info
            kept = json.dumps([message._raw, info["exchange"], info["routing_key"]], separators=(",", ":"))  # noqa: SLF001
            counter.take_in(
                headers["id"],
                ("ZADD", self.unacked_index_key, time.time(), delivery_tag),
                ("HSET", self.unacked_key, delivery_tag, kept),
                tag=delivery_tag,
            )
            virtual.QoS.append(self, message, delivery_tag)  # type: ignore[no-untyped-call]  # kombu

        def ack(self, delivery_tag: str) -> None:
            """Free the slot; the answer has told the broker already, if there was one."""
            if counter.acknowledged(delivery_tag):
                virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]  # kombu
            else:
                super().ack(delivery_tag)

    kombu_redis.Channel.QoS = RequestQoS
