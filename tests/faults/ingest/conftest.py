"""A counter server as a process, a TCP proxy that breaks lines, and a link with its ledger: what a fault test needs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncua.crypto import cert_gen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.nodes import WantedEquipment
from lineside_gateway.opcua.plan import ServerPlan
from lineside_gateway.opcua.security import Pki
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.settings import EquipmentSettings, ServerSettings

SERVER = Path(__file__).with_name("counter_server.py")
MINUTE_S = 60.0
PATIENCE_S = 240.0
"""Longest wait for a process of the test's own, on a machine that others share."""
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


class Line(Enum):
    """What the proxy does with bytes."""

    OPEN = "open"
    BLACK_HOLE = "black hole"
    """Takes everything, delivers nothing, accepts new connections."""
    SLOW = "slow"
    """The server's bytes pass at ``SLOW_BYTES_PER_S``."""


SLOW_BYTES_PER_S = 4_000


class Proxy:
    """A TCP proxy to ``port`` on loopback."""

    def __init__(self, port: int) -> None:
        self.line = Line.OPEN
        self._target = port
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far)
        self._pairs.add(pair)
        ways = [self._carry(reader, far, slow=False), self._carry(far_reader, writer, slow=True)]
        tasks = [asyncio.create_task(w) for w in ways]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if pair in self._pairs:
            self._pairs.discard(pair)
            for end in pair:
                end.close()
        for task in tasks:
            task.cancel()
            self._tasks.discard(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536 if self.line is not Line.SLOW else 1024):
                if self.line is Line.SLOW and slow:
                    await asyncio.sleep(len(data) / SLOW_BYTES_PER_S)
                if self.line is not Line.BLACK_HOLE:
                    sink.write(data)
                    await sink.drain()

    def reset(self) -> None:
        """Cut every connection with RST on both sides."""
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                sock = end.get_extra_info("socket")
                if sock is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                end.transport.abort()

    def half_open(self) -> None:
        """The server loses every connection; the client's ends stay open and silent."""
        pairs, self._pairs = self._pairs, set()
        for near, far in pairs:
            far.transport.abort()
            self._silent = getattr(self, "_silent", [])
            self._silent.append(near)

    async def close(self) -> None:
        self._server.close()
        self.reset()
        for near in getattr(self, "_silent", []):
            near.transport.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class CounterProcess:
    """``counter_server.py`` as a process."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self._asking = asyncio.Lock()

    async def start(self, **changed: Any) -> CounterProcess:
        self.options |= changed
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(SERVER), json.dumps(self.options), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        assert line == b"ready\n", "the counter server did not start"
        return self

    async def ask(self, words: str = "stats") -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        async with self._asking:
            self.process.stdin.write(f"{words}\n".encode())
            answer: dict[str, Any] = json.loads(await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S))
            return answer

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    async def kill(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
                self.process.kill()
            await self.process.wait()


class Books(Feed):
    """The gateway's feed, which also keeps every sample that came, and settles the table as windows would."""

    def __init__(self) -> None:
        table = TagTable()
        tell = Listeners(lambda *_: None, self._settle, lambda _s: None, lambda *_: None)
        super().__init__(table, {"S": 2.0}, frozenset(), tell)
        self.columns: list[tuple[Any, Any, Any]] = []
        self.keeps = True

    def samples(self, indices: Any, times_us: Any, values: Any, status: Any) -> None:
        if self.keeps:
            self.columns.append((indices.copy(), times_us.copy(), values.copy()))
        super().samples(indices, times_us, values, status)

    def _settle(self) -> None:
        self.table.settle(self.watermarks())


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
        assert table.unbalanced() == []
        assert table.tally.balanced
        for tag in tags or self.tags:
            at = table.index_of("M1", tag)
            came = value[index == at]
            unique = np.unique(came)
            doubled_here = len(came) - len(unique)
            account = table.account("M1", tag)
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


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of the server."""
    folder = tmp_path_factory.mktemp("identity")
    key = cert_gen.generate_private_key()
    names = [x509.UniformResourceIdentifier("urn:lineside:test:server"), x509.DNSName("localhost")]
    made = cert_gen.generate_self_signed_app_certificate(
        key, "counters", {}, names, extended=[ExtendedKeyUsageOID.SERVER_AUTH]
    )
    (folder / "key.pem").write_bytes(cert_gen.dump_private_key_as_pem(key))
    (folder / "cert.der").write_bytes(made.public_bytes(serialization.Encoding.DER))
    return folder / "cert.der", folder / "key.pem"


@pytest.fixture(params=["None", "Basic256Sha256"])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def new_rig(tmp_path: Path, policy: str, identity: tuple[Path, Path]) -> AsyncIterator[Callable[..., Any]]:
    """Makes a rig; ``addresses`` are extra tags, ``options`` the counter server's."""
    rigs: list[Rig] = []

    async def make(
        server_settings: dict[str, Any] | None = None,
        addresses: dict[str, str] | None = None,
        run: bool = True,
        **options: Any,
    ) -> Rig:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        secured = {"certificate": str(identity[0]), "key": str(identity[1])} if policy != "None" else {}
        options = {"tags": 20, "port": port, "log": str(tmp_path / "ticks.log")} | options | secured
        server = await CounterProcess(**options).start()
        proxy = await Proxy(port).start()
        security = {"policy": policy, "trust": [identity[0]]} if policy != "None" else {}
        settings = ServerSettings.model_validate(
            {"name": "S", "url": f"opc.tcp://127.0.0.1:{proxy.port}/", "security": security,
             "publishing_interval_ms": 100, "history": False}
            | (server_settings or {})
        )  # fmt: skip
        tags = tuple(f"T{k}" for k in range(options["tags"]))
        wanted = {t: t for t in tags} | (addresses or {})
        entry = EquipmentSettings(id="M1", browse="Objects/M1")
        plan = ServerPlan(settings, (WantedEquipment(entry, wanted),))
        books = Books()
        link = ServerLink(plan, Pki(tmp_path / "pki", "test"), sessions=tmp_path / "sessions")
        rig = Rig(tmp_path, server, proxy, books, link, tags)
        rigs.append(rig)
        if run:
            rig.start()
        return rig

    yield make
    for rig in rigs:
        rig.running.cancel()
        await asyncio.gather(rig.running, return_exceptions=True)
        await rig.proxy.close()
        await rig.server.kill()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of recovery times."""
    rows = [dict(r.user_properties) for r in terminalreporter.getreports("passed") if r.when == "call"]
    rows = [r for r in rows if "fault" in r]
    if rows:
        terminalreporter.section("recovery times")
        heads = ("fault", "security", "recovered_s", "sessions", "creates_a_minute", "missing", "doubled", "gaps")
        terminalreporter.write_line("".join(f"{h:<18}" for h in heads))
        for row in sorted(rows, key=lambda r: (r["fault"], r["security"])):
            terminalreporter.write_line("".join(f"{row.get(h, '')!s:<18}" for h in heads))


@pytest.fixture
def note(record_property: Callable[[str, object], None], policy: str) -> Callable[..., None]:
    """Enter one row of the table of recovery times."""

    def enter(**row: object) -> None:
        for name, value in ({"security": policy} | row).items():
            record_property(name, value)

    return enter
