"""What an outage leaves out is read from the server's history, as far as that has it; the rest stays a gap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from asyncua import ua
from asyncua.server.history import HistoryManager

from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.publishing import Hold
from lineside_gateway.opcua.session import LinkState
from lineside_gateway.opcua.wire import DataChanges, Published
from lineside_gateway.opcua.wire.stamps import Stamps
from lineside_gateway.runtime.feed import Feed, Listeners
from tests.faults.ingest.proxy import Line, Proxy
from tests.gateway.opcua.conftest import plant_time


class Since(HistoryManager):
    """A historian that has nothing from before ``begin``."""

    begin = plant_time(0)

    async def read_history(self, params):
        results = await super().read_history(params)
        for result in results:
            values = result.HistoryData.DataValues
            result.HistoryData.DataValues = [dv for dv in values if dv.SourceTimestamp >= self.begin]
        return results


def time_us(at_s: float) -> int:
    return round(plant_time(at_s).timestamp() * 1e6)


@pytest.fixture
async def outage(bench):
    """A link to a server with history, and a way to cut it off while five seconds are written."""
    plc = await bench.plc("A1", {"Vib": 0.0})
    await plc.write("Vib", 0.0, at_s=0)
    server = plc.endpoint.server
    server.iserver.history_manager = historian = Since(server.iserver)
    node = server.get_node(ua.NodeId("A1.Vib", plc.ns))
    for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
        await node.set_attr_bit(attribute, ua.AccessLevel.HistoryRead)
    await server.historize_node_data_change(node, period=None, count=100)
    proxy = await Proxy(plc.port).start()
    table = TagTable()
    tell = Listeners(lambda *_: None, lambda: None, lambda _s: None, lambda *_: None)
    feed = Feed(table, {"S": 0.0}, frozenset(), tell)
    plan = replace(bench.plan(f"opc.tcp://127.0.0.1:{proxy.port}", {"Vib": "Vib"}), depths_s={"Vib": 3600.0})
    link = ServerLink(plan, bench.pki)
    bench.start(link.run(feed))

    async def reached(value: float) -> None:
        await bench.until(lambda: (found := table.latest("A1", "Vib")) and found.value == value)

    async def cut_off(history_from_s: float) -> TagTable:
        await bench.until(lambda: link.connected)
        await plc.write("Vib", 1.0, at_s=1)
        await reached(1.0)
        proxy.line = Line.DOWN
        proxy.reset()
        await bench.until(lambda: link.status.state is LinkState.LOST)
        for session in tuple(server.iserver._external_sessions.values()):  # noqa: SLF001  # so that none is taken up
            await session.close_session(True)
        for k in range(2, 6):
            await plc.write("Vib", float(k), at_s=k)
        historian.begin = plant_time(history_from_s)
        proxy.line = Line.OPEN
        await reached(5.0)
        await bench.until(lambda: not table.gaps.any_open)
        return table

    yield cut_off
    await proxy.close()


async def test_history_that_goes_on_from_the_last_sample_leaves_no_gap(outage) -> None:
    """Every value that was written while nobody was connected is there, and the ledger knows of nothing missing."""
    table = await outage(0)
    assert table.settle({"A1": time_us(60)}).value.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert table.gaps.of(table.index_of("A1", "Vib")) == []
    assert table.gaps.count == 0
    assert table.pages.unbalanced() == []


async def test_where_history_begins_late_the_gap_ends_there(outage) -> None:
    """A historian that was down as well has the later values: the gap lies before the first of them."""
    table = await outage(3)
    assert table.settle({"A1": time_us(60)}).value.tolist() == [0.0, 1.0, 3.0, 4.0, 5.0]
    ((start, end),) = [(g.start_us, g.end_us) for g in table.gaps.of(table.index_of("A1", "Vib"))]
    assert (start, end) == (time_us(1), time_us(3))
    assert table.pages.equipment()["A1"].gap_s == 2.0


def test_what_waits_is_bounded() -> None:
    """A hold tells once when it is full, by what the values take, and throws nothing away."""
    told: list[int] = []
    hold = Hold(most_bytes=100_000)
    hold.when_full = lambda: told.append(len(hold.waiting))
    count = 1000
    numbers = DataChanges(bytes(4 * count), np.zeros(count), Stamps(np.zeros(count, np.int64), 1, 1), None, 11, {}, [])
    image = DataChanges(b"", np.zeros(0), Stamps(np.zeros(0, np.int64), 1, 1), None, 11, {}, [
        (7, ua.DataValue(ua.Variant(bytes(80_000), ua.VariantType.ByteString)))
    ])  # fmt: skip
    for found in (numbers, image, numbers, image):
        hold.add(Published(1, 1, notifications=[found], has_data=True))
    assert told == [2]
    assert hold.full
    assert len(hold.waiting) == 4
