"""What a connection delivers besides equipment's tags: job orders, the receiver's counters, events."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from asyncua import ua

from lineside_gateway.errors import JobControlError, NodeError
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import Sink, TagNode
from lineside_gateway.opcua.describe import Describer
from lineside_gateway.opcua.events import STREAM as EVENTS
from lineside_gateway.opcua.events import event_source
from lineside_gateway.opcua.history import HistoryReader
from lineside_gateway.opcua.job_control import STREAM as JOB_ORDERS
from lineside_gateway.opcua.job_control import JobControl, open_job_control
from lineside_gateway.opcua.monitoring import Item
from lineside_gateway.opcua.plan import ServerPlan
from lineside_gateway.opcua.subscription import TagSubscription
from lineside_gateway.opcua.values import event_time_us
from lineside_gateway.settings import EventSettings, JobControlSettings
from lineside_plugins.types import Record

logger = logging.getLogger(__name__)


class Feeds:
    """The feeds of one connection. What cannot be opened is in ``pending`` with its cause; the others flow."""

    def __init__(self, connection: Connection, subscription: TagSubscription, plan: ServerPlan, sink: Sink) -> None:
        self.history: HistoryReader | None = None
        """Reads past events of the sources opened while it is set."""
        self.orders: JobControl | None = None
        self.counters: dict[str, TagNode] = {}
        """Counters of the job order receiver by name; delivered as tags of an equipment named like the server."""
        self.pending: dict[tuple[str, str], str] = {}
        self._connection = connection
        self._subscription = subscription
        self._plan = plan
        self._sink = sink
        self._open_events: set[int] = set()

    async def open(self) -> None:
        """Open what is not open yet; called again while something is pending."""
        before = dict(self.pending)
        self.pending.clear()
        if self._plan.job_control is not None and self.orders is None:
            try:
                await self._open_orders(self._plan.job_control)
            except JobControlError as e:
                self._wait(JOB_ORDERS, e.sentence, before)
        for i, source in enumerate(self._plan.events):
            if i not in self._open_events:
                await self._open_event_source(i, source, before)

    async def _open_orders(self, settings: JobControlSettings) -> None:
        orders = await open_job_control(self._connection, settings)

        def take(dv: ua.DataValue) -> None:
            try:
                records = orders.take(dv)
            except JobControlError as e:
                self._wait(JOB_ORDERS, e.sentence, self.pending)
                return
            self.pending.pop(self._key(JOB_ORDERS), None)
            self._sink.records(JOB_ORDERS, records, event_time_us(dv))

        self.orders = orders  # before the list is asked for: whoever receives it may answer with an Update
        code = (await self._subscription.watch([Item(orders.list_node, on_value=take, queue_size=1)]))[0]
        if not code.is_good():
            self.orders = None
            raise JobControlError(f"server '{self._plan.server.name}' does not monitor JobOrderList: {code.name}")
        await self._open_counters(orders, (*self._plan.job_tags, *settings.counters))

    async def _open_counters(self, orders: JobControl, names: tuple[str, ...]) -> None:
        places: dict[str, ua.NodeId] = {}
        for name in dict.fromkeys(names):
            node_id = orders.node(name)
            if node_id is None:
                logger.warning("counter_missing server=%s counter=%s", self._plan.server.name, name)
            else:
                places[name] = node_id
        self.counters = await Describer(self._connection).describe(self._plan.server.name, places)
        await self._subscription.watch([Item(n.node_id, tag=n) for n in self.counters.values()])

    async def _open_event_source(self, i: int, source: EventSettings, before: Mapping[tuple[str, str], str]) -> None:
        waiting: list[Record] | None = [] if self.history is not None else None

        def take(record: Record) -> None:
            if waiting is None:
                self._sink.record(EVENTS, record)
            else:
                waiting.append(record)

        name = f"{EVENTS}[{i}]" if i else EVENTS
        try:
            found = await event_source(self._connection, source)
        except NodeError as e:
            self._wait(name, e.sentence, before)
            return
        code = (await self._subscription.watch([found.item(take)]))[0]
        if code.is_good():
            self._open_events.add(i)
            if self.history is not None and waiting is not None:
                past: list[Record] = []
                async with self.history.bounded():
                    past = await self.history.events(found)
                live, waiting = waiting, None
                self.history.deliver_events(past, live)
        else:
            self._wait(name, f"server '{self._plan.server.name}' gives no events of {source.node}: {code.name}", before)

    def _wait(self, name: str, cause: str, before: Mapping[tuple[str, str], str]) -> None:
        if before.get(self._key(name)) != cause:
            logger.warning("feed_waits server=%s feed=%s cause=%s", self._plan.server.name, name, cause)
        self.pending[self._key(name)] = cause

    def _key(self, name: str) -> tuple[str, str]:
        return self._plan.server.name, name
