"""``make bench-tags``: 50,000 tags at 1 Hz and 10,000 at 10 Hz, end to end into windows, in one process.

Two servers of a load generator, in a process of its own, send all their tags once per publishing interval. This
process takes them as the gateway does: sessions, subscriptions, tag table, windows of every machine each second.
Fails unless every value sent was received, every window is whole and the ledger balances. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import ua

from lineside_gateway.ingest import Binding, TagTable, Windower
from lineside_gateway.ledger import Ledger, Outcome
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import Equipment, TagNode
from lineside_gateway.opcua.monitoring import Item
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.subscription import TagSubscription
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.settings import ServerSettings
from lineside_plugins.contract import Channel, Inputs, Trigger, WindowSpec

HERE = Path(__file__).parent
TAGS_PER_MACHINE = 100
LATENESS_S = 2.0
BATCH = 1_000
RUN_IN_S = 15.0
"""Until then windows reach back before the first value."""
MAX_RSS_MB = 250


@dataclass(frozen=True)
class Load:
    """One server: its tags, their rate and the windows cut from them."""

    name: str
    tags: int
    hz: float
    cells: int

    @property
    def machines(self) -> list[str]:
        """Its equipment."""
        return [f"{self.name}-{k}" for k in range(self.tags // TAGS_PER_MACHINE)]

    @property
    def inputs(self) -> Inputs:
        """A window of all tags of a machine, each second."""
        channels = tuple(Channel(f"T{k}") for k in range(TAGS_PER_MACHINE))
        return Inputs(Trigger(every_s=1.0), deadline_s=30.0, window=WindowSpec(channels, self.cells, 1 / self.hz))

    def equipment(self) -> list[Equipment]:
        """As a server would describe it."""
        return [
            Equipment(m, self.name, ua.NodeId(k, 2), m, tags={
                f"T{t}": TagNode(
                    m, f"T{t}", ua.NodeId(k * TAGS_PER_MACHINE + t, 2), f"{m}.T{t}", ua.VariantType.Double, "Double",
                    False, "", None, True, False,
                )
                for t in range(TAGS_PER_MACHINE)
            })
            for k, m in enumerate(self.machines)
        ]  # fmt: skip


LOADS = (Load("slow", 50_000, 1.0, 10), Load("fast", 10_000, 10.0, 20))


class Gateway:
    """The gateway's part up to the windows."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.table = TagTable(self.ledger.values)
        self.wake = asyncio.Event()
        names = {load.name: LATENESS_S for load in LOADS}
        listeners = Listeners(self.resolved, self.wake.set, lambda _server: None, lambda _e, _t, _v: None)
        self.feed = Feed(self.table, names, frozenset(), listeners)
        self.windower: Windower | None = None
        self.windows: Counter[str] = Counter()
        self.poor: Counter[str] = Counter()
        self.counting = False

    def resolved(self, server: str, equipment: Any) -> None:
        """Nothing is bound while running."""

    async def connect(self, stack: AsyncExitStack, load: Load, url: str) -> tuple[Connection, TagSubscription]:
        """Connect one server and subscribe to its tags."""
        server = ServerSettings(
            name=load.name, url=url, publishing_interval_ms=1000 / load.hz, batch_size=BATCH, history=False
        )
        connection = await stack.enter_async_context(Session(server, Pki(Path(), "bench")).connect())
        equipment = load.equipment()
        self.feed.resolved(load.name, equipment)
        subscription = TagSubscription(connection, self.feed)
        await subscription.open()
        await subscription.watch([Item(n.node_id, tag=n) for e in equipment for n in e.tags.values()])
        return connection, subscription

    def bind(self) -> None:
        """One task per load over all its machines."""
        bindings = [Binding(load.name, load.inputs, tuple(load.machines)) for load in LOADS]
        self.windower = Windower(self.table, bindings, self.ledger)

    async def close_windows(self) -> None:
        """As the pipeline does: after each response, what is due."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            self.close()
            await asyncio.sleep(0)

    def close(self) -> None:
        """Close what is due and look at it."""
        if self.windower is None:
            return
        for request in self.windower.close(self.feed.watermarks()):
            self.ledger.task(request.task).settle(request.id, Outcome.NOTHING_TO_SAY)
            if self.counting:
                self.windows[request.task] += 1
                self.poor[request.task] += request.quality < 1.0


async def publishing(connection: Connection, subscription: TagSubscription, enabled: bool) -> None:
    """Start or stop the generator."""
    parameters = ua.SetPublishingModeParameters(PublishingEnabled=enabled, SubscriptionIds=list(subscription.ids))
    await connection.client.uaclient.set_publishing_mode(parameters)


async def run(minutes: float, generator: subprocess.Popen[str]) -> dict[str, Any]:
    """Measure; returns the figures."""
    url = (generator.stdout.readline() if generator.stdout else "").split()[-1]
    gateway = Gateway()
    async with AsyncExitStack() as stack:
        links = [await gateway.connect(stack, load, url) for load in LOADS]
        gateway.bind()
        closing = asyncio.create_task(gateway.close_windows())
        watching = [asyncio.create_task(s.guard(1e9)) for _, s in links]
        for connection, subscription in links:
            await publishing(connection, subscription, enabled=True)
        await asyncio.sleep(RUN_IN_S)
        gateway.counting = True
        cpu, wall, rss = time.process_time(), time.monotonic(), 0.0
        while time.monotonic() - wall < 60 * minutes:
            await asyncio.sleep(5)
            rss = max(rss, rss_mb())
            spent = (time.process_time() - cpu) / (time.monotonic() - wall)
            print(
                f"{time.monotonic() - wall:5.0f} s  {gateway.feed.received:12,} values  "
                f"{sum(gateway.windows.values()):8,} windows  {rss:4.0f} MB  {100 * spent:3.0f} % CPU", flush=True,
            )  # fmt: skip
        share = (time.process_time() - cpu) / (time.monotonic() - wall)
        gateway.counting = False
        for connection, subscription in links:
            await publishing(connection, subscription, enabled=False)
        await asyncio.sleep(1)
        closing.cancel()
        for task in watching:
            task.cancel()
        sent = [json.loads(generator.stdout.readline()) for _ in links] if generator.stdout else []
        return result(gateway, sent, share, rss, [s for _, s in links])


def result(
    gateway: Gateway, sent: list[dict[str, Any]], share: float, rss: float, subscriptions: list[TagSubscription]
) -> dict[str, Any]:
    """What is asked for, as JSON."""
    values = sum(s["values"] for s in sent)
    gaps = sum(s.counters.sequence_gaps + s.counters.undecodable + s.counters.overflows for s in subscriptions)
    unbalanced = len(gateway.table.pages.unbalanced())
    whole = values == gateway.feed.received and not gateway.ledger.values.dropped.total() and not gaps
    return {
        "sent": values,
        "received": gateway.feed.received,
        **{k: v for k, v in gateway.ledger.values.snapshot().items() if k in {"used", "dropped", "pending"}},
        "windows": sum(gateway.windows.values()),
        "poor_windows": sum(gateway.poor.values()),
        "nothing_lost": whole and not sum(gateway.poor.values()),
        "balanced": gateway.ledger.balanced and not unbalanced,
        "rss_mb": round(rss),
        "cpu_share": round(share, 3),
        "generator_busy": sent[0]["busy"] if sent else None,
    }


def rss_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="measured time (default 5)")
    options = parser.parse_args()
    command = [sys.executable, str(HERE / "generator.py"), "--rate"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as generator:
        try:
            found = asyncio.run(run(options.minutes, generator))
        finally:
            generator.terminate()
    print(json.dumps(found))
    return 0 if found["nothing_lost"] and found["balanced"] and found["rss_mb"] <= MAX_RSS_MB else 1


if __name__ == "__main__":
    sys.exit(main())
