"""redis-py's asyncio client as the dispatch uses it: losses show at once, and a cancelled call stays cancelled."""

from __future__ import annotations

import contextlib
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from lineside_gateway.dispatch.errors import BrokerError
from lineside_plugins.sentinels import sentinels

LOSSES = (RedisError, OSError)  # OSError includes the TimeoutError of asyncio.timeout
IO_TIMEOUT_S = 5.0  # put around each call with asyncio.timeout, see connect
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0  # between attempts to reach a lost broker; doubles each time
_MAX_CONNECTIONS = 16


def connect(url: str) -> Redis:
    """A client that opens its connections as needed, through sentinels where ``url`` names them.

    ``socket_timeout`` is None because redis-py then does without ``asyncio.wait_for``, which on Python 3.11 loses a
    cancellation that arrives as a write completes (41 of 200 calls, measured): a deadline would pass unnoticed. No
    retries of its own, because ours count them and end at the deadline.

    Raises:
        BrokerError: The URL cannot be used.
    """
    options: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": _MAX_CONNECTIONS,
        "socket_connect_timeout": 2,
        "socket_timeout": None,
    }
    try:
        found = sentinels(url)
        if found is None:
            return Redis.from_url(url, **options)
    except ValueError as e:
        raise BrokerError(f"the broker's URL {without_password(url)} cannot be used: {e}; correct broker.url") from e
    own: dict[str, Any] = {"protocol": 2, "socket_timeout": IO_TIMEOUT_S, "socket_connect_timeout": 2, **found.security}
    if found.own_password:
        own["password"] = found.own_password
    manager: Any = Sentinel(found.hosts, sentinel_kwargs=own)  # type: ignore[no-untyped-call]  # redis-py
    client: Redis = manager.master_for(
        found.master, redis_class=_Master, db=found.db, **options, **found.login, **found.security
    )
    return client


class _Master(Redis):
    """Whoever is master now. redis-py leaves the connections to the sentinels open."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close those to the master, and those to the sentinels."""
        manager: Any = self.connection_pool
        async with contextlib.AsyncExitStack() as connections:  # closed one and all, also where one fails
            for sentinel in manager.sentinel_manager.sentinels:
                connections.push_async_callback(sentinel.aclose)
            await super().aclose(close_connection_pool)


def without_password(url: str) -> str:
    """``url`` fit for a log or an error."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
