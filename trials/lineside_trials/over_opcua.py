"""The same trial over OPC UA: the plant behind its servers, read and written by the gateway's own client side.

The plant runs in lock-step: it moves only when the MES's method ``Simulation.Advance`` is called, and Lineside answers
when every server has delivered its samples up to then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from asyncua.client.client import Client
from asyncua.common.node import Node

from lineside_gateway import processes
from lineside_gateway.demo import REFPLANT_SETTINGS
from lineside_gateway.demo.run import environment_of
from lineside_gateway.errors import ConnectError
from lineside_gateway.guard.steps import WriteOutcome
from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.opcua.plan import plan_servers, watched_tags
from lineside_gateway.opcua.security import Pki
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.runtime.plant_writer import LinkWriter
from lineside_gateway.runtime.tasks import BoundTask
from lineside_gateway.settings import Settings, load_settings
from lineside_plant import time_us
from lineside_plant.servers.mes import MES_URI
from lineside_plugins.types import Record, Scalar
from lineside_trials.arms import Replication
from lineside_trials.lineside_arm import Advisers, allow_writes
from lineside_trials.lockstep import build

READY_WITHIN_S = 60.0
DELIVERED_WITHIN_S = 30.0
PUBLISHING_MS = 10.0  # the shortest a server is asked for: each tick waits for one publish
QUEUE = 4096  # samples a server holds per tag; a tick brings 60


class OpcUaLink:
    """A lock-step plant behind OPC UA servers, as a ``PlantLink``."""

    def __init__(self, settings: Settings, tasks: Mapping[str, BoundTask], table: TagTable) -> None:
        self.on_tag: Callable[[str, str, Scalar], None] = lambda _equipment, _tag, _value: None
        plans = plan_servers(settings, {n: t.inputs for n, t in tasks.items()})
        pki = Pki(settings.gateway.data_dir / "pki", "trial")
        self._links = {name: ServerLink(plan, pki) for name, plan in plans.items()}
        self._writer = LinkWriter(self._links.values())
        self._news = asyncio.Event()
        self._simulation: Node | None = None

        def news(*_: object) -> None:
            self._news.set()

        tell = Listeners(resolved=news, flushed=news, lost=news, counter=lambda *report: self.on_tag(*report))  # noqa: PLW0108 - on_tag is set later
        self.feed = Feed(table, {}, watched_tags(settings), tell)

    @asynccontextmanager
    async def open(self, mes_url: str) -> AsyncIterator[list[Equipment]]:
        """Connect to all servers; yields their equipment once every one has resolved its tags.

        Raises:
            ConnectError: A server cannot be reached or does not deliver in time.
        """
        tasks = [asyncio.create_task(link.run(self.feed), name=f"server {n}") for n, link in self._links.items()]
        try:
            async with Client(mes_url, timeout=DELIVERED_WITHIN_S) as client:
                index = await client.get_namespace_index(MES_URI)
                self._simulation = await client.nodes.objects.get_child(f"{index}:Simulation")
                await self._until(lambda: [n for n in self._links if n not in self.feed.equipment], "resolve its tags")
                yield [e for found in self.feed.equipment.values() for e in found]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, method: str, *arguments: float) -> object:
        assert self._simulation is not None  # noqa: S101 - used inside open() only
        return await self._simulation.call_method(f"{self._simulation.nodeid.NamespaceIndex}:{method}", *arguments)

    async def _until(self, behind: Callable[[], list[str]], what: str) -> None:
        """Wait until no server is behind; the feed's news wake it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DELIVERED_WITHIN_S
        while names := behind():
            if loop.time() > until:
                raise ConnectError(
                    f"server {', '.join(names)} did not {what} within {DELIVERED_WITHIN_S:.0f} s; "
                    "look at the plant's log"
                )
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._news.wait()

    async def advance(self, to_s: float) -> None:
        """Call Advance, then wait until each server's newest SourceTimestamp is there.

        Raises:
            ConnectError: A server did not deliver in time.
        """
        await self._call("Advance", to_s)
        goal, marks = time_us(to_s), self.feed.marks
        await self._until(lambda: [n for n in self._links if marks.get(n, 0) < goal], f"deliver second {to_s:.0f}")

    async def kpis(self) -> Mapping[str, float]:
        """The plant's KPIs, asked of its MES."""
        found = json.loads(str(await self._call("Kpis")))
        return {k: float("nan") if v is None else float(v) for k, v in found.items()}

    def job_orders(self) -> Iterable[Record]:
        """The MES's list as last delivered."""
        return self.feed.job_orders

    async def write(self, equipment_id: str, tag: str, value: Scalar) -> WriteOutcome:
        """Write one tag of a PLC."""
        return await self._writer.write(equipment_id, tag, value)

    async def read(self, equipment_id: str, tag: str) -> Scalar:
        """What a tag of a PLC holds now."""
        return await self._writer.read(equipment_id, tag)

    async def update_job_order(self, job_order_id: str, priority: int, equipment_id: str | None) -> WriteOutcome:
        """Call the MES's Update."""
        return await self._writer.update_job_order(job_order_id, priority, equipment_id)


def run_over_opcua(
    replication: Replication, advisers: Advisers, progress: Callable[[float], None] | None = None
) -> dict[str, float]:
    """KPIs of the plant under Lineside's recommendations, read and written over OPC UA.

    Raises:
        ProcessError: The plant's servers did not start.
        ConnectError: A server was lost on the way.
    """
    return asyncio.run(_run(replication, advisers, progress))


async def _run(
    replication: Replication, advisers: Advisers, progress: Callable[[float], None] | None
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="lineside-trial-") as folder, processes.group() as children:
        args = ["serve", "--lockstep", "--port", "0", "--spec-seed", str(replication.plant_seed), "--seed",
                str(replication.run_seed), "--policy", "external", "--hours", str(replication.horizon_h),
                "--warmup-h", str(replication.warmup_h), "--die-with-parent"]  # fmt: skip
        plant = processes.start("plant", "lineside_plant", args, log_dir=Path(folder))
        children.append(plant)
        endpoints = processes.wait_ready(plant, READY_WITHIN_S)["endpoints"]
        settings = _quick(load_settings(REFPLANT_SETTINGS, environment_of(endpoints, "redis://none", 0, Path(folder))))
        table = TagTable()
        link = OpcUaLink(settings, advisers.tasks, table)
        async with link.open(endpoints["MES"]) as equipment:
            loop = build(link, table, equipment, advisers.tasks, advisers.for_one_plant(), settings)
            allow_writes(loop.guard, advisers, equipment)
            await loop.run(replication.horizon_h * 3600.0, progress)
            return dict(await link.kpis())


def _quick(settings: Settings) -> Settings:
    changed = {"publishing_interval_ms": PUBLISHING_MS, "queue_size": QUEUE, "allowed_lateness_s": 0.0}
    return settings.model_copy(update={"servers": tuple(s.model_copy(update=changed) for s in settings.servers)})
