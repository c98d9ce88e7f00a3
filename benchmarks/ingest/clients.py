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
import json
import os
import sys
import time
from pathlib import Path

from asyncua import ua

from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.delivery import TagNode
from lineside_gateway.opcua.monitoring import Item
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.subscription import TagSubscription
from lineside_gateway.runtime.feed import Feed, Listeners

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.ingest.measuring import Meter, measure, pki, settings, start_flood
from benchmarks.ingest.messages import type_of
from benchmarks.ingest.peers import handler, iterator, undecoded

TAGS_PER_MACHINE = 100
PAUSE_S = 0.02
SETTLE_AT = 500_000


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
