"""The OPC UA server the gateway hosts: recommendations as nodes, stale when anything behind them fails."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlparse

from asyncua import ua
from asyncua.server.server import Server

from lineside_gateway.guard.modes import effective
from lineside_gateway.hosting import Access, Rights, Role, hosting_server
from lineside_gateway.publish.advisory import HOLD, RELEASE, add_advisory_methods
from lineside_gateway.publish.companions import Companions
from lineside_gateway.publish.conditions import Answers, ConditionDesk, NoAnswers
from lineside_gateway.publish.conditions.desk import About
from lineside_gateway.publish.conditions.methods import ConditionMethods
from lineside_gateway.publish.diagnostics import DiagnosticNodes, Diagnostics
from lineside_gateway.publish.endpoint import check_free, listen
from lineside_gateway.publish.errors import PublishError
from lineside_gateway.publish.fields import State
from lineside_gateway.publish.history import HistoryService, HistoryStore
from lineside_gateway.publish.layout import Layout
from lineside_gateway.publish.ledger_nodes import TAG_LEDGER, LedgerNodes, LedgerPages
from lineside_gateway.publish.model import TypeModel
from lineside_gateway.publish.names import GATEWAY, NAMESPACE_URI
from lineside_gateway.publish.recommendation_nodes import Fault, HostedTask, RecommendationNodes
from lineside_gateway.publish.redundancy import RedundancyNodes
from lineside_gateway.publish.variables import Builder
from lineside_plugins.types import Recommendation

HEARTBEAT_S = 1.0
GOOD_SHARE = 0.5


class HostedServer:
    """Hosts the nodes of ``tasks`` at ``endpoint``. All methods are called from the loop that called ``start``.

    Times given are event time. ``good_share`` is the quality from which a recommendation is shown as Good. Port 0
    takes a free port; ``endpoint`` tells which. ``answers`` takes what operators answer; ``access`` is who gets in,
    anonymous readers by default; ``rights`` is who may write and call what. ``pages`` are shown as the ledger;
    ``nodesets`` is a folder of official companion nodesets, whose types are then shown beside our own.
    """

    def __init__(
        self,
        endpoint: str,
        gateway_id: str,
        tasks: Sequence[HostedTask],
        *,
        good_share: float = GOOD_SHARE,
        heartbeat_s: float = HEARTBEAT_S,
        answers: Answers | None = None,
        access: Access | None = None,
        pages: LedgerPages | None = None,
        nodesets: Path | None = None,
    ) -> None:
        self._url = urlparse(endpoint)
        self._gateway_id = gateway_id
        self._tasks = tuple(tasks)
        self._good_share = good_share
        self._heartbeat_s = heartbeat_s
        self._access = access or Access()
        self._nodesets = nodesets
        self.rights = Rights()
        self._server: Server | None = None
        self._nodes: dict[tuple[str, str], RecommendationNodes] = {}
        self._layout: Layout | None = None
        self._diagnostics: DiagnosticNodes | None = None
        self._redundancy: RedundancyNodes | None = None
        self._pages = pages
        self._ledger: LedgerNodes | None = None
        self._heart: asyncio.Task[None] | None = None
        self._now: datetime | None = None
        self._demoted = False
        self._store: HistoryStore | None = None
        self._history: HistoryService | None = None
        self._answers: Answers = answers or NoAnswers()
        self._desk: ConditionDesk | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def endpoint(self) -> str:
        """The URL clients connect to, with the port in use."""
        return self._url.geturl()

    @property
    def uri(self) -> str:
        """The server's ApplicationUri."""
        pki = self._access.pki
        return pki.application_uri if pki else f"urn:lineside:gateway:{self._gateway_id}"

    async def start(self, history: HistoryStore | None = None) -> None:
        """Build the nodes, listen and start the heartbeat.

        ``history`` keeps what HistoryRead gives; it is closed by whoever opened it.

        Raises:
            HostingError: The port is taken, the address is not of this machine, or the nodesets cannot be read.
        """
        check_free(self._url)
        self._store = history
        server = hosting_server(self._access, self.rights)
        if self._store is not None:
            self._history = HistoryService(server.iserver, self._store)
            server.iserver.history_manager = self._history
        await server.init()
        server.name = f"Lineside gateway {self._gateway_id}"
        server.product_uri = NAMESPACE_URI
        await server.set_application_uri(self.uri)
        server.set_endpoint(self.endpoint)
        await self._build(server)
        await listen(server, self._url)
        self._server = server
        if server.bserver is not None:
            self._url = self._url._replace(netloc=f"{self._url.hostname}:{server.bserver.port}")
        self._heart = asyncio.create_task(self._beat(), name=f"heartbeat of {self._gateway_id}")

    async def stop(self) -> None:
        """Stop the heartbeat, then the server; clients see the connection close."""
        if self._heart is not None:
            self._heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heart
            self._heart = None
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def add(self, tasks: Sequence[HostedTask]) -> None:
        """Host nodes for equipment that has come up while the server runs; what is hosted already stays as it is."""
        new = [t for t in tasks if (t.task, t.equipment_id) not in self._nodes]
        async with self._one_at_a_time:
            self._tasks += tuple(new)
            if self._layout is not None:
                self._take(await self._layout.build_tasks(new))

    async def publish(
        self, rec: Recommendation, state: State = State.PROPOSED, *, good_for_s: float = math.inf
    ) -> bool:
        """Show ``rec``; False where its mode is not shown (off, shadow) or a newer one is shown already.

        ``good_for_s`` is the wall time after which it is Good no more, whatever the plant's clock says.

        Raises:
            PublishError: Its task has no nodes for that equipment, or a value does not fit its declared output.
        """
        nodes = self._nodes.get((rec.task, rec.equipment_id))
        if nodes is None:
            if any((t.task, t.equipment_id) == (rec.task, rec.equipment_id) for t in self._tasks):
                return False
            raise PublishError(
                f"recommendation {rec.key} has no nodes: task '{rec.task}' is not bound to '{rec.equipment_id}'; "
                "add the equipment to the task's binding"
            )
        async with self._one_at_a_time:
            if nodes.supersedes(rec):
                return False
            nodes.good_until_s = time.monotonic() + good_for_s
            await nodes.show(rec, effective(nodes.hosted.mode, demoted=self._demoted), state, self._now)
            await self._follow(nodes, fresh=True)
        return True

    async def set_state(self, key: str, state: State, why: str = "", *, only: State | None = None) -> bool:
        """Move the recommendation of ``key`` to ``state``, ``why`` in words; False where it is not shown any more.

        With ``only`` it moves from that state alone.
        """
        async with self._one_at_a_time:
            for nodes in self._nodes.values():
                if await nodes.set_state(key, state, why, only):
                    await self._follow(nodes)
                    return True
        return False

    async def expire(self, now: datetime) -> int:
        """Turn every recommendation Uncertain whose ``valid_until`` is before ``now``; how many turned."""
        async with self._one_at_a_time:
            self._now = now
            expired = [nodes for nodes in self._nodes.values() if await nodes.expire(now)]
            for nodes in expired:
                await self._follow(nodes)
            return len(expired)

    async def fault(self, task: str | None, equipment_id: str | None, cause: str, fault: Fault = Fault.INPUTS) -> int:
        """Turn nodes Bad with ``cause`` in words until their next recommendation; None means all. How many turned."""
        hit = [
            nodes
            for (its_task, its_equipment), nodes in self._nodes.items()
            if task in {None, its_task} and equipment_id in {None, its_equipment}
        ]
        async with self._one_at_a_time:
            for nodes in hit:
                await nodes.fail(fault, cause)
            if fault is not Fault.ABSTAINED and self._desk is not None:
                await self._desk.doubt(task, equipment_id)
        return len(hit)

    async def demote(self, demoted: bool) -> None:
        """Show the plant-wide switch and, on every recommendation, the mode that is now in force."""
        self._demoted = demoted
        async with self._one_at_a_time:
            for nodes in self._nodes.values():
                await nodes.set_mode(effective(nodes.hosted.mode, demoted=demoted))
        if self._diagnostics is not None:
            await self._diagnostics.show_mode(demoted)

    async def show_drift(self, causes: Sequence[str]) -> None:
        """Raise the plant-wide drift alarm with its causes, or end it where there are none."""
        if self._diagnostics is not None:
            await self._diagnostics.show_drift(causes)

    async def alarm(self, about: About, *, active: bool, message: str, severity: int) -> None:
        """Raise or end the drift alarm of a task, a piece of equipment and a tag, or say that it still stands."""
        if self._desk is not None:
            async with self._one_at_a_time:
                await self._desk.alarm(about, active=active, message=message, severity=severity)

    async def show(self, numbers: Diagnostics) -> None:
        """Show the gateway's own numbers."""
        if self._diagnostics is not None:
            await self._diagnostics.show(numbers)
        if self._ledger is not None:
            await self._ledger.show()

    async def show_problems(self, sentences: Sequence[str]) -> None:
        """Show what keeps recommendations from coming: one sentence each, none while nothing does."""
        if self._diagnostics is not None:
            await self._diagnostics.show_problems(sentences)

    async def show_service(self, level: int, partners: Sequence[str]) -> None:
        """Show the ServiceLevel, and the ApplicationUris of the other servers of a fleet."""
        if self._redundancy is not None:
            await self._redundancy.show(level, partners)

    async def read_back(self, task: str, equipment_id: str, output: str) -> ua.DataValue:
        """Value, StatusCode and timestamps of one field as the server gives them to a client.

        Raises:
            PublishError: No such hosted field.
        """
        nodes = self._nodes.get((task, equipment_id))
        if self._server is None or nodes is None or output not in nodes.cells:
            raise PublishError(f"'{equipment_id}.{task}.{output}' is not hosted; check task, equipment and output")
        return await self._server.get_node(nodes.cells[output].node).read_data_value(raise_on_bad_status=False)

    async def _build(self, server: Server) -> None:
        builder = Builder(server, await server.register_namespace(NAMESPACE_URI))
        builder.historizing = self._history is not None
        types = TypeModel(builder)
        self._desk = ConditionDesk(builder, types, self._answers)
        if self._history is not None:
            self._history.desk, self._desk.keep = self._desk, self._history.keep_event
        layout = self._layout = Layout(
            builder, self._good_share, types, self._desk, Companions(builder, self._nodesets)
        )
        self._take(await layout.build(self._tasks))
        ConditionMethods(self._desk).link()
        self._redundancy = RedundancyNodes(builder, self.uri)
        self._diagnostics = DiagnosticNodes(builder)
        await self._diagnostics.build(layout, self._gateway_id)
        await self._diagnostics.show_mode(self._demoted)
        await self._diagnostics.show_drift(())
        await self._diagnostics.show_problems(())
        if self._pages is not None:
            self._ledger = LedgerNodes(builder, self._pages)
            await self._ledger.build()
            self.rights.allow_call(builder.node_id(TAG_LEDGER), Role.VIEWER)
        await add_advisory_methods(builder, self._answers)
        for method in (types.methods["Accept"], types.methods["Reject"], builder.node_id(f"{GATEWAY}/{HOLD}")):
            self.rights.allow_call(method, Role.OPERATOR)
        self.rights.allow_call(builder.node_id(f"{GATEWAY}/{RELEASE}"), Role.ENGINEER)

    def _take(self, built: Mapping[tuple[str, str], RecommendationNodes]) -> None:
        self._nodes |= built
        if self._history is not None:
            for nodes in built.values():
                self._history.watch(nodes)

    async def _follow(self, nodes: RecommendationNodes, *, fresh: bool = False) -> None:
        if self._history is not None:
            self._history.keep(nodes, fresh=fresh)
        if self._desk is not None:
            await self._desk.follow(nodes)

    async def _beat(self) -> None:
        while self._diagnostics is not None:
            await asyncio.sleep(self._heartbeat_s)
            await self._diagnostics.beat()
            if self._store is not None:
                await self._store.flush()
