"""One server as the runtime sees it: run it, ask how it stands, write to it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lineside_gateway.errors import JobControlError, WriteError
from lineside_gateway.opcua.addresses import Namespaces
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.coverage import Coverage
from lineside_gateway.opcua.delivery import Equipment, Sink, TagNode
from lineside_gateway.opcua.feeds import Feeds
from lineside_gateway.opcua.history import HistoryReader
from lineside_gateway.opcua.job_control import Updated
from lineside_gateway.opcua.plan import ServerPlan
from lineside_gateway.opcua.routing import Counters
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import LinkState, Session
from lineside_gateway.opcua.standard import UaError
from lineside_gateway.opcua.subscription import TagSubscription
from lineside_gateway.opcua.values import scalar
from lineside_gateway.opcua.writer import Written, write
from lineside_plugins.types import Scalar

logger = logging.getLogger(__name__)

RETRY_FIRST_S = 1.0
RETRY_SOON_S = 10.0
RETRY_LATE_S = 60.0
BOOT_S = 120.0
"""Missing tags are looked for again after 1, 2, 4, 8, 10, 10 ... s while a PLC may still boot, then each 60 s; those
that no task needs each 60 s."""
AUDIT_S = 10.0
"""Quiet tags are read this often, to see whether the server has ceased to tell."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One row of a status table."""

    server: str
    url: str
    state: LinkState
    error: str
    """Operator's sentence for what stands in the way, "" when connected."""
    connects: int
    """Sessions made; ``resumes`` counts how often one was taken up again on a new channel."""
    resumes: int
    equipment: int
    tags: int
    polled: int
    """Those of ``tags`` that the server does not monitor."""
    pending: Mapping[tuple[str, str], str]
    """(equipment_id, tag) -> why it is not delivered; tags that no task needs are left out."""
    counters: Counters


class ServerLink:
    """Keeps one server connected, resolved and subscribed, and writes to it. Lives on one event loop."""

    def __init__(
        self, plan: ServerPlan, pki: Pki, jitter: random.Random | None = None, sessions: Path | None = None
    ) -> None:
        """``sessions`` is the folder where standing sessions are noted, to be closed after a crash; None notes none."""
        self.plan = plan
        self.name = plan.server.name
        kept = None if sessions is None else sessions / f"{plan.server.name}.json"
        self._session = Session(plan.server, pki, jitter, kept)
        self._connection: Connection | None = None
        self._ready = False
        self._subscription: TagSubscription | None = None
        self._feeds: Feeds | None = None
        self._coverage: Coverage | None = None
        self._history_read = False
        self._gaps: list[int] = []

    async def run(self, sink: Sink) -> None:
        """Connect and deliver until cancelled; a lost or absent server is waited for. Closes the session on exit."""

        async def serve(connection: Connection) -> None:
            try:
                await self._serve(connection, sink)
            finally:
                self._connection, self._ready = None, False
                sink.lost(self.name)

        def lost(cause: str) -> None:
            self._gaps.append(sink.gap(self.name, cause))

        await self._session.run(serve, lost)

    @property
    def connected(self) -> bool:
        """True while a session stands and its tags have been asked for."""
        return self._ready

    @property
    def namespaces(self) -> Namespaces:
        """NamespaceArray of the latest connection."""
        return self._session.namespaces

    @property
    def equipment(self) -> Sequence[Equipment]:
        """Equipment as last resolved."""
        return () if self._coverage is None else tuple(self._coverage.equipment.values())

    @property
    def status(self) -> LinkStatus:
        """How the link stands now."""
        error = "" if self._session.error is None else self._session.error.sentence
        pending = {} if self._coverage is None else self._coverage.pending
        pending |= self._feeds.pending if self._feeds is not None else {}
        counters = self._subscription.counters if self._subscription is not None else Counters()
        return LinkStatus(
            self.name,
            self.plan.server.url,
            self._session.state,
            error,
            self._session.connects,
            self._session.resumes,
            len(self.equipment),
            0 if self._coverage is None else self._coverage.watched,
            0 if self._coverage is None else self._coverage.polled,
            pending,
            counters,
        )

    def tag(self, equipment_id: str, tag: str) -> TagNode | None:
        """The node of a tag as last resolved, None where it is missing.

        Counters of the job order receiver are tags of an equipment named like the server.
        """
        if equipment_id == self.name and self._feeds is not None and tag in self._feeds.counters:
            return self._feeds.counters[tag]
        equipment = None if self._coverage is None else self._coverage.equipment.get(equipment_id)
        return None if equipment is None else equipment.tags.get(tag)

    async def write(self, equipment_id: str, tag: str, value: Scalar, *, read_back: bool = True) -> Written:
        """Write one value to a tag of a piece of equipment, in the node's own data type.

        Raises:
            WriteError: Not connected, no such tag, or refused; ``permanent`` tells whether to try again.
        """
        connection, node = self._connection, self.tag(equipment_id, tag)
        if connection is None:
            raise WriteError(
                f"server '{self.name}' is not connected; {equipment_id}.{tag} is not written",
                permanent=False,
                status="BadNotConnected",
            )
        if node is None:
            sentence = f"tag {equipment_id}.{tag} is not on server '{self.name}'; check tags"
            raise WriteError(sentence, permanent=False, status="BadNodeIdUnknown")
        try:
            return await write(connection, node, value, read_back=read_back)
        except (OSError, TimeoutError, UaError) as e:
            sentence = f"the answer to writing {equipment_id}.{tag} did not come; look at the node before writing again"
            detail = f"{type(e).__name__}: {e}"
            raise WriteError(sentence, detail, permanent=False, status="BadTimeout", unanswered=True) from e

    async def read(self, equipment_id: str, tag: str) -> Scalar:
        """What a tag holds now, read from the server; None where it is not Good, or not at hand."""
        connection, node = self._connection, self.tag(equipment_id, tag)
        if connection is None or node is None:
            return None
        try:
            value = (await connection.read([node.node_id]))[0]
        except (OSError, TimeoutError, UaError):
            return None
        good = value.StatusCode is None or value.StatusCode.is_good()
        return scalar(value.Value.Value) if good and value.Value is not None else None

    async def update_job_order(self, job_order_id: str, priority: int, equipment_id: str | None) -> Updated:
        """Set priority and equipment of one job order at the MES; ``equipment_id`` None means any.

        Raises:
            JobControlError: Not connected, no job control on this server, unknown order, or the call failed.
        """
        if self._connection is None or self._feeds is None or self._feeds.orders is None:
            cause = self.status.pending.get((self.name, "job_orders")) or self.status.error
            raise JobControlError(
                f"job orders of server '{self.name}' are not at hand: {cause or 'no job_control there'}"
            )
        return await self._feeds.orders.update(job_order_id, priority, equipment_id)

    async def _serve(self, connection: Connection, sink: Sink) -> None:
        subscription, feeds, coverage = self._subscription, self._feeds, self._coverage
        if not connection.vitals.ready or subscription is None or feeds is None or coverage is None:
            subscription = self._subscription = TagSubscription(connection, sink)
            if coverage is None:
                coverage = self._coverage = Coverage(self.plan.server, self.plan.equipment, sink)
            coverage.begin(connection, subscription)
            await subscription.open()
            self._connection = connection
            feeds = self._feeds = Feeds(connection, subscription, self.plan, sink)
            await self._begin(connection, subscription, feeds, coverage, sink)
            connection.vitals.ready = True
        else:
            self._connection = connection
            await subscription.resume(self._gaps)
            sink.resolved(self.name, self.equipment)
        self._gaps = []
        self._ready = True
        await self._keep(subscription, feeds, coverage)

    async def _keep(self, subscription: TagSubscription, feeds: Feeds, coverage: Coverage) -> None:
        """Look for what is missing, poll what is not monitored, audit what is quiet, until the connection is lost."""
        retries = Retries()
        poll_at = time.monotonic()
        audit_at = poll_at + AUDIT_S
        while True:
            due = min(retries.due_at, audit_at, poll_at if coverage.polled else audit_at)
            await subscription.guard(max(due - time.monotonic(), 0.01))
            now = time.monotonic()
            if coverage.polled and now >= poll_at:
                await coverage.poll()
                poll_at = now + self.plan.server.poll_interval_s
            if now >= audit_at:
                await coverage.audit()
                audit_at = now + AUDIT_S
            retries.note(frozenset(self.status.pending))
            if now >= retries.due_at:
                if coverage.incomplete or feeds.pending:
                    await coverage.extend()
                    await feeds.open()
                retries.count(frozenset(self.status.pending), absent=coverage.absent)

    async def _begin(
        self, connection: Connection, subscription: TagSubscription, feeds: Feeds, coverage: Coverage, sink: Sink
    ) -> None:
        """Resolve, subscribe and open the feeds, with what the server's history has.

        At the first connection as far back as the windows reach, later what a loss has left out.
        """
        if not self.plan.server.history:
            await coverage.extend()
            await feeds.open()
            return
        reader = HistoryReader(connection, self.plan.depths_s, sink)
        feeds.history = None if self._history_read else reader
        hold = subscription.hold()
        await coverage.extend()
        nodes = [n for e in self.equipment for n in e.tags.values()]
        if self._history_read:
            await reader.refill(nodes, hold)
        else:
            await reader.fill(nodes, hold)
        subscription.counters.history = reader.report.values
        self._history_read = True  # from the first live sample on the watermark is past what would be read again
        await subscription.release()
        await feeds.open()
        feeds.history = None
        reader.tell()


class Retries:
    """When to look again for what is missing: soon while a PLC may still boot, then each minute."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._wait_s = RETRY_FIRST_S
        self._pending: frozenset[tuple[str, str]] = frozenset()
        self.due_at = self._since + self._wait_s

    def note(self, pending: frozenset[tuple[str, str]]) -> None:
        """Begin anew where something is missing that was not before."""
        if pending - self._pending:
            self._since, self._wait_s = time.monotonic(), RETRY_FIRST_S
            self.due_at = min(self.due_at, self._since + self._wait_s)
        self._pending = pending

    def count(self, pending: frozenset[tuple[str, str]], *, absent: bool) -> None:
        """After a look at what is still missing."""
        soon = time.monotonic() - self._since < BOOT_S and (bool(pending) or absent)
        self._wait_s = min(2 * self._wait_s, RETRY_SOON_S) if soon else RETRY_LATE_S
        self._pending = pending
        self.due_at = time.monotonic() + self._wait_s
