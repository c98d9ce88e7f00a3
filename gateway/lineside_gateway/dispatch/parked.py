"""Requests that ended their worker three times: what they were, another try, or away with them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from lineside_gateway.dispatch.connection import LOSSES, connect, without_password
from lineside_gateway.dispatch.dispatcher import CeleryDispatcher
from lineside_gateway.dispatch.errors import BrokerError
from lineside_plugins import meeting
from lineside_plugins.wire import BatchResult, Status, WireError, decode_batch

if TYPE_CHECKING:
    from redis.asyncio import Redis


@dataclass(frozen=True, slots=True)
class ParkedRequest:
    """One parked request. ``config`` is the task's; ``equipment_ids`` is empty where the batch cannot be read."""

    id: str
    task: str
    cause: str
    at: datetime
    config: Mapping[str, object]
    equipment_ids: tuple[str, ...]
    claim: bytes


async def parked(url: str) -> list[ParkedRequest]:
    """What is parked at the broker, oldest first.

    Raises:
        BrokerError: It does not answer.
    """
    async with _at(url) as redis:
        pattern = meeting.parked_key("*")
        keys = [key async for key in redis.scan_iter(pattern, count=1000)]
        rows = [
            (key.decode().removeprefix(pattern[:-1]), cast("dict[bytes, bytes]", await redis.hgetall(key)))
            for key in keys
        ]
        return sorted((_request(name, row) for name, row in rows if row), key=lambda p: p.at)


async def drop(url: str, request_id: str) -> bool:
    """Forget a parked request; False where there is none of that id.

    Raises:
        BrokerError: The broker does not answer.
    """
    async with _at(url) as redis:
        return bool(await redis.delete(meeting.parked_key(request_id)))


async def retry(url: str, request: ParkedRequest, within_s: float, hmac_key: bytes = b"") -> BatchResult:
    """Let a worker try once more, and drop the request when it is answered.

    The answer comes back here and goes no further: what was recommended then is no longer of use to the plant.
    """
    name = f"parked-{os.getpid()}"
    deadline = datetime.now(UTC) + timedelta(seconds=within_s)
    async with CeleryDispatcher(name, url, hmac_key=hmac_key) as dispatcher:
        await dispatcher.check()
        result = await dispatcher.submit(decode_batch(request.claim), request.task, deadline, request.config)
    async with _at(url) as redis:
        await redis.delete(meeting.reply_stream(name))
        if result.status is Status.ANSWERED:
            await redis.delete(meeting.parked_key(request.id))
    return result


def _request(request_id: str, row: Mapping[bytes, bytes]) -> ParkedRequest:
    claim = row.get(b"claim", b"")
    try:
        equipment_ids = decode_batch(claim).equipment_ids
    except WireError:
        equipment_ids = ()
    return ParkedRequest(
        request_id,
        row.get(b"task", b"").decode(),
        row.get(b"cause", b"").decode(),
        datetime.fromtimestamp(float(row.get(b"at", b"0")), UTC),
        json.loads(row.get(b"config", b"{}")),
        equipment_ids,
        claim,
    )


@asynccontextmanager
async def _at(url: str) -> AsyncIterator[Redis]:
    redis = connect(url)
    try:
        yield redis
    except LOSSES as e:
        raise BrokerError(
            f"the broker at {without_password(url)} cannot be used: {e}; start it or correct --broker"
        ) from e
    finally:
        await redis.aclose()
