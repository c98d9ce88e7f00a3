"""Lineside's session and ingest against servers of node-opcua."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.nodes import WantedEquipment
from lineside_gateway.opcua.plan import ServerPlan
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import LinkState
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.settings import EquipmentSettings, ServerSettings
from tests.faults.ingest.proxy import Line, Proxy
from tests.interop.conftest import PLACES

HERE = Path(__file__).parent
PATIENCE_S = 120.0
NUMBERS = ("Double", "Float", "Int32", "Int64", "Boolean")
MANY = 200
PASSWORD = "secret"  # noqa: S105  # of the user made here

pytestmark = [pytest.mark.interop("node-opcua@2.186.4"), pytest.mark.timeout(300)]


class NodeServer:
    """``counters_server.js`` as a process."""

    def __init__(self, folder: Path, **options: Any) -> None:
        own = Pki(folder / "server", "counters")
        certificate, key = own.own()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        pem = folder / "server.pem"
        pem.write_bytes(as_pem(certificate.read_bytes()))
        self.certificate = certificate
        self.options: dict[str, Any] = {
            "port": port, "pki": str(folder / "node-pki"), "certificate": str(pem), "key": str(key),
            "uri": own.application_uri, "policies": ["None"], "period_ms": 100, "start": 0, "tags": MANY,
        } | options  # fmt: skip

    async def start(self, **changed: Any) -> NodeServer:
        self.options |= changed
        self.process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "counters_server.js"), json.dumps(self.options),
            env={**os.environ, "NODE_PATH": os.pathsep.join(map(str, PLACES))}, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=None,
        )  # fmt: skip
        await self.line(b"ready")
        return self

    async def line(self, begin: bytes) -> bytes:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := await self.process.stdout.readline():
                if line.startswith(begin):
                    return line
        pytest.fail(f"node-opcua's server ended with {await self.process.wait()} before it said {begin!r}")

    async def stats(self) -> dict[str, int]:
        assert self.process.stdin is not None
        self.process.stdin.write(b"stats\n")
        found: dict[str, int] = json.loads(await self.line(b"{"))
        return found

    async def stop(self) -> None:
        """Shut down in order, as a PLC that is switched to another program."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), PATIENCE_S)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def as_pem(der: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


class Books(Feed):
    """The gateway's feed into its tag table, settled as windows would."""

    def __init__(self) -> None:
        tell = Listeners(
            lambda *_: None, lambda: self.table.settle(self.watermarks()), lambda _s: None, lambda *_: None
        )
        super().__init__(TagTable(), {"S": 2.0}, frozenset(), tell)
        self.past: list[float] = []
        self._came: list[tuple[Any, Any]] = []

    def samples(self, indices: Any, times_us: Any, values: Any, status: Any) -> None:
        self._came.append((indices, values.copy()))
        super().samples(indices, times_us, values, status)

    def came(self, tag: str) -> Any:
        """Every number that came of one tag."""
        index = self.table.index_of("M1", tag)
        return np.concatenate([v[i == index] for i, v in self._came]).astype(np.int64)

    def history(self, indices: Any, times_us: Any, values: Any, status: Any) -> None:
        self.past += values.tolist()
        super().history(indices, times_us, values, status)


class Rig:
    """A link through a proxy to a node-opcua server, into a table."""

    def __init__(self, folder: Path, proxy: Proxy, **settings: Any) -> None:
        url = f"opc.tcp://127.0.0.1:{proxy.port}"
        self.proxy = proxy
        plain = {"name": "S", "url": url, "publishing_interval_ms": 100, "sampling_interval_ms": 20}
        tags = [*NUMBERS, "String", "Curve", *(f"T{k}" for k in range(MANY))]
        wanted = WantedEquipment(EquipmentSettings(id="M1", browse="Objects/M1"), {t: t for t in tags})
        plan = ServerPlan(ServerSettings.model_validate(plain | settings), (wanted,), depths_s={"Double": 60.0})
        self.books = Books()
        self.link = ServerLink(plan, Pki(folder / "pki", "test"), sessions=folder / "sessions")
        self.running = asyncio.create_task(self.link.run(self.books))

    async def until(self, condition: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    assert not self.running.done(), self.running.exception()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"not within {PATIENCE_S} s: {self.link.status}")

    def value(self, tag: str) -> Any:
        found = self.books.table.latest("M1", tag)
        return None if found is None else found.value

    async def beyond(self, count: int) -> None:
        """Wait until every number of the machine has counted on past ``count``."""
        tags = ["Double", "Float", "Int32", "Int64", *(f"T{k}" for k in range(MANY))]
        await self.until(lambda: all((self.value(t) or 0) > count for t in tags))


@pytest.fixture
async def counters(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes a server and a link to it."""
    made: list[tuple[NodeServer, Rig]] = []

    async def make(server: dict[str, Any] | None = None, **settings: Any) -> tuple[NodeServer, Rig]:
        process = await NodeServer(tmp_path, **(server or {})).start()
        security = settings.get("security")
        if security:
            settings["security"] = security | {"trust": [process.certificate]}
        proxy = await Proxy(process.options["port"]).start()
        made.append((process, Rig(tmp_path, proxy, **settings)))
        return made[-1]

    yield make
    for process, rig in made:
        rig.running.cancel()
        await asyncio.gather(rig.running, return_exceptions=True)
        await rig.proxy.close()
        await process.kill()


async def test_every_type_flows_in_columns(counters) -> None:
    """Numbers of every type count on together in the table, text and arrays beside them; the ledger balances."""
    server, rig = await counters()
    await rig.beyond(20)
    assert rig.value("String").startswith("part ")
    assert np.diff(rig.value("Curve")).tolist() == [1.0, 1.0]
    assert rig.value("Boolean") in (0.0, 1.0)
    assert not rig.link.status.pending
    assert rig.link.status.polled == 0
    assert rig.books.table.pages.unbalanced() == []
    counters = rig.link.status.counters
    assert (counters.undecodable, counters.unknown_handles, counters.sequence_gaps, counters.wrong_types) == (
        0,
        0,
        0,
        0,
    )
    assert (await server.stats())["sessions"] == 1


async def test_history_before_the_connection_is_read(counters) -> None:
    """What the server counted before anybody was connected comes from its history, without a hole to what is live."""
    _, rig = await counters({"period_ms": 50})
    await rig.beyond(50)
    past = rig.books.past
    assert past, rig.link.status
    assert past == list(range(int(past[0]), int(past[-1]) + 1))


def secured(policy: str, password: str = PASSWORD) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a server and of a link for ``policy``; a user with a password where it is not None."""
    if policy == "None":
        return {}, {}
    security = {"policy": policy.replace("_", ""), "user": "anna", "password": password}
    return {"policies": [policy], "users": {"anna": PASSWORD}}, {"security": security}


@pytest.mark.parametrize("policy", ["None", "Basic256Sha256"])
async def test_a_session_is_taken_up_after_a_line_was_cut(counters, policy: str) -> None:
    """Two cuts later the server still has one session and one subscription, and no value is missing."""
    options, settings = secured(policy)
    server, rig = await counters(options, **settings)
    await rig.beyond(10)
    for _ in range(2):
        rig.proxy.reset()
        await rig.until(lambda: rig.link.status.state is not LinkState.CONNECTED)
        await rig.until(lambda: rig.link.status.state is LinkState.CONNECTED)
        await rig.beyond((await server.stats())["count"])
    stats, status = await server.stats(), rig.link.status
    assert (stats["sessions"], stats["subscriptions"]) == (1, 1)
    assert (status.connects, status.resumes) == (1, 2)
    came = rig.books.came("T0")
    assert np.setdiff1d(np.arange(came.min(), came.max()), came).tolist() == []
    assert rig.books.table.pages.unbalanced() == []


@pytest.mark.parametrize("policy", ["Aes256_Sha256_RsaPss"])
async def test_a_restart_with_namespaces_reordered(counters, policy: str) -> None:
    """A server that is killed and comes back with other indices is subscribed again; the loss is a gap."""
    options, settings = secured(policy)
    server, rig = await counters(options, **settings)
    await rig.beyond(10)
    before = rig.link.tag("M1", "T0").node_id.NamespaceIndex
    await server.kill()
    await rig.until(lambda: rig.link.status.state is not LinkState.CONNECTED)
    await server.start(start=100_000, more_namespaces=["urn:x", "urn:y"])
    await rig.beyond(100_010)
    assert rig.link.tag("M1", "T0").node_id.NamespaceIndex == before + 2
    assert rig.books.table.gaps.count > 0
    assert (await server.stats())["sessions"] == 1
    assert rig.books.table.pages.unbalanced() == []


async def test_a_server_that_shuts_down_in_order_is_waited_for(counters) -> None:
    """After the end of subscription and session that it announces, and a pause, values flow again."""
    server, rig = await counters()
    await rig.beyond(10)
    await server.stop()
    await rig.until(lambda: rig.link.status.state is not LinkState.CONNECTED)
    await asyncio.sleep(3)
    await server.start(start=100_000)
    await rig.beyond(100_010)
    assert (await server.stats())["sessions"] == 1


async def test_a_silent_line_is_noticed(counters) -> None:
    """A line that swallows everything is given up, and the session is taken up when it speaks again."""
    server, rig = await counters()
    await rig.beyond(10)
    rig.proxy.line = Line.BLACK_HOLE
    await rig.until(lambda: rig.link.status.state is LinkState.LOST)
    rig.proxy.line = Line.OPEN
    await rig.beyond((await server.stats())["count"])
    assert (await server.stats())["sessions"] == 1


async def test_a_wrong_password_is_told(counters) -> None:
    """The user is refused, and the sentence names it."""
    options, settings = secured("Basic256Sha256", "guess")
    _, rig = await counters(options, **settings)
    await rig.until(lambda: rig.link.status.state is LinkState.REFUSED)
    assert "anna" in rig.link.status.error
