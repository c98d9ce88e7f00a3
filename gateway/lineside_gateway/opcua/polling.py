"""Tags that a server does not monitor, read in turn; what is new goes the way of what is published."""

from __future__ import annotations

import numpy as np
from asyncua import ua

from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import Sink, TagNode
from lineside_gateway.opcua.values import event_time_us, is_good, number, served_time_us, snapshot, status_of
from lineside_gateway.settings import ServerSettings


class Poller:
    """Polled tags of one server.

    A value with the SourceTimestamp of the one before is no sample, nor an equal one of a server without timestamps.
    """

    def __init__(self, server: ServerSettings, sink: Sink) -> None:
        self._server = server
        self._sink = sink
        self._nodes: dict[tuple[str, str], TagNode] = {}
        self._seen: dict[tuple[str, str], tuple[int, object]] = {}

    def __len__(self) -> int:
        """Tags polled."""
        return len(self._nodes)

    def __contains__(self, key: object) -> bool:
        """Whether the tag (equipment_id, tag) is polled."""
        return key in self._nodes

    def begin(self, connection: Connection) -> None:
        """Nothing is polled on a new connection yet; what was seen before is no news on it."""
        self._connection = connection
        self._nodes = {}

    def add(self, node: TagNode) -> None:
        """Poll a tag from now on."""
        self._nodes[node.equipment_id, node.tag] = node

    async def poll(self) -> None:
        """Read all once and deliver what is new."""
        nodes = list(self._nodes.values())
        values = await self._connection.read([n.node_id for n in nodes])
        columns: list[tuple[int, int, float, int]] = []
        newest_us = served_us = 0
        for node, dv in zip(nodes, values, strict=True):
            key, time_us, code = (node.equipment_id, node.tag), event_time_us(dv), status_of(dv)
            if not self._is_new(key, time_us, dv):
                continue
            self._seen[key] = time_us, None if dv.Value is None else dv.Value.Value
            if dv.SourceTimestamp is not None and time_us > newest_us:
                newest_us, served_us = time_us, served_time_us(dv)
            if node.numeric:
                columns.append((self._sink.index(*key), time_us, *number(dv)))
            else:
                value = snapshot(None if dv.Value is None else dv.Value.Value)
                self._sink.latest(*key, time_us, value, is_good(code) and value is not None)
        if columns:
            index, times, numbers, codes = zip(*columns, strict=True)
            self._sink.samples(
                np.array(index, np.int64), np.array(times, np.int64), np.array(numbers), np.array(codes, np.uint32)
            )
        if newest_us:
            self._sink.flush(self._server.name, newest_us, served_us)

    def _is_new(self, key: tuple[str, str], time_us: int, dv: ua.DataValue) -> bool:
        before = self._seen.get(key)
        if before is None:
            return True
        same = dv.SourceTimestamp is None and dv.Value is not None and dv.Value.Value == before[1]
        return time_us > before[0] and not same
