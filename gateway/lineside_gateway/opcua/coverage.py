"""Which tags of a server are delivered, and how: subscribed, polled, or not yet and why. Lives as long as its link."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from asyncua import ua

from lineside_gateway.errors import ConnectError
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import Equipment, Sink, TagNode
from lineside_gateway.opcua.describe import GONE
from lineside_gateway.opcua.monitoring import Item
from lineside_gateway.opcua.nodes import WantedEquipment, resolve
from lineside_gateway.opcua.polling import Poller
from lineside_gateway.opcua.standard import StatusCodes
from lineside_gateway.opcua.subscription import TagSubscription
from lineside_gateway.opcua.values import event_time_us, status_of
from lineside_gateway.settings import Report, ServerSettings

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""(equipment_id, tag)."""
AUDIT_TAGS = 100
"""Quiet tags read at one audit."""
_POLLED = {
    StatusCodes.BadServiceUnsupported,
    StatusCodes.BadNotSupported,
    StatusCodes.BadNotImplemented,
    StatusCodes.BadTooManyMonitoredItems,
    StatusCodes.BadMonitoredItemFilterUnsupported,
    StatusCodes.BadMonitoredItemFilterInvalid,
    StatusCodes.BadFilterNotAllowed,
}
"""Refusals of a monitored item after which its node is read instead."""


class Coverage:
    """The equipment of one server and the delivery of its tags. ``begin`` first, at each new connection."""

    def __init__(self, server: ServerSettings, wanted: Sequence[WantedEquipment], sink: Sink) -> None:
        self.rejected: dict[Key, str] = {}
        """Tags whose node the server does not monitor, with the cause."""
        self._server = server
        self._wanted = wanted
        self._sink = sink
        self._found: dict[int, dict[str, Equipment]] = {}
        self._watched: dict[Key, TagNode] = {}
        self._poller = Poller(server, sink)
        self._newest: dict[Key, int] = {}
        self._suspects: dict[Key, int] = {}
        self._doubted: set[Key] = set()
        self._announced: frozenset[Key] | None = None

    def begin(self, connection: Connection, subscription: TagSubscription) -> None:
        """Forget what held for another connection."""
        self._connection, self._subscription = connection, subscription
        self._found, self.rejected = {}, {}
        self._watched = {}
        self._announced = None
        self._poller.begin(connection)
        self._newest, self._suspects = {}, {}

    # ---- how it stands

    @property
    def equipment(self) -> dict[str, Equipment]:
        """Equipment as last resolved, by id."""
        return {e.id: e for found in self._found.values() for e in found.values()}

    @property
    def watched(self) -> int:
        """Tags that are delivered, polled ones too."""
        return len(self._watched)

    @property
    def polled(self) -> int:
        """Tags that are read in turn, since the server does not monitor them."""
        return len(self._poller)

    @property
    def absent(self) -> bool:
        """True where an entry of the settings' equipment leads to nothing."""
        return any(not self._found.get(i) for i in range(len(self._wanted)))

    @property
    def incomplete(self) -> bool:
        """True while something that is wanted is not delivered."""
        return self.absent or bool(self.rejected) or any(e.missing for e in self.equipment.values())

    @property
    def pending(self) -> dict[Key, str]:
        """Tags that some task needs and that are not delivered, with the cause."""
        optional = frozenset().union(*(w.optional for w in self._wanted))
        missing = ((e.id, t, cause) for e in self.equipment.values() for t, cause in e.missing.items())
        return {(e, t): cause for e, t, cause in missing if t not in optional} | self.rejected

    # ---- finding and asking

    async def extend(self) -> None:
        """Find what is not found yet and ask for what is not delivered yet; the rest is left alone."""
        for i, want in enumerate(self._wanted):
            await self._resolve(i, want)
        self._announce()
        await self._ask([n for e in self.equipment.values() for n in e.tags.values()])

    async def _resolve(self, i: int, want: WantedEquipment) -> None:
        before = self._found.get(i, {})
        lacking = {t: a for t, a in want.tags.items() if any(t in e.missing for e in before.values())}
        if before and not lacking:
            return
        tags = lacking if before else want.tags
        found = {e.id: e for e in await resolve(self._connection, [replace(want, tags=tags)])}
        if before and found.keys() - before.keys():  # a machine that is new is asked for all its tags
            found = {e.id: e for e in await resolve(self._connection, [want])}
        self._found[i] = {
            name: replace(e, tags={**before[name].tags, **e.tags}) if name in before else e for name, e in found.items()
        } | {name: e for name, e in before.items() if name not in found}

    def _announce(self) -> None:
        keys = frozenset((e.id, t) for e in self.equipment.values() for t in e.tags)
        if keys != self._announced:
            self._announced = keys
            self._sink.resolved(self._server.name, tuple(self.equipment.values()))

    async def _ask(self, nodes: Sequence[TagNode]) -> None:
        new = [n for n in nodes if (n.equipment_id, n.tag) not in self._watched]
        room = max(self._server.max_monitored_items - len(self._watched), 0)
        codes = await self._subscription.watch([Item(n.node_id, tag=n) for n in new[:room]])
        codes += [ua.StatusCode(ua.UInt32(StatusCodes.BadTooManyMonitoredItems))] * (len(new) - room)
        for node, code in zip(new, codes, strict=True):
            self._enter(node, code)

    def _enter(self, node: TagNode, code: ua.StatusCode) -> None:
        key = node.equipment_id, node.tag
        if code.is_good() or (code.value in _POLLED and node.readable):
            self._watched[key] = node
            self.rejected.pop(key, None)
            if not code.is_good():
                self._poller.add(node)
            return
        cause = f"server '{self._server.name}' does not monitor {node.address}: {code.name}: {code.doc}"
        if self.rejected.get(key) != cause:
            logger.warning("item_rejected equipment=%s tag=%s cause=%s", *key, cause)
        self.rejected[key] = cause

    async def poll(self) -> None:
        """Read what is polled and deliver what is new."""
        await self._poller.poll()

    # ---- audit

    async def audit(self) -> None:
        """Read tags that have been quiet since the last audit: are they, or has the server ceased to tell?

        A node that is gone is looked for again. Newer values than the subscription has brought by the next audit mean
        that it is dead, though the session stands.

        Raises:
            ConnectError: It is; connect anew.
        """
        keys = [k for k in self._watched if k not in self._poller]
        newest = dict(zip(keys, self._sink.newest_us([self._watched[k] for k in keys]), strict=True))
        self._check_suspects(newest)
        quiet = [k for k in keys if self._newest.get(k) == newest[k] and self._watched[k].readable]
        self._newest = newest
        quiet.sort(key=lambda k: (k in self._doubted, -newest[k]))  # those that fell silent last come first
        asked = quiet[:AUDIT_TAGS]
        values = await self._connection.read([self._watched[k].node_id for k in asked])
        gone: list[Key] = []
        for key, dv in zip(asked, values, strict=True):
            if status_of(dv) in GONE:
                gone.append(key)
            elif self._is_newer(key, dv, newest[key]):
                self._suspects[key] = event_time_us(dv)
        if gone:
            self._lose(gone, "the node has gone from the server")

    def _is_newer(self, key: Key, dv: ua.DataValue, newest_us: int) -> bool:
        """Whether a server that was asked to report each new SourceTimestamp has one that it has not reported.

        NaN and infinity are no samples: however many came, the newest sample is older.
        """
        value = None if dv.Value is None else dv.Value.Value
        if isinstance(value, float) and not math.isfinite(value):
            return False
        reports = self._server.report is Report.TIMESTAMP and not self._server.sampling_of(key[1]).has_deadband
        return reports and not status_of(dv) and dv.SourceTimestamp is not None and event_time_us(dv) > newest_us

    def _check_suspects(self, newest: Mapping[Key, int]) -> None:
        dead = [k for k, t in self._suspects.items() if newest.get(k, t) < t and k not in self._doubted]
        self._suspects = {}
        if dead:
            self._doubted.update(dead)  # once each: a server may have its reasons
            name = ".".join(dead[0])
            raise ConnectError(
                f"server '{self._server.name}' has newer values of {name} than it publishes; connecting again"
            )

    def _lose(self, keys: Iterable[Key], cause: str) -> None:
        """Take tags out of the delivery; ``extend`` looks for them again."""
        lost = set(keys)
        nodes = [self._watched.pop(k) for k in lost]
        self._sink.gap(self._server.name, cause, nodes)
        for i, found in self._found.items():
            for name, e in found.items():
                mine = {t for n, t in lost if n == name}
                if mine & e.tags.keys():
                    kept = {t: node for t, node in e.tags.items() if t not in mine}
                    self._found[i][name] = replace(e, tags=kept, missing={**e.missing, **dict.fromkeys(mine, cause)})
        logger.warning("nodes_gone server=%s tags=%d first=%s", self._server.name, len(lost), ".".join(min(lost)))
