"""One link through a proxy to a counter server, its ledger compared with what the server wrote."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside_gateway.opcua.client import ServerLink
from tests.faults.ingest.books import Books
from tests.faults.ingest.counters import PATIENCE_S, CounterProcess
from tests.faults.ingest.proxy import Proxy

MINUTE_S = 60.0
LINK = """
import asyncio, sys
from pathlib import Path
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.standard import ObjectIds, standard
from lineside_gateway.opcua.subscription import Item, TagSubscription
from lineside_gateway.settings import ServerSettings

async def serve(connection):
    subscription = TagSubscription(connection, None)
    await subscription.open()
    arrived = asyncio.Event()
    time = standard(ObjectIds.Server_ServerStatus_State)
    await subscription.watch([Item(time, on_value=lambda dv: (print("flowing", flush=True), arrived.set()))])
    await asyncio.sleep(3600)

folder = Path(sys.argv[2])
server = ServerSettings.model_validate_json(sys.argv[1])
session = Session(server, Pki(folder / "pki", "test"), kept=folder / "sessions" / "S.json")
asyncio.run(session.run(serve))
"""
"""A gateway's session in a process that can be killed."""


@dataclass
class Rig:
    """One link through the proxy to one counter server, watched."""

    folder: Path
    server: CounterProcess
    proxy: Proxy
    books: Books
    link: ServerLink
    tags: tuple[str, ...]
    running: asyncio.Task[None] = field(init=False)
    creates: set[float] = field(default_factory=set)

    async def until(self, condition: Callable[[], object], within_s: float) -> float:
        """Seconds until ``condition`` holds; the test fails after ``within_s``."""
        began = time.monotonic()
        while not condition():
            assert not self.running.done(), self.running.exception()
            if time.monotonic() - began > within_s:
                pytest.fail(f"not within {within_s} s; {self.link.status}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    def start(self) -> None:
        """Run the link again."""
        self.running = asyncio.create_task(self.link.run(self.books))

    async def other_process(self) -> asyncio.subprocess.Process:
        """The same gateway as a process of its own, connected and subscribed."""
        settings = self.link.plan.server.model_dump_json()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LINK, settings, str(self.folder), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"flowing\n"
        return process

    async def flowing(self, tags: tuple[str, ...] | None = None, within_s: float = 90.0) -> float:
        """Seconds until each tag has a sample with a SourceTimestamp from now on."""
        now_us = time.time_ns() // 1000
        wanted = tags or self.tags

        def all_new() -> bool:
            index = [self.books.table.index_of("M1", t) for t in wanted]
            if None in index:
                return False
            return bool((self.books.table.newest_times(np.array(index)) > now_us).all())

        return await self.until(all_new, within_s)

    async def settled(self, within_s: float = 5.0) -> dict[str, Any]:
        """The server's figures, once it holds at most one session; creates of all its processes are added up."""
        until = time.monotonic() + within_s
        while True:
            stats = await self.server.ask()
            self.creates |= set(stats["creates"])
            if stats["sessions"] <= 1:
                return stats
            assert time.monotonic() < until, f"{stats['sessions']} sessions are open on the server"
            await asyncio.sleep(0.5)

    def creates_a_minute(self) -> int:
        """CreateSession requests in the worst minute."""
        times = sorted(self.creates)
        return max((sum(t <= u < t + MINUTE_S for u in times) for t in times), default=0)

    def check_books(self, tags: tuple[str, ...] | None = None) -> dict[str, int]:
        """Compare what came with what the server wrote: every missing value lies in a gap, every double is counted."""
        truth = np.loadtxt(self.folder / "ticks.log", dtype=np.int64, ndmin=2)
        index = np.concatenate([c[0] for c in self.books.columns])
        value = np.concatenate([c[2] for c in self.books.columns]).astype(np.int64)
        table, missing, doubled = self.books.table, 0, 0
        assert table.pages.unbalanced() == []
        assert table.tally.balanced
        for tag in tags or self.tags:
            at = table.index_of("M1", tag)
            came = value[index == at]
            unique = np.unique(came)
            doubled_here = len(came) - len(unique)
            account = table.pages.account("M1", tag)
            assert account is not None
            assert account.received == len(came)
            assert sum(account.dropped.values()) >= doubled_here, f"{tag}: {doubled_here} doubles, {account}"
            written = truth[(truth[:, 0] > unique[0]) & (truth[:, 0] < unique[-1])]
            lost = written[~np.isin(written[:, 0], unique)]
            gaps = table.gaps.of(at)
            for number, time_us in lost:
                inside = any((g.start_us or 0) < time_us < (g.end_us or 2**62) for g in gaps)
                assert inside, f"{tag}: value {number} at {time_us} is in no gap; {gaps[-3:]}"
            missing, doubled = missing + len(lost), doubled + doubled_here
        return {"missing": missing, "doubled": doubled, "gaps": table.gaps.count}
