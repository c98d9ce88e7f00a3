"""A worker's sign of life: a key with a TTL that says what it hosts and whether it is stuck in a batch."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from redis.exceptions import RedisError

from lineside_plugins import meeting

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
TTL_S = 6  # six beats: a worker is gone when this has passed, within two heartbeats of a PLC (12 s)


class Heartbeat:
    """Writes ``describe()`` every second from a thread of its own, so that a batch does not hold it up."""

    def __init__(
        self,
        redis: Any,
        node: str,
        describe: Callable[[], Mapping[str, object]],
        say: Callable[[str], object] = lambda _row: None,
    ) -> None:
        """``redis`` is a redis.Redis that gives up soon; ``describe`` and ``say`` are called from the thread.

        ``say`` gets each row before the broker does.
        """
        self._redis = redis
        self._node = node
        self._describe = describe
        self._say = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat once now, then go on in the background."""
        self._beat(lost=False)
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and remove the key, so that nobody counts on this worker any more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(PERIOD_S)
        try:
            self._redis.delete(meeting.worker_key(self._node))
        except (RedisError, OSError):
            logger.info("heartbeat left to expire node=%s", self._node)

    def _run(self) -> None:
        lost = False
        while not self._stop.wait(PERIOD_S):
            lost = self._beat(lost=lost)

    def _beat(self, *, lost: bool) -> bool:
        row = json.dumps({"node": self._node, **self._describe()})
        self._say(row)
        try:
            self._redis.set(meeting.worker_key(self._node), row, ex=TTL_S)
        except (RedisError, OSError) as e:
            if not lost:
                logger.warning("heartbeat cannot reach the broker node=%s error=%s", self._node, e)
            return True
        if lost:
            logger.info("heartbeat reaches the broker again node=%s", self._node)
        return False
