"""The exported NodeSet2 is what a running gateway hosts."""

from __future__ import annotations

from pathlib import Path

import pytest
from asyncua import Server, ua
from typer.testing import CliRunner

from lineside_gateway.cli import app

SETTINGS = """version: 1
gateway: {id: line-7}
servers: [{name: PLC, url: "opc.tcp://127.0.0.1:9"}]
equipment:
  - {id: A1, browse: Objects/A1, site: North, work_center: Milling}
  - {browse: "Objects/Others/*"}
tasks: [{task: maintenance, mode: confirm}, {task: schedule}]
job_control: {server: PLC}
"""


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    file, out = tmp_path / "line.yaml", tmp_path / "line.xml"
    file.write_text(SETTINGS)
    result = CliRunner().invoke(app, ["nodeset", "--config", str(file), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "2 recommendations on equipment, 2 tasks" in result.stdout
    return out


async def test_the_file_loads_in_another_server(exported: Path) -> None:
    """Types, enumerations and instances are there with the NodeIds that a gateway gives them."""
    server = Server()
    await server.init()
    await server.import_xml(exported)
    index = await server.get_namespace_index("urn:lineside:ua")

    async def read(identifier: str):
        return await server.get_node(ua.NodeId(identifier, index)).read_browse_name()

    for identifier in (
        "North/Milling/A1/maintenance/Flag",
        "A1.maintenance.flag",
        "line-7/schedule/Sequence",
        "SetPointRecommendationType",
        "RecommendationType/Accept",
        "Gateway/HoldAtAdvisory",
    ):
        assert (await read(identifier)).NamespaceIndex == index
    instance = server.get_node(ua.NodeId("North/Milling/A1/maintenance", index))
    assert (await instance.read_type_definition()).Identifier == "MaintenanceAdviceType"
    states = await server.get_node(ua.NodeId("RecommendationStateEnum", index)).read_data_type_definition()
    assert [f.Name for f in states.Fields] == [
        "proposed", "accepted", "rejected", "written", "acknowledged", "expired", "refused",
    ]  # fmt: skip
    parent = await server.get_node(ua.NodeId("RecommendationType", index)).get_parent()
    assert parent is not None
    assert parent.nodeid.Identifier == ua.ObjectIds.AcknowledgeableConditionType
    server.iserver.method_service.stop()


def test_types_alone_need_no_settings(tmp_path: Path) -> None:
    """Without settings the types of every installed task are written; the file names its model."""
    out = tmp_path / "types.xml"
    result = CliRunner().invoke(app, ["nodeset", "--out", str(out)])
    assert result.exit_code == 0, result.output
    text = out.read_text()
    assert 'ModelUri="urn:lineside:ua"' in text
    for name in ("MaintenanceAdviceType", "RejectAdviceType", "ScheduleAdviceType"):
        assert f'"ns=1;s={name}"' in text
