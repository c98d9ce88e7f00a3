"""The gateway: one object that starts every room, supervises them and tells how they stand."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from lineside_gateway.dispatch import CeleryDispatcher, WorkerInfo
from lineside_gateway.fleet import Leading, Member, Sole
from lineside_gateway.guard.guard import Guard
from lineside_gateway.guard.journal import Remembered
from lineside_gateway.guard.steps import StepReport
from lineside_gateway.guard.write_back import WriteBack
from lineside_gateway.ingest import TagTable, Windower
from lineside_gateway.ledger import Ledger
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.opcua.plan import plan_servers, watched_tags
from lineside_gateway.opcua.security import Pki
from lineside_gateway.publish import Diagnostics, Fault, HostedServer
from lineside_gateway.publish.access import access_of, nobody_may_come
from lineside_gateway.runtime.binder import Binder
from lineside_gateway.runtime.broker_access import broker_url, hmac_key
from lineside_gateway.runtime.clock import moment
from lineside_gateway.runtime.drift import DriftAlarm
from lineside_gateway.runtime.effects import Effects
from lineside_gateway.runtime.feed import Feed, Listeners
from lineside_gateway.runtime.hosted_before import HostedBefore
from lineside_gateway.runtime.metrics import Source, serve_metrics
from lineside_gateway.runtime.names import Names
from lineside_gateway.runtime.on_disk import OnDisk, on_disk
from lineside_gateway.runtime.operators import Operators
from lineside_gateway.runtime.pipeline import Parts, Pipeline
from lineside_gateway.runtime.plant_writer import LinkWriter
from lineside_gateway.runtime.policies import orders_now
from lineside_gateway.runtime.pulse import Pulse
from lineside_gateway.runtime.resolutions import Resolutions
from lineside_gateway.runtime.retention import keep_to
from lineside_gateway.runtime.service import Service
from lineside_gateway.runtime.status import Rate, ServerStatus, Status, TaskStatus
from lineside_gateway.runtime.switch_watch import SwitchWatch
from lineside_gateway.runtime.takeover import Rooms, take_up
from lineside_gateway.runtime.tape import tape_of
from lineside_gateway.runtime.tasks import bind_tasks
from lineside_gateway.runtime.traces import traces_of
from lineside_gateway.runtime.worker_watch import WorkerWatch
from lineside_gateway.settings import Settings
from lineside_plugins.types import Scalar

logger = logging.getLogger(__name__)

HOUSEKEEPING_S = 0.5


class Gateway:
    """Reads, recommends, publishes and writes as ``settings`` say, until ``run`` is cancelled. One per event loop.

    Raises:
        SettingsError: No task of the settings can run.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.found = bind_tasks(settings)
        self.ledger = Ledger()
        table = TagTable()
        self.ledger.values = table.tally
        self._windower = Windower(table, (), self.ledger)
        listeners = Listeners(self._resolved, self._flushed, self._lost, self._counter, self._windower.begin)
        lateness = {s.name: s.allowed_lateness_s for s in settings.servers}
        self._tape = tape_of(settings)
        self.feed = Feed(table, lateness, watched_tags(settings), listeners, self._tape)
        pki = Pki.of(settings)
        plans = plan_servers(settings, {n: t.inputs for n, t in self.found.tasks.items()})
        kept = settings.gateway.data_dir / "sessions"
        self.links = [ServerLink(plan, pki, sessions=kept) for plan in plans.values()]
        line, fleet = settings.gateway.id, settings.fleet
        self._traces = traces_of(settings.tracing, fleet.member if fleet else line)
        self._member = Member(fleet, line, broker_url(settings), hmac_key()) if fleet else None
        self.fleet: Leading = self._member or Sole()
        self.guard = self._make_guard()
        self._operators = Operators(settings.gateway.data_dir, self.throw, self._tape)
        self._names = Names(settings)
        before = HostedBefore(settings, self.found.tasks)
        self.hosted = self._make_hosted(before, pki)
        self._watch: WorkerWatch | None = None
        self.on_effect: Callable[[StepReport], object] = lambda _report: None
        self._pipeline: Pipeline | None = None
        self._dispatcher: CeleryDispatcher | None = None
        self._effects: Effects | None = None
        self._switch: SwitchWatch | None = None
        self._rate = Rate()
        self._pulse = Pulse(settings.heartbeat, LinkWriter(self.links), self.hosted, self._beaten)
        self._binder = Binder(settings, self.found.tasks, self._windower, self.guard)
        self._resolutions = Resolutions(len(settings.servers), self._binder, self.feed, self.hosted, before, self.fleet)

    def _make_guard(self) -> Guard:
        return Guard(
            (),
            current=self.feed.current,
            orders=lambda: orders_now(self.feed.job_orders),
            silent=lambda equipment_id: self._pulse.silence(equipment_id),  # noqa: PLW0108 - made later
            demoted=self.settings.gateway.advisory_only,
            led_elsewhere=self.fleet.why_not,
        )

    def _make_hosted(self, before: HostedBefore, pki: Pki) -> HostedServer:
        gateway = self.settings.gateway
        if nobody := nobody_may_come(gateway):
            logger.error("hosted_server_without_users %s", nobody)
        return HostedServer(
            gateway.endpoint,
            gateway.id,
            before.tasks,
            answers=self._operators,
            access=access_of(gateway, pki, self._names.operator),
            pages=self.feed.table.pages,
            nodesets=gateway.nodesets,
        )

    # ---- running

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Run until cancelled; ``ready`` is called when the hosted server listens.

        Raises:
            HostingError: The hosted endpoint cannot be opened.
            LinesideError: ``data_dir`` cannot be used, or another gateway uses it.
        """
        with on_disk(self.settings) as disk:
            self._switch = SwitchWatch(disk, self.guard, self.hosted, always=self.settings.gateway.advisory_only)
            begun = disk.journal.load()
            self.guard.restore((r.decision, r.settled) for r in begun)
            await self.hosted.start(disk.history)
            try:
                await self._switch.look()
                await self._run(disk, self._switch, [r for r in begun if not r.settled], ready)
            finally:
                if self._traces is not None:
                    await asyncio.to_thread(self._traces.close)
                await self.hosted.stop()
                disk.audit.append("stopped", gateway=self.settings.gateway.id)

    async def _run(
        self, disk: OnDisk, switch: SwitchWatch, begun: Sequence[Remembered], ready: Callable[[], None]
    ) -> None:
        modes = {t.task: t.mode.value for t in self.settings.tasks}
        disk.audit.append("started", gateway=self.settings.gateway.id, modes=modes, under_way=len(begun))
        name = self._member.name if self._member else self.settings.gateway.id
        async with CeleryDispatcher(name, broker_url(self.settings), hmac_key=hmac_key()) as it:
            self._dispatcher = it
            self._pipeline = self._assemble(it, disk)
            self._watch = WorkerWatch(self.found.tasks, it, self.hosted)
            ready()
            async with asyncio.TaskGroup() as group:
                for link in self.links:
                    group.create_task(link.run(self.feed), name=f"server {link.name}")
                group.create_task(self._resolutions.run(self._watch.show), name="host")
                group.create_task(self._pipeline.run(), name="pipeline")
                group.create_task(self._housekeep(disk, switch), name="housekeeping")
                group.create_task(self._watch.run(), name="workers")
                self._take_up(group, disk, begun)
                group.create_task(self._pulse.run(), name="heartbeats")
                group.create_task(
                    keep_to(self.settings.privacy, self._operators.labels, disk.journal, lambda: self.now)
                )
                group.create_task(self._tape.run(), name="recording")
                service = Service(self.links, self._watch, self.hosted, self._member, self._idle)
                group.create_task(service.run(), name="ServiceLevel")
                source = Source(self.ledger, it, disk.store, self._pipeline, self.feed.table.pages, service)
                group.create_task(serve_metrics(self.settings.metrics, source), name="metrics")

    def _assemble(self, dispatcher: CeleryDispatcher, disk: OnDisk) -> Pipeline:
        effects = Effects(self.guard, self.hosted, self.ledger, disk.audit, lambda: self.now)
        effects.on_effect = lambda report: self.on_effect(report)  # noqa: PLW0108 - may be set later
        effects.write_back = WriteBack(
            LinkWriter(self.links),
            clock=lambda: self.now,
            on_step=effects.on_step,
            settle=self.guard.settle,
            latest=self.feed.current,
            journal=self._member.journal_over(disk.journal) if self._member else disk.journal,
            held=self.guard.held,
            silent=self._pulse.silence,
        )
        self._effects = self._operators.effects = effects
        outgoing = self._names.outgoing(dispatcher)
        return Pipeline(
            Parts(self.feed, self._windower, outgoing, self.hosted, effects, self.ledger, disk.store, self.fleet,
                  self._tape, DriftAlarm(self.hosted, effects.note), traces=self._traces),
            self.found.tasks,
            disk.store.kept,
        )  # fmt: skip

    def _take_up(self, group: asyncio.TaskGroup, disk: OnDisk, begun: Sequence[Remembered]) -> None:
        assert self._effects is not None and self._pipeline is not None  # noqa: S101, PT018 - _run() assembles before
        rooms = Rooms(self.feed, self.guard, self.hosted, self._pipeline, self._effects)
        take_up(group, self._member, self.settings.gateway.id, rooms, disk.switch, begun)

    async def throw(self, demoted: bool, by: str, why: str = "") -> None:
        """Throw the plant-wide switch; it is on disk and in force when this returns."""
        assert self._switch is not None  # noqa: S101 - hosted nodes call this, and they stand only while it runs
        await self._switch.throw(demoted, by=by, why=why)

    async def _housekeep(self, disk: OnDisk, switch: SwitchWatch) -> None:
        """Twice a second: the switch is looked at, what has expired turns stale, overdue answers are given up."""
        assert self._pipeline is not None  # noqa: S101 - run() assembles before it starts this
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await switch.look()
            await asyncio.to_thread(disk.audit.sync)
            if self.feed.clock.known:
                now = self.now
                await self.hosted.expire(now)
                self._write_back.tick(now)
            values = self.ledger.values
            await self.hosted.show(
                Diagnostics(self._rate.per_s(self.feed.received), len(self.workers), values.received, values.used,
                            values.dropped.total(), values.pending)
            )  # fmt: skip

    def _beaten(self) -> dict[str, str]:
        """Equipment whose PLC is told whether our advice can be relied on, with what is missing behind it."""
        tag, out = self.settings.heartbeat.gateway_tag, {}
        for machine in (m for machines in self.feed.equipment.values() for m in machines):
            writing = [t.name for t in self._binder.tasks_of(machine.id) if t.writes_tags]
            if writing and tag in machine.tags and self.fleet.leads(machine.id):
                out[machine.id] = "held at advisory" if self.guard.demoted else self._unbacked(writing)
        return out

    def _unbacked(self, tasks: Sequence[str]) -> str:
        return "the gateway is starting" if self._watch is None else self._watch.unbacked(tasks)

    def _idle(self) -> tuple[str, ...]:
        return (*self.found.problems.values(), *self._resolutions.unbound)

    # ---- what the feed tells

    def _resolved(self, server: str, equipment: Sequence[Equipment]) -> None:
        self._pulse.expect(equipment)
        self._resolutions.resolved(server)

    def _flushed(self) -> None:
        if self._pipeline is not None:
            self._pipeline.flushed()

    def _counter(self, equipment_id: str, tag: str, value: Scalar) -> None:
        self._pulse.on_tag(equipment_id, tag, value)
        if self._pipeline is not None:
            self._write_back.on_tag(equipment_id, tag, value)

    def _lost(self, server: str) -> None:
        for machine in self.feed.equipment.get(server, ()):
            task = asyncio.get_running_loop().create_task(
                self.hosted.fault(None, machine.id, f"server '{server}' is not connected", Fault.INPUTS)
            )
            task.add_done_callback(lambda t: t.cancelled() or t.exception())

    # ---- how it stands

    @property
    def _write_back(self) -> WriteBack:
        assert self._effects is not None  # noqa: S101 - _run() assembles before anything asks
        assert self._effects.write_back is not None  # noqa: S101
        return self._effects.write_back

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """Workers whose heartbeat is fresh."""
        return self._watch.workers if self._watch else ()

    @property
    def now(self) -> datetime:
        """The plant's event time."""
        return moment(self.feed.clock.event_us(time.time_ns() // 1000))

    @property
    def status(self) -> Status:
        """The gateway at this moment."""
        rows = [link.status for link in self.links]
        said = self._pipeline.last if self._pipeline else {}
        return Status(
            gateway_id=self.settings.gateway.id,
            endpoint=self.hosted.endpoint,
            tags_per_s=self._rate.per_s(self.feed.received),
            batches=self._pipeline.batches if self._pipeline else 0,
            workers=tuple(f"{w.node} ({w.device})" for w in self.workers),
            broker=self._dispatcher.connected if self._dispatcher else False,
            servers=tuple(ServerStatus(r.server, r.state.value, r.tags, len(r.pending), r.error) for r in rows),
            tasks=tuple(
                TaskStatus.of(t, self.ledger.task(t.task), said.get(t.task, ""), self.found.problems.get(t.task, ""))
                for t in self.settings.tasks
            ),
            ledger=self.ledger.snapshot(),
            advisory_only=self.guard.demoted,
            silent=self._pulse.silent,
        )
