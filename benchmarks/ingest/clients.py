"""One client against the load generator: prints a line of JSON with the CPU it spent and the values it got.

handler      asyncua's client, ``datachange_notification``
iterator     asyncua's client, ``async for``
lineside     Lineside's session, subscription, routes and feed, into the tag table
transport    asyncua's protocol and session with four PublishRequests outstanding, nothing decoded
floor        Lineside's own protocol and session, nothing decoded
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.client.ua_session import UaSession

from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.delivery import TagNode
from lineside_gateway.opcua.monitoring import Item
from lineside_gateway.opcua.security import Pki, secure
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.subscription import TagSubscription
from lineside_gateway.opcua.wire.session import WireClient, WireSession
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.settings import ServerSettings

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.ingest.messages import SEQUENCE_AT, type_of

OUTSTANDING = 4
TAGS_PER_MACHINE = 100
WARM_UP_S = 0.5
PAUSE_S = 0.02
SETTLE_AT = 500_000
BATCH = 5_000


class Meter:
    """CPU of this process over a stretch, less what is set aside."""

    def __init__(self) -> None:
        self.aside = 0.0
        self._cpu = self._wall = 0.0
        self._values = 0

    def start(self, values: int) -> None:
        """Count from here."""
        self.aside, self._values = 0.0, values
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def result(self, values: int, **more: object) -> dict[str, object]:
        """The figures since ``start``."""
        cpu, wall, count = time.process_time() - self._cpu, time.perf_counter() - self._wall, values - self._values
        found = {"values": count, "wall_s": wall, "busy": cpu / wall, "ns": 1e9 * (cpu - self.aside) / max(count, 1)}
        return found | more


def settings(options: argparse.Namespace) -> ServerSettings:
    """The generator as a server."""
    plain: dict[str, Any] = {"name": "G", "url": options.url, "batch_size": BATCH, "history": False}
    if options.keys:
        plain["security"] = {
            "policy": "Basic256Sha256",
            "trust": [str(options.keys / "server" / "own" / "certificate.der")],
        }
    return ServerSettings.model_validate(plain)


def pki(options: argparse.Namespace) -> Pki:
    """Keys of the client."""
    return Pki((options.keys or Path()) / "client", "bench")


async def measure(options: argparse.Namespace, values: Callable[[], int], meter: Meter) -> None:
    """Let it run in, then count."""
    await asyncio.sleep(WARM_UP_S)
    meter.start(values())
    await asyncio.sleep(options.seconds)


async def start_flood(client: Client, subscription_id: int) -> None:
    """The generator's convention: SetPublishingMode(true) starts the flood."""
    parameters = ua.SetPublishingModeParameters(PublishingEnabled=True, SubscriptionIds=[subscription_id])
    await client.uaclient.set_publishing_mode(parameters)


def stop() -> None:
    """End at once: nothing of the flood is drained."""
    sys.stdout.flush()
    os._exit(0)


# ---- Lineside


async def lineside(options: argparse.Namespace) -> dict[str, object]:
    """From the socket into the tag table; settling, which is the windows' part, is set aside and told."""
    server = settings(options)
    table = TagTable()
    feed = Feed(table, {}, frozenset(), Listeners(ignore, ignore, ignore, ignore))
    async with Session(server, pki(options)).connect() as connection:
        subscription = TagSubscription(connection, feed)
        await subscription.open()
        codes = await subscription.watch([Item(n.node_id, tag=n) for n in nodes(options)])
        if not all(c.is_good() for c in codes):
            raise SystemExit("the generator refused an item")
        for subscription_id in subscription.ids:
            await start_flood(connection.client, subscription_id)
        meter = Meter()
        draining = asyncio.create_task(drain(table, meter))
        await measure(options, lambda: feed.received, meter)
        found = meter.result(feed.received)
        draining.cancel()
        counters = subscription.counters
        if counters.unknown_handles or counters.sequence_gaps or counters.undecodable or not table.tally.balanced:
            raise SystemExit(f"the stream was not whole: {counters} {table.tally.snapshot()}")
        lost = {k: v for k, v in table.tally.dropped.items() if k != "late"}
        if lost:
            raise SystemExit(f"the table dropped {lost}")
        print(json.dumps(found | {"settle_ns": 1e9 * meter.aside / max(table.tally.used, 1)}))
        stop()
    return found


def ignore(*_: object) -> None:
    """A listener that does nothing."""


async def drain(table: TagTable, meter: Meter) -> None:
    """Make what waits final, as windows would, without its CPU in the figures."""
    while True:
        await asyncio.sleep(PAUSE_S)
        if table.tally.pending > SETTLE_AT:
            cpu = time.process_time()
            newest = [table.newest_us(e) or 0 for e in table.equipment_ids]
            table.settle({e: max(newest) for e in table.equipment_ids})
            meter.aside += time.process_time() - cpu


def nodes(options: argparse.Namespace) -> list[TagNode]:
    """Tags as a server would describe them, a hundred per machine."""
    return [
        TagNode(
            f"M{k // TAGS_PER_MACHINE}", f"T{k % TAGS_PER_MACHINE}", ua.NodeId(k, 2), f"ns=2;i={k}",
            ua.VariantType(type_of(k + 1, options.mixed)), "", False, "", None, True, False,
        )
        for k in range(options.tags)
    ]  # fmt: skip


# ---- asyncua


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


KINDS = {"handler": handler, "iterator": iterator, "lineside": lineside, "transport": undecoded, "floor": undecoded}


async def run(options: argparse.Namespace) -> None:
    """Measure one kind."""
    print(json.dumps(await KINDS[options.kind](options)))
    stop()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--tags", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--keys", type=Path, help="SignAndEncrypt, with keys in this folder")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
