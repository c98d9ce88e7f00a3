"""What the Server object says of itself and its partners, so that redundant clients choose the right one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from asyncua import ua

from lineside_gateway.publish.nodeids import ObjectIds, StatusCodes, standard
from lineside_gateway.publish.variables import Builder, data_value


class RedundancyNodes:
    """ServiceLevel, RedundancySupport and ServerUriArray (OPC UA Part 5, 6.3.1, 6.3.7 and 6.3.9)."""

    def __init__(self, builder: Builder, uri: str) -> None:
        self._builder = builder
        self._uri = uri
        self._level: int | None = None
        self._partners: tuple[str, ...] | None = None

    async def show(self, level: int, partners: Sequence[str]) -> None:
        """Write what has changed. ``partners`` are the ApplicationUris of the other servers of the set.

        With any it is a set with Warm redundancy: a standby reads the plant and its nodes are Bad until it leads
        (Part 4, 6.6.2.4.4).
        """
        if level != self._level:
            await self._write(ObjectIds.Server_ServiceLevel, level, ua.VariantType.Byte)
            self._level = level
        if tuple(partners) != self._partners:
            uris = sorted({self._uri, *partners})
            support = ua.RedundancySupport.Warm if partners else ua.RedundancySupport.None_
            await self._write(ObjectIds.Server_ServerRedundancy_RedundancySupport, support.value, ua.VariantType.Int32)
            await self._write(ObjectIds.Server_ServerRedundancy_ServerUriArray, uris, ua.VariantType.String)
            self._partners = tuple(partners)

    async def _write(self, node: int, value: object, variant_type: ua.VariantType) -> None:
        now = datetime.now(UTC)
        await self._builder.write(standard(node), data_value(value, variant_type, StatusCodes.Good, now))
