"""redis-py's asyncio client as the dispatch uses it: losses show at once, and a cancelled call stays cancelled."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

LOSSES = (RedisError, OSError)  # OSError includes the TimeoutError of asyncio.timeout
IO_TIMEOUT_S = 5.0  # put around each call with asyncio.timeout, see connect
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0  # between attempts to reach a lost broker; doubles each time
_MAX_CONNECTIONS = 16


def connect(url: str) -> Redis:
    """A client that opens its connections as needed.

    ``socket_timeout`` is None because redis-py then does without ``asyncio.wait_for``, which on Python 3.11 loses a
    cancellation that arrives as a write completes (41 of 200 calls, measured): a deadline would pass unnoticed. No
    retries of its own, because ours count them and end at the deadline.
    """
    return Redis.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        max_connections=_MAX_CONNECTIONS,
        socket_connect_timeout=2,
        socket_timeout=None,
    )


def without_password(url: str) -> str:
    """``url`` fit for a log or an error."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
