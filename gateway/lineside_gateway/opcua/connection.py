"""One live session with a server, and the services the gateway calls on it, in batches the server accepts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from asyncua import ua
from asyncua.client.ua_client import UaClientState

from lineside_gateway.opcua.addresses import Namespaces
from lineside_gateway.opcua.standard import AttributeIds, Client, ObjectIds, StatusCodes, UaStatusCodeError, standard
from lineside_gateway.opcua.transport import Vitals
from lineside_gateway.settings import ServerSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Limit(StrEnum):
    """Services whose requests are cut into batches."""

    READ = "read"
    BROWSE = "browse"
    MONITOR = "monitor"
    HISTORY = "history"


_NODES = {
    Limit.READ: ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    Limit.BROWSE: ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    Limit.MONITOR: ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
    Limit.HISTORY: ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData,
}
_TOO_MUCH = {
    StatusCodes.BadTooManyOperations,
    StatusCodes.BadRequestTooLarge,
    StatusCodes.BadResponseTooLarge,
    StatusCodes.BadTcpMessageTooLarge,
    StatusCodes.BadEncodingLimitsExceeded,
    StatusCodes.BadTimeout,
}
SMALL_BATCH = 25
"""A batch this small is not to blame for a request that was not answered, or for a socket that was closed over it."""


class OperationLimits:
    """Nodes per request (OPC UA Part 5, 6.3.11), never above the settings' ``batch_size``; lowered where that is much.

    What was found too much is kept in ``caps`` for the connections that follow.
    """

    def __init__(self, declared: MutableMapping[Limit, int], caps: MutableMapping[str, int]) -> None:
        self._declared = declared
        self._caps = caps

    def size(self, limit: Limit) -> int:
        """Nodes in one request now."""
        return min(self._declared[limit], self._caps.get(limit, self._declared[limit]))

    def lower(self, limit: Limit, tried: int, server: str) -> None:
        """``tried`` nodes were too many: half of them from now on."""
        self._caps[limit] = max(1, tried // 2)
        logger.warning("batch_halved server=%s service=%s nodes=%d", server, limit, self._caps[limit])

    @property
    def monitor(self) -> int:
        """Items in one CreateMonitoredItems."""
        return self.size(Limit.MONITOR)

    @property
    def read(self) -> int:
        """Nodes in one Read."""
        return self.size(Limit.READ)

    @property
    def browse(self) -> int:
        """Nodes in one Browse."""
        return self.size(Limit.BROWSE)

    @property
    def history(self) -> int:
        """Nodes in one HistoryRead."""
        return self.size(Limit.HISTORY)


@dataclass(frozen=True, slots=True)
class Connection:
    """A connected client with what was true when it connected. A new connection is a new object."""

    client: Client
    server: ServerSettings
    namespaces: Namespaces
    limits: OperationLimits
    vitals: Vitals = field(default_factory=Vitals)

    async def batched(
        self, limit: Limit, items: Sequence[T], call: Callable[[Sequence[T]], Awaitable[list[R]]]
    ) -> list[R]:
        """One result per item, in order, asked for in batches; one that is too much for the server is halved.

        A request that is not answered, or over which the server closes the socket, counts as too much as well.
        """
        out: list[R] = []
        while len(out) < len(items):
            part = items[len(out) : len(out) + self.limits.size(limit)]
            if self.client.uaclient.state is not UaClientState.CONNECTED:
                raise ConnectionError(f"the connection to server '{self.server.name}' was closed")
            try:
                out += await call(part)
            except UaStatusCodeError as e:
                if e.code not in _TOO_MUCH or len(part) == 1:
                    raise
                self.limits.lower(limit, len(part), self.server.name)
            except (TimeoutError, OSError) as e:
                if len(part) <= SMALL_BATCH:
                    raise
                self.limits.lower(limit, len(part), self.server.name)
                if isinstance(e, OSError) and not isinstance(e, TimeoutError):
                    raise
        return out

    async def read(
        self, node_ids: Sequence[ua.NodeId], attribute: AttributeIds = AttributeIds.Value
    ) -> list[ua.DataValue]:
        """One DataValue per node, in order; a node that cannot be read has a Bad StatusCode."""
        return await self.batched(
            Limit.READ, node_ids, lambda part: self.client.uaclient.read_attributes(list(part), attribute)
        )

    async def browse(
        self,
        node_ids: Sequence[ua.NodeId],
        reference: int = ObjectIds.HierarchicalReferences,
        direction: ua.BrowseDirection = ua.BrowseDirection.Forward,
    ) -> list[list[ua.ReferenceDescription]]:
        """References of each node, in order, continuation points followed; a node that is not there has none."""

        async def call(part: Sequence[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
            params = ua.BrowseParameters()
            params.View = ua.ViewDescription()
            params.RequestedMaxReferencesPerNode = 0
            params.NodesToBrowse = [_browse_description(n, reference, direction) for n in part]
            return [await self._all_references(result) for result in await self.client.uaclient.browse(params)]

        return await self.batched(Limit.BROWSE, node_ids, call)

    async def _all_references(self, result: ua.BrowseResult) -> list[ua.ReferenceDescription]:
        references = list(result.References or ())
        point = result.ContinuationPoint
        while point:
            more = (await self._browse_next(point))[0]
            references += list(more.References or ())
            point = more.ContinuationPoint
        return references

    async def _browse_next(self, point: bytes) -> list[ua.BrowseResult]:
        params = ua.BrowseNextParameters()
        params.ReleaseContinuationPoints = False
        params.ContinuationPoints = [point]
        return await self.client.uaclient.browse_next(params)


async def read_limits(client: Client, server: ServerSettings, caps: MutableMapping[str, int]) -> OperationLimits:
    """The server's OperationLimits, 0 or absent meaning none, held at ``batch_size``."""
    values = await client.uaclient.read_attributes([standard(i) for i in _NODES.values()], AttributeIds.Value)
    found: dict[Limit, int] = {}
    for limit, dv in zip(_NODES, values, strict=True):
        raw = dv.Value.Value if dv.StatusCode is not None and dv.StatusCode.is_good() and dv.Value is not None else 0
        found[limit] = min(int(raw) if isinstance(raw, int) and raw > 0 else server.batch_size, server.batch_size)
    return OperationLimits(found, caps)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive slices of at most ``size``."""
    for at in range(0, len(items), size):
        yield items[at : at + size]


def _browse_description(node_id: ua.NodeId, reference: int, direction: ua.BrowseDirection) -> ua.BrowseDescription:
    description = ua.BrowseDescription()
    description.NodeId = node_id
    description.BrowseDirection = direction
    description.ReferenceTypeId = standard(reference)
    description.IncludeSubtypes = True
    description.NodeClassMask = ua.NodeClass.Unspecified
    description.ResultMask = ua.BrowseResultMask.All
    return description
