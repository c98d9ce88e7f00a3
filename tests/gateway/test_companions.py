"""Companion specifications beside the own types: DI, MachineTool, Machinery/Result and ISA-95 Job Control.

Those that need the official files take them from the folder ``LINESIDE_NODESETS`` and are skipped without: download
https://github.com/OPCFoundation/UA-Nodeset.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua

from lineside_gateway.opcua.structures import Structure
from lineside_gateway.publish import Fault, HostedServer, HostedTask, HostingError
from lineside_gateway.publish.companions.nodesets import (
    DI,
    JOB_CONTROL,
    MACHINE_TOOL,
    RESULT,
    SOURCE,
    find_nodesets,
)
from lineside_gateway.publish.companions.structures import LocalStructures
from lineside_plugins import registry
from lineside_plugins.types import Reason, Recommendation

FILES = Path(os.environ.get("LINESIDE_NODESETS", "nodesets-not-set"))
needs_files = pytest.mark.skipif(
    not FILES.is_dir(), reason=f"LINESIDE_NODESETS names no folder with the official nodesets; get them from {SOURCE}"
)
pytestmark = pytest.mark.asyncio(loop_scope="module")
END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
SEQUENCE = (
    {"job_order_id": "JO-2", "equipment_id": "A1", "priority": 10, "start": "2026-01-05T08:00:00+00:00", "end": ""},
    {"job_order_id": "JO-1", "equipment_id": "A2", "priority": 99_999, "start": None, "end": None},
)
SAID: dict[str, dict[str, object]] = {
    "maintenance": {"flag": True, "mode": "bearing", "device_health": 4, "predicted_time": END + timedelta(hours=6)},
    "reject": {"flag": True, "serial_no": "A1-0002", "defect_probability": 0.97},
    "schedule": {"flag": True, "sequence": SEQUENCE, "changed": 2, "summary": "2 job orders change"},
}


def advice(task: str, **changes: object) -> Recommendation:
    equipment = "line-1" if task == "schedule" else "A1"
    return Recommendation(
        task=task, kind=registry.create(task, {}).outputs().kind, equipment_id=equipment,
        value=SAID[task] | changes, confidence=0.9, interval=None, reasons=(Reason("Rms", 0.7, "vibration doubled"),),
        window_end=END, valid_until=END + timedelta(minutes=10), model=task, model_version="1", key=f"{task}|1",
    )  # fmt: skip


def server_of(nodesets: Path | None) -> HostedServer:
    tasks = [
        HostedTask(
            t, "line-1" if t == "schedule" else "A1", registry.create(t, {}).outputs(), location=("", "", "Milling")
        )
        for t in SAID
    ]
    return HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", tasks, nodesets=nodesets)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosted() -> AsyncIterator[HostedServer]:
    server = server_of(FILES)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def client(hosted: HostedServer) -> AsyncIterator[Client]:
    for task in SAID:
        await hosted.publish(advice(task))
    async with Client(hosted.endpoint) as connected:
        yield connected


async def read(client: Client, identifier: str) -> ua.DataValue:
    index = await client.get_namespace_index("urn:lineside:ua")
    return await client.get_node(ua.NodeId(identifier, index)).read_data_value(raise_on_bad_status=False)


async def by_names(client: Client, *names: str) -> Any:
    """The node at a browse path below Lineside; names as uri|name, without uri our own."""
    path = []
    for name in ("Lineside", *names):
        uri, _, plain = name.rpartition("|")
        path.append(f"{await client.get_namespace_index(uri or 'urn:lineside:ua')}:{plain}")
    return await client.nodes.objects.get_child(path)


def local(hosted: HostedServer, client_index: int, identifier: int) -> Structure:
    """A structure as the server's own address space declares it."""
    assert hosted._server is not None  # noqa: SLF001 - no public way to the definitions but over the wire
    return LocalStructures(hosted._server.iserver.aspace).load(ua.NodeId(identifier, client_index))  # noqa: SLF001


@needs_files
async def test_health_and_prognosis_say_what_maintenance_says(client: Client) -> None:
    """DeviceHealth and the prognosis stand at the machine under the specifications' names and types, filled."""
    health = await by_names(client, "Milling", "A1", f"{DI}|DeviceHealth")
    assert await health.read_value() == 4
    index = await client.get_namespace_index(DI)
    assert await health.read_data_type() == ua.NodeId(6244, index)
    machine = await by_names(client, "Milling", "A1")
    (interface,) = await machine.get_references(ua.NodeId(17603), ua.BrowseDirection.Forward)
    assert interface.NodeId == ua.NodeId(15051, index)
    prognosis = await by_names(client, "Milling", "A1", f"{MACHINE_TOOL}|Prognoses", "maintenance")
    tool = await client.get_namespace_index(MACHINE_TOOL)
    assert await prognosis.read_type_definition() == ua.NodeId(9, tool)
    assert await (await prognosis.get_child(f"{tool}:PredictedTime")).read_value() == END + timedelta(hours=6)
    assert (await (await prognosis.get_child(f"{tool}:Activity")).read_value()).Text == "Maintenance: bearing"


@needs_files
async def test_a_verdict_is_a_result(hosted: HostedServer, client: Client) -> None:
    """The last part's ResultDataType decodes by the definition the server gives, with NotOK and its serial number."""
    node = await by_names(client, "Milling", "A1", f"{RESULT}|ResultManagement", f"{RESULT}|Results", "reject")
    index = await client.get_namespace_index(RESULT)
    result = local(hosted, index, 3008).decode(await node.read_value())
    assert result is not None
    meta = local(hosted, index, 3007).decode(result["ResultMetaData"])
    assert meta is not None
    assert (meta["ResultId"], meta["PartId"], meta["ResultEvaluation"]) == ("reject|1", "A1-0002", 2)
    assert meta["ResultEvaluationDetails"].Text == "vibration doubled"
    assert meta["CreationTime"].replace(tzinfo=UTC) == END
    assert [v.Value for v in result["ResultContent"]] == [0.97]
    definition = await client.get_node(ua.NodeId(3008, index)).read_data_type_definition()
    assert definition.StructureType == ua.StructureType.StructureWithSubtypedValues
    assert [f.IsOptional for f in definition.Fields] == [True, False]


@needs_files
async def test_a_schedule_is_a_list_of_job_orders_that_nobody_can_call(hosted: HostedServer, client: Client) -> None:
    """Each proposed order stands with machine, priority within Int16 and start; the receiver has no methods."""
    receiver = await by_names(client, "Milling", "line-1", "ProposedJobOrders")
    index = await client.get_namespace_index(JOB_CONTROL)
    assert await receiver.read_type_definition() == ua.NodeId(1002, index)
    assert await receiver.get_methods() == []
    listed = await (await receiver.get_child(f"{index}:JobOrderList")).read_value()
    entries = [local(hosted, index, 3015).decode(value) for value in listed]
    orders = [entry["JobOrder"] for entry in entries if entry]
    assert [(o["JobOrderID"], o["Priority"], o["EquipmentRequirements"][0]["ID"]) for o in orders] == [
        ("JO-2", 10, "A1"),
        ("JO-1", 32_767, "A2"),
    ]
    assert orders[0]["StartTime"].replace(tzinfo=UTC) == datetime(2026, 1, 5, 8, tzinfo=UTC)
    assert [e["State"][0]["StateText"].Text for e in entries if e] == ["NotAllowedToStart"] * 2
    assert await (await receiver.get_child(f"{index}:EquipmentID")).read_value() == ["A1", "A2"]


@needs_files
async def test_they_are_worth_what_the_recommendation_is(hosted: HostedServer, client: Client) -> None:
    """What is stale or has lost its worker shows so under the companion names too."""
    names = ("DeviceHealth", "Prognoses/maintenance/PredictedTime", "ResultManagement/Results/reject")
    await hosted.expire(END + timedelta(hours=1))
    assert {(await read(client, f"Milling/A1/{n}")).StatusCode.name for n in names} == {"UncertainLastUsableValue"}
    await hosted.fault(None, None, "no worker", Fault.WORKER)
    orders = await read(client, "Milling/line-1/ProposedJobOrders/JobOrderList")
    assert orders.StatusCode.name == "BadOutOfService"
    assert {(await read(client, f"Milling/A1/{n}")).StatusCode.name for n in names} == {"BadOutOfService"}
    await hosted.expire(END)


@needs_files
async def test_our_namespace_and_asyncuas_decoder_stay_as_they_were(client: Client) -> None:
    """NodeIds of HMIs keep index 2, and no imported class decodes another server's structures in this process."""
    assert (await client.get_namespace_array())[2] == "urn:lineside:ua"
    indices = {await client.get_namespace_index(uri) for uri in (DI, MACHINE_TOOL, RESULT, JOB_CONTROL)}
    known = {**ua.extension_objects_by_typeid, **ua.extension_objects_by_datatype}
    assert not [n for n in known if n.NamespaceIndex in indices and n.NodeIdType == ua.NodeIdType.Numeric]
    assert not hasattr(ua, "ResultMetaDataType")


async def test_without_files_everything_else_is_hosted() -> None:
    """No folder, no companion nodes; the recommendation itself is there."""
    server = server_of(None)
    await server.start()
    try:
        await server.publish(advice("maintenance"))
        async with Client(server.endpoint) as client:
            assert (await read(client, "A1.maintenance.device_health")).Value.Value == 4
            assert (await read(client, "Milling/A1/DeviceHealth")).StatusCode.name == "BadNodeIdUnknown"
    finally:
        await server.stop()


def write_nodeset(folder: Path, name: str, uri: str, *requires: str) -> None:
    required = "".join(f'<RequiredModel ModelUri="{r}"/>' for r in ("http://opcfoundation.org/UA/", *requires))
    (folder / name).write_text(
        '<UANodeSet xmlns="http://opcfoundation.org/UA/2011/03/UANodeSet.xsd">'
        f'<Models><Model ModelUri="{uri}">{required}</Model></Models></UANodeSet>'
    )


async def test_files_are_found_by_what_they_are_and_ordered_by_what_they_need(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Names do not matter, what nobody asks for stays out, and one that lacks its base is named and left out."""
    write_nodeset(tmp_path, "a.xml", RESULT, "urn:base")
    write_nodeset(tmp_path, "b.xml", "urn:base")
    write_nodeset(tmp_path, "c.xml", "urn:robots")
    write_nodeset(tmp_path, "d.xml", MACHINE_TOOL, DI)
    (tmp_path / "e.xml").write_text("<something/>")
    assert [n.uri for n in find_nodesets(tmp_path)] == ["urn:base", RESULT]
    assert DI in caplog.text
    assert "d.xml" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("", "", "holds none of"),
        ("a.xml", "<UANodeSet", "is not XML that can be read"),
    ],
)
async def test_a_folder_that_will_not_do_is_named(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    """A missing folder, one without what is wanted and a broken file each end the start with the next step."""
    with pytest.raises(HostingError, match="there is no folder"):
        find_nodesets(tmp_path / "nowhere")
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(HostingError, match=sentence):
        find_nodesets(tmp_path)
