"""HistoryRead of what was recommended, by a plain OPC UA client, over a restart of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import Client, ua

from lineside_gateway.publish import Fault, HistoryStore, HostedServer, HostedTask, State
from lineside_gateway.settings.model import Mode
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Reason, Recommendation

pytestmark = pytest.mark.asyncio(loop_scope="module")

END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
OUTPUTS = Outputs(
    Kind.MAINTENANCE,
    (
        OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),
        OutputField("rul_h", DataType.DOUBLE, "Remaining useful life", unit="h"),
        OutputField("predicted_time", DataType.DATE_TIME, "When it would fail"),
        OutputField("orders", DataType.RECORDS, "Job orders"),
    ),
    "flag",
)
ROWS = 25


def advice(minute: int) -> Recommendation:
    end = END + timedelta(minutes=minute)
    value = {
        "flag": minute >= 10,
        "rul_h": 30.0 - minute,
        "predicted_time": end.isoformat(),
        "orders": ({"n": minute},),
    }
    return Recommendation(
        task="maintenance", kind=Kind.MAINTENANCE, equipment_id="A1", value=value, confidence=0.9, interval=None,
        reasons=(Reason("VibRms", 0.7, f"minute {minute}"),), window_end=end, valid_until=end + timedelta(minutes=10),
        model="m", model_version="1", key=f"A1|{minute}",
    )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """Twenty-five recommendations, the newest written; then a new server on the same file."""
    path: Path = tmp_path_factory.mktemp("history") / "history.sqlite"
    tasks = [HostedTask("maintenance", "A1", OUTPUTS, Mode.CLOSED_LOOP)]
    first, store = HostedServer("opc.tcp://127.0.0.1:0/lineside", "l", tasks), HistoryStore(path, 3600.0)
    await first.start(store)
    for minute in range(ROWS):
        rec = advice(minute)
        await first.publish(replace(rec, quality=0.2) if minute == 5 else rec)
    await first.set_state(f"A1|{ROWS - 1}", State.WRITTEN, "sent")
    await first.fault(None, None, "no worker", Fault.WORKER)
    await first.stop()
    store.close()
    server, store = HostedServer("opc.tcp://127.0.0.1:0/lineside", "l", tasks), HistoryStore(path, 3600.0)
    await server.start(store)
    async with Client(server.endpoint) as connected:
        yield connected
    await server.stop()
    store.close()


async def node(client: Client, identifier: str):
    return client.get_node(ua.NodeId(identifier, await client.get_namespace_index("urn:lineside:ua")))


async def test_values_are_read_back_by_the_sources_time(client: Client) -> None:
    """Structured node and flat twin give every value with its window's end and StatusCode, in order."""
    for identifier in ("A1/maintenance/RulH", "A1.maintenance.rul_h"):
        found = await (await node(client, identifier)).read_raw_history(END, END + timedelta(hours=1))
        assert [dv.Value.Value for dv in found] == [30.0 - m for m in range(ROWS)]
        assert [dv.SourceTimestamp for dv in found] == [END + timedelta(minutes=m) for m in range(ROWS)]
        assert [m for m, dv in enumerate(found) if not dv.StatusCode.is_good()] == [5]


async def test_every_type_comes_back_as_it_was(client: Client) -> None:
    """Booleans, times, records and structures of the past have the types of the present."""
    await client.load_data_type_definitions()
    end = END + timedelta(minutes=7)

    async def past(name: str):
        (dv,) = await (await node(client, f"A1/maintenance/{name}")).read_raw_history(end, end, 1)
        return dv.Value.Value

    assert await past("Flag") is False
    assert await past("PredictedTime") == end
    assert await past("Orders") == '[{"n":7}]'
    assert [(r.Tag, r.Text) for r in await past("Reasons")] == [("VibRms", "minute 7")]
    assert await past("OperatingMode") == list(Mode).index(Mode.CLOSED_LOOP)


async def test_newest_first_with_continuation(client: Client) -> None:
    """Backwards in pages of ten a client gets all of them, newest first."""
    rul = await node(client, "A1.maintenance.rul_h")
    found = await rul.read_raw_history(END + timedelta(hours=1), END - timedelta(hours=1), 10)
    assert [dv.Value.Value for dv in found] == [30.0 - m for m in reversed(range(ROWS))][: len(found)]
    assert len(found) >= 10


async def test_states_are_read_back_by_the_gateways_time(client: Client) -> None:
    """Each proposal and what became of the newest one."""
    now = datetime.now(UTC)
    found = await (await node(client, "A1/maintenance/State")).read_raw_history(now - timedelta(hours=1), now)
    assert [dv.Value.Value for dv in found] == [0] * ROWS + [list(State).index(State.WRITTEN)]
    assert all(dv.StatusCode.is_good() for dv in found)


@pytest.mark.parametrize("notifier", ["Server", "A1"])
async def test_events_are_read_back(client: Client, notifier: str) -> None:
    """At the Server object and at the equipment: raised for fifteen recommendations, then written."""
    index = await client.get_namespace_index("urn:lineside:ua")
    source = client.nodes.server if notifier == "Server" else await node(client, notifier)
    event_filter = ua.EventFilter()
    for path in ([ua.QualifiedName("SourceName", 0)], [ua.QualifiedName("Key", index)],
                 [ua.QualifiedName("State", index)]):  # fmt: skip
        event_filter.SelectClauses.append(
            ua.SimpleAttributeOperand(
                TypeDefinitionId=ua.NodeId(ua.ObjectIds.BaseEventType),
                BrowsePath=path,
                AttributeId=ua.AttributeIds.Value,
            )
        )
    now = datetime.now(UTC)
    details = ua.ReadEventDetails(
        StartTime=now - timedelta(hours=1), EndTime=now, NumValuesPerNode=0, Filter=event_filter
    )
    result = await source.history_read_events(details)
    rows = [[v.Value for v in event.EventFields] for event in result.HistoryData.Events]
    assert [row[:2] for row in rows] == [["A1", f"A1|{m}"] for m in range(10, ROWS)] + [["A1", f"A1|{ROWS - 1}"]]
    assert rows[-1][2] == list(State).index(State.WRITTEN)


async def test_what_has_no_history_says_so(client: Client) -> None:
    """A node without history is BadHistoryOperationUnsupported, an unknown one BadNodeIdUnknown."""
    with pytest.raises(ua.uaerrors.BadHistoryOperationUnsupported):
        await (await node(client, "gateway.heartbeat")).read_raw_history(END, END + timedelta(hours=1))
    with pytest.raises(ua.uaerrors.BadNodeIdUnknown):
        await (await node(client, "nonsense")).read_raw_history(END, END + timedelta(hours=1))
