"""Gateway, worker, broker and model taken away one at a time: the PLC falls back, no hosted node stays Good.

RefPlant, the whole line and ``lineside run`` as processes; heartbeat and watchdog as shipped. A client of its own reads
every node of every recommendation twice a second meanwhile. ``make test-faults``; about two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import Client, ua

from lineside_gateway.publish.recommendation_nodes import OWN_WORD

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

HEARTBEAT_S = 6.0  # gateway's period as shipped; RefPlant's watchdog is two of them
LIMIT_S = 2 * HEARTBEAT_S
MACHINE = "A1"
FLAG = f"{MACHINE}.maintenance.flag"
MACHINES = {"A1", "A2", "B1", "C1", "C2"}
TASKS = ("maintenance", "reject", "compensation")
BROKEN = ("maintenance", "reject")
SPEED = 10.0
SCAN_S = 0.5
BROWSE_S = 30.0  # equipment comes up later
SLACK_S = 3.0  # wall clock from the end of a recommendation's time to the scan that must not find it Good
LOST = (OSError, TimeoutError, ua.UaError)
GONE = (*LOST, ValueError, AttributeError, asyncio.CancelledError)
_OWN = {n for word in OWN_WORD for n in (word, word.title().replace("_", ""))}


@dataclass
class Scanner:
    """A client that reads every node of every recommendation, and notes what is Good that should not be.

    ``last_good`` is when a node of a task was last seen Good (monotonic), ``late`` each node Good after its time.
    """

    line: Any
    scans: int = 0
    nodes: int = 0
    last_good: dict[str, float] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    seen: dict[str, ua.DataValue] = field(default_factory=dict)
    trouble: str = ""
    task: asyncio.Task[None] | None = None

    def good(self, identifier: str) -> bool:
        """Whether the node was Good at the last scan; without a server nothing is."""
        return identifier in self.seen and self.seen[identifier].StatusCode.is_good()

    @property
    def ended(self) -> str:
        """Why the scanner is over, "" while it scans."""
        return repr(self.task.exception()) if self.task is not None and self.task.done() else ""

    async def run(self) -> None:
        """Scan until cancelled; a server that is gone is scanned again when it is back."""
        while True:
            try:
                async with patient(self.line.url) as client, patient(self.line.endpoints[MACHINE]) as plant:
                    clock = plant.get_node(await heartbeat(plant))
                    cells, browsed = await cells_of(client), time.monotonic()
                    while True:
                        if time.monotonic() - browsed > BROWSE_S or len(cells) < self.nodes or not cells:
                            cells, browsed = await cells_of(client), time.monotonic()
                        await self._scan(client, cells, clock)
                        await asyncio.sleep(SCAN_S)
            except GONE as e:
                if isinstance(e, asyncio.CancelledError):
                    raise
                self.seen, self.trouble = {}, repr(e)
                await asyncio.sleep(SCAN_S)

    async def _scan(self, client: Client, cells: dict[str, tuple[ua.NodeId, str, str]], clock: Any) -> None:
        stamp = (await clock.read_data_value()).SourceTimestamp  # before the nodes: a later one would be unfair
        names, found = list(cells), []
        for i in range(0, len(names), 500):
            nodes = [client.get_node(cells[n][0]) for n in names[i : i + 500]]
            found += await client.read_attributes(nodes, ua.AttributeIds.Value)
        now = time.monotonic()
        values = dict(zip(names, found, strict=True))
        self.scans, self.nodes, self.seen = self.scans + 1, max(self.nodes, len(names)), values
        for name, value in values.items():
            _, machine, task = cells[name]
            if not value.StatusCode.is_good():
                continue
            self.last_good[task] = now
            until = datetime.fromisoformat(str(values[f"{machine}.{task}.valid_until"].Value.Value))
            over_s = (aware(stamp) - aware(until)).total_seconds() / SPEED
            if over_s > SLACK_S:
                self.late.add(f"{name} Good {over_s:.1f} s after its time")


async def cells_of(client: Client) -> dict[str, tuple[ua.NodeId, str, str]]:
    """Value nodes of recommendations by identifier, with machine and task; the gateway's own word is left out."""
    index = await client.get_namespace_index("urn:lineside:ua")
    out, todo = {}, [client.get_node(ua.ObjectIds.ObjectsFolder)]
    todo = [n for n in await todo[0].get_children() if n.nodeid.NamespaceIndex == index]
    while todo:
        for child in await todo.pop().get_children_descriptions():
            node_id, own = child.NodeId, child.BrowseName.NamespaceIndex == index
            steps = str(node_id.Identifier).replace("/", ".").split(".")
            machine = next((s for s in steps if s in MACHINES), "")
            task = next((s for s in steps if s in TASKS), "")
            if child.NodeClass == ua.NodeClass.Object and (not task or steps[-1] == task):  # not into conditions
                todo.append(client.get_node(node_id))
            elif child.NodeClass == ua.NodeClass.Variable and own and machine and task and steps[-1] not in _OWN:
                out[str(node_id.Identifier)] = (node_id, machine, task)
    return out


def aware(at: datetime) -> datetime:
    """A time of an OPC UA server, which is UTC."""
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


async def heartbeat(plant: Client) -> ua.NodeId:
    """A tag of the PLC that changes all the time: its SourceTimestamp is the plant's clock."""
    return ua.NodeId(f"{MACHINE}.Heartbeat", await plant.get_namespace_index(f"urn:refplant:plc:{MACHINE}"))


class Plc:
    """The PLC of one machine over a connection that stays, and is made again where it was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None

    async def read(self, tag: str) -> object:
        """What a tag holds; None where it cannot be told now."""
        try:
            if self._client is None:
                self._client = patient(self._url)
                await self._client.connect()
            index = await self._client.get_namespace_index(f"urn:refplant:plc:{MACHINE}")
            return await self._client.get_node(ua.NodeId(f"{MACHINE}.{tag}", index)).read_value()
        except LOST:
            await self.close()
            return None

    async def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(*LOST):
                await client.disconnect()


def patient(url: str) -> Client:
    """A client that a busy machine does not make give up its connection by itself."""
    return Client(url, timeout=20, watchdog_intervall=600)


async def stands(plc: Plc, scanner: Scanner) -> None:
    """Wait until the gateway beats, the PLC relies on it, and the flag is Good."""
    until = time.monotonic() + 500.0
    while await plc.read("AdviceFallback") is not False or not await plc.read("GatewayHeartbeat"):
        assert time.monotonic() < until, "the gateway does not beat"
        await asyncio.sleep(0.2)
    while not scanner.good(FLAG):
        shown = scanner.seen.get(FLAG)
        assert time.monotonic() < until, (shown, scanner.scans, scanner.nodes, scanner.trouble)
        assert not scanner.ended, scanner.ended
        await asyncio.sleep(0.1)


async def takes_back(plc: Plc, scanner: Scanner, kill: Callable[[], None]) -> tuple[float, float]:
    """Kill; seconds until the PLC is on its own, and until the flag is Good no more."""
    began = time.monotonic()
    kill()
    fell = gone = float("inf")
    async with asyncio.timeout(60):
        while fell == float("inf") or gone == float("inf"):
            if fell == float("inf") and await plc.read("AdviceFallback") is True:
                fell = time.monotonic() - began
            if gone == float("inf") and not scanner.good(FLAG):
                gone = time.monotonic() - began
            await asyncio.sleep(0.05)
    return fell, gone


async def test_each_is_missed_within_two_heartbeats(line: Any) -> None:
    """Whatever is killed, the PLC falls back within two heartbeats and no node stays Good; all of it comes back."""
    found: dict[str, tuple[float, float, float]] = {}
    scanner = Scanner(line)
    scanning = scanner.task = asyncio.create_task(scanner.run())

    cases: tuple[tuple[str, Callable[[], None], Callable[[], None], Collection[str]], ...] = (
        ("worker", line.kill_worker, line.start_worker, TASKS),
        ("broker", line.kill_broker, line.start_broker, TASKS),
        ("gateway", line.kill_gateway, line.start_gateway, TASKS),
        ("model", lambda: line.break_models(*BROKEN), line.mend_models, BROKEN),
    )
    plc = Plc(line.endpoints[MACHINE])
    for name, kill, again, tasks in cases:
        await stands(plc, scanner)
        began, scans = time.monotonic(), scanner.scans
        fell, gone = await takes_back(plc, scanner, kill)
        await asyncio.sleep(max(0.0, began + LIMIT_S - time.monotonic()) + SLACK_S)  # nothing turns Good again
        last = max((scanner.last_good.get(t, began) for t in tasks), default=began) - began
        found[name] = fell, gone, max(last, 0.0)
        print(
            f"{name}: PLC on its own after {fell:.1f} s, flag not Good after {gone:.1f} s, the last of "
            f"{scanner.nodes} nodes was Good at {found[name][2]:.1f} s ({scanner.scans - scans} scans)"
        )
        again()
    await stands(plc, scanner)
    await plc.close()
    scanning.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await scanning
    assert scanner.scans > 50
    assert scanner.nodes > 100
    assert scanner.late == set()
    late = {name: times for name, times in found.items() if max(times) > LIMIT_S}
    assert not late, found
