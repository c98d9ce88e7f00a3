"""asyncua's own ways, and the transport alone: what Lineside is set beside."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

from asyncua import Client, ua
from asyncua.client.ua_session import UaSession

from benchmarks.ingest.measuring import BATCH, Meter, measure, pki, settings, start_flood
from benchmarks.ingest.messages import SEQUENCE_AT
from lineside_gateway.opcua.security import secure
from lineside_gateway.opcua.wire.session import WireClient, WireSession

OUTSTANDING = 4


@contextlib.asynccontextmanager
async def connected(options: argparse.Namespace, make: Callable[[], Client]) -> AsyncIterator[Client]:
    """A client with a session."""
    client = make()
    await secure(client, settings(options), pki(options))
    await client.connect()
    yield client


def plain(options: argparse.Namespace) -> Client:
    """Asyncua as it comes."""
    return Client(options.url, timeout=60, watchdog_intervall=60)


async def subscribe(options: argparse.Namespace, client: Client, handler: Any, **more: Any) -> Any:
    """Asyncua's own subscription to all tags."""
    parameters = ua.CreateSubscriptionParameters(100.0, 10_000, 1_000, 0, True, 0)
    subscription = await client.create_subscription(parameters, handler, **more)
    wanted = [client.get_node(ua.NodeId(k, 2)) for k in range(options.tags)]
    for at in range(0, len(wanted), BATCH):
        await subscription.subscribe_data_change(wanted[at : at + BATCH])
    await start_flood(client, subscription.subscription_id)
    return subscription


class Handler:
    """The smallest handler that keeps what it is told."""

    def __init__(self) -> None:
        self.count = 0
        self.last: Any = None

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:  # noqa: ARG002  # asyncua's signature
        """Called by asyncua for each value."""
        self.count += 1
        self.last = value


async def handler(options: argparse.Namespace) -> dict[str, object]:
    """Asyncua's ``datachange_notification``."""
    async with connected(options, lambda: plain(options)) as client:
        target = Handler()
        await subscribe(options, client, target)
        meter = Meter()
        await measure(options, lambda: target.count, meter)
        return meter.result(target.count)


async def iterator(options: argparse.Namespace) -> dict[str, object]:
    """Asyncua's ``async for``."""
    async with connected(options, lambda: plain(options)) as client:
        subscription = await subscribe(options, client, None, queue_maxsize=1_000_000)
        target = Handler()

        async def consume() -> None:
            async for event in subscription:
                target.datachange_notification(None, event, None)

        consuming = asyncio.create_task(consume())
        meter = Meter()
        await measure(options, lambda: target.count, meter)
        found = meter.result(target.count)
        consuming.cancel()
        return found


# ---- nothing decoded


class Transport(UaSession):
    """asyncua's session with several PublishRequests outstanding and no decoding."""

    messages = 0

    async def _publish_loop(self) -> None:
        waiting: set[asyncio.Future[Any]] = set()
        acknowledgements: list[ua.SubscriptionAcknowledgement] = []

        def ask() -> None:
            nonlocal acknowledgements
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements, acknowledgements = acknowledgements, []
            waiting.add(self._client.protocol._send_request(request, 0))

        for _ in range(OUTSTANDING):
            ask()
        while True:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                waiting.discard(future)
                buffer = future.result()
                (number,) = struct.unpack_from("<I", buffer._data, buffer.cur_pos + SEQUENCE_AT)
                acknowledgements.append(
                    ua.SubscriptionAcknowledgement(next(iter(self._subscription_callbacks)), number)
                )
                self.messages += 1
                ask()


class Floor(WireSession):
    """Lineside's session without decoding."""

    messages = 0

    def answer(self, request: int, buf: Any, at: int, end: int) -> None:  # noqa: ARG002  # the session's signature
        """Acknowledge and ask for the next."""
        self._outstanding.discard(request)
        (number,) = struct.unpack_from("<I", buf, at + SEQUENCE_AT)
        self._acknowledgements.append((next(iter(self._subscription_callbacks)), number))
        self.messages += 1
        self._fill()


class FloorClient(WireClient):
    """A client over ``Floor``."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.session: Floor = Floor(self)


async def undecoded(options: argparse.Namespace) -> dict[str, object]:
    """``transport`` or ``floor``."""

    def make() -> Client:
        client = plain(options)
        if options.kind == "floor":
            client.uaclient, hook = FloorClient(60), client.uaclient.pre_request_hook
            client.uaclient.pre_request_hook = hook
        else:
            client.uaclient.session = Transport(client.uaclient)
        return client

    async with connected(options, make) as client:
        await subscribe(options, client, Handler())
        session, meter = client.uaclient.session, Meter()
        await measure(options, lambda: session.messages * options.tags, meter)
        return meter.result(session.messages * options.tags)
