"""One live session with a server, and the services the gateway calls on it, in batches the server accepts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from asyncua import ua

from lineside_gateway.opcua.addresses import Namespaces
from lineside_gateway.opcua.standard import AttributeIds, Client, ObjectIds, standard
from lineside_gateway.settings import ServerSettings

T = TypeVar("T")

_LIMITS = {
    "read": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    "browse": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    "monitor": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
}


@dataclass(frozen=True, slots=True)
class OperationLimits:
    """Nodes per request (OPC UA Part 5, 6.3.11), never above the settings' ``batch_size``."""

    read: int
    browse: int
    monitor: int


@dataclass(frozen=True, slots=True)
class Connection:
    """A connected client with what was true when it connected. A new connection is a new object."""

    client: Client
    server: ServerSettings
    namespaces: Namespaces
    limits: OperationLimits

    async def read(
        self, node_ids: Sequence[ua.NodeId], attribute: AttributeIds = AttributeIds.Value
    ) -> list[ua.DataValue]:
        """One DataValue per node, in order; a node that cannot be read has a Bad StatusCode."""
        out: list[ua.DataValue] = []
        for part in chunks(node_ids, self.limits.read):
            out += await self.client.uaclient.read_attributes(list(part), attribute)
        return out

    async def browse(
        self,
        node_ids: Sequence[ua.NodeId],
        reference: int = ObjectIds.HierarchicalReferences,
        direction: ua.BrowseDirection = ua.BrowseDirection.Forward,
    ) -> list[list[ua.ReferenceDescription]]:
        """References of each node, in order, continuation points followed; a node that is not there has none."""
        out: list[list[ua.ReferenceDescription]] = []
        for part in chunks(node_ids, self.limits.browse):
            params = ua.BrowseParameters()
            params.View = ua.ViewDescription()
            params.RequestedMaxReferencesPerNode = 0
            params.NodesToBrowse = [_browse_description(n, reference, direction) for n in part]
            for result in await self.client.uaclient.browse(params):
                references = list(result.References or ())
                point = result.ContinuationPoint
                while point:
                    more = (await self._browse_next(point))[0]
                    references += list(more.References or ())
                    point = more.ContinuationPoint
                out.append(references)
        return out

    async def _browse_next(self, point: bytes) -> list[ua.BrowseResult]:
        params = ua.BrowseNextParameters()
        params.ReleaseContinuationPoints = False
        params.ContinuationPoints = [point]
        return await self.client.uaclient.browse_next(params)


async def read_limits(client: Client, server: ServerSettings) -> OperationLimits:
    """The server's OperationLimits, 0 or absent meaning none, held at ``batch_size``."""
    values = await client.uaclient.read_attributes([standard(i) for i in _LIMITS.values()], AttributeIds.Value)
    found: dict[str, int] = {}
    for name, dv in zip(_LIMITS, values, strict=True):
        raw = dv.Value.Value if dv.StatusCode is not None and dv.StatusCode.is_good() and dv.Value is not None else 0
        found[name] = min(int(raw) if isinstance(raw, int) and raw > 0 else server.batch_size, server.batch_size)
    return OperationLimits(**found)


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
