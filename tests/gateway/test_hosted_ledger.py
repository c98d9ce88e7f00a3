"""The ledger where people look: OPC UA nodes by equipment, `lineside status` by equipment and tag, Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from asyncua import Client
from prometheus_client import CollectorRegistry, generate_latest
from typer.testing import CliRunner

from lineside_gateway.cli.app import app
from lineside_gateway.ingest import TagTable
from lineside_gateway.publish import Diagnostics, HostedServer
from lineside_gateway.publish.inquiry import GatewayNotSeenError, WayIn, equipment_ledger, inquire, tag_ledger
from lineside_gateway.runtime.metrics import equipment_metrics

SECOND = 1_000_000
BEGIN_S = 1_780_000_000
NUMBERS = Diagnostics(tags_per_s=1.0, workers=1, received=4, used=2, dropped=1, pending=1)


def outage() -> TagTable:
    """M1 lost a, b for some seconds, and b again; M2 is whole."""
    table = TagTable()
    a, b, c = table.add("M1", "a"), table.add("M1", "b"), table.add("M2", "c")
    begin = BEGIN_S * SECOND
    table.write_many([a, b, c], [begin] * 3, [1.0, 2.0, 3.0], np.zeros(3, np.uint32))
    table.settle({"M1": begin})
    table.write_many([a], [begin], [1.0], np.zeros(1, np.uint32))
    table.gaps.open(np.array([a, b]), "server 'S' is lost")
    table.gaps.see(np.array([a, b]), np.array([begin + 3 * SECOND, begin + 4 * SECOND]))
    table.gaps.open(np.array([b]), "the queue overflowed")
    return table


@pytest.fixture
def table() -> TagTable:
    return outage()


@pytest.fixture
async def hosted(table: TagTable, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HostedServer]:
    monkeypatch.setattr("lineside_gateway.publish.ledger_nodes.SHOW_EVERY_S", 0.0)
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", (), pages=table.pages, heartbeat_s=0.1)
    await server.start()
    await server.show(NUMBERS)
    yield server
    await server.stop()


async def test_nodes_tell_counts_and_the_newest_gap_of_each_machine(hosted: HostedServer, table: TagTable) -> None:
    """Counts, gaps and the newest gap stand below the machine, an open end without a value; what is new follows."""
    found = await equipment_ledger(WayIn(hosted.endpoint))
    m1, m2 = found["M1"], found["M2"]
    assert (m1["Received"], m1["Used"], m1["Dropped"], m1["Pending"]) == (3, 2, 1, 0)
    assert (m1["Gaps"], m1["GapSeconds"], m1["OpenGaps"]) == (2, 7.0, 1)
    assert (m1["LastGapStart"].timestamp(), m1["LastGapEnd"]) == (BEGIN_S, None)
    assert m1["LastGapCause"] == "the queue overflowed"
    assert (m2["Received"], m2["Pending"], m2["Gaps"], m2["LastGapCause"]) == (1, 1, 0, "")
    table.write_many([table.add("M3", "z")], [BEGIN_S * SECOND], [1.0], np.zeros(1, np.uint32))
    await hosted.show(NUMBERS)
    assert (await equipment_ledger(WayIn(hosted.endpoint)))["M3"]["Received"] == 1


async def test_a_method_tells_each_tag(hosted: HostedServer) -> None:
    """Reasons of what was dropped, and gaps with start, end and cause, newest first; a stranger is named."""
    way = WayIn(hosted.endpoint)
    a, b = await tag_ledger(way, "M1")
    assert (a["tag"], a["received"], a["dropped"]) == ("a", 2, {"late": 1})
    assert [g["cause"] for g in b["newest_gaps"]] == ["the queue overflowed", "server 'S' is lost"]
    assert b["newest_gaps"][0]["end"] is None
    assert b["newest_gaps"][1]["start"] < b["newest_gaps"][1]["end"]
    with pytest.raises(GatewayNotSeenError, match="no numeric tag of equipment 'M9'"):
        await tag_ledger(way, "M9")
    async with Client(hosted.endpoint) as client:
        index = await client.get_namespace_index("urn:lineside:ua")
        method = await client.nodes.objects.get_child([f"{index}:{n}" for n in ("Lineside", "Gateway", "TagLedger")])
        declared = {(await p.read_browse_name()).Name: await p.read_value() for p in await method.get_properties()}
    assert [a.Name for a in declared["InputArguments"]] == ["EquipmentId"]
    assert [a.Name for a in declared["OutputArguments"]] == ["Tags"]


async def test_status_shows_it_in_a_terminal(hosted: HostedServer) -> None:
    """`lineside status`, with `--ledger` and with `--tags`, prints what the nodes and the method tell."""
    said = {}
    for option in ((), ("--ledger",), ("--tags", "M1")):
        arguments = ["status", hosted.endpoint, *option]
        done = await asyncio.to_thread(CliRunner(env={"COLUMNS": "200"}).invoke, app, arguments)
        assert done.exit_code == 0, done.output
        said[option] = done.output
    assert "LedgerBalanced" in said[()]
    assert "HoldAtAdvisory" not in said[()], "methods are no values"
    assert "the queue overflowed" in said["--ledger",]
    assert "1 late" in said["--tags", "M1"]
    assert "to now: the queue overflowed" in said["--tags", "M1"]
    assert (await inquire(WayIn(hosted.endpoint)))["LedgerReceived"] == 4


def test_prometheus_tells_it_by_equipment() -> None:
    """Counters and gaps stand under the names of the equipment."""

    class Given:
        def collect(self):
            return equipment_metrics(outage().pages.equipment())

    registry = CollectorRegistry()
    registry.register(Given())
    text = generate_latest(registry).decode()
    for line in (
        'lineside_equipment_values_total{equipment="M1",fate="received"} 3.0',
        'lineside_equipment_values_pending{equipment="M2"} 1.0',
        'lineside_equipment_gaps_total{equipment="M1"} 2.0',
        'lineside_equipment_gap_seconds_total{equipment="M1"} 7.0',
        'lineside_equipment_open_gaps{equipment="M1"} 1.0',
    ):
        assert line in text
