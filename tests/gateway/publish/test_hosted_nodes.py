"""What the hosted server shows a plain OPC UA client, and whom it lets in."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Client, ua

from lineside_gateway.publish import (
    NAMESPACE_URI,
    HostedServer,
    HostedTask,
    HostingError,
    PublishError,
    State,
)
from lineside_gateway.settings.model import Mode
from tests.gateway.publish.machines import END, OUTPUTS, advice, by_name, status, twin

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("event_time_starts_over")]


async def test_recommendation_is_found_by_browsing_names(hosted: HostedServer, client: Client, machine: str) -> None:
    """From Objects down by name a client finds value, confidence, reason, model version and window end, all Good."""
    await hosted.publish(advice(machine), State.PROPOSED)
    at = f"Lineside/Milling/{machine}/maintenance"
    expected = {
        "Flag": True,
        "FailureProbability": 0.83,
        "RulH": 6.5,
        "Mode": "bearing",
        "DeviceHealth": 4,
        "PredictedTime": datetime(2026, 1, 5, 13, 30, tzinfo=UTC),
        "OutputQuality": '[{"row":1}]',
        "Confidence": 0.9,
        "IntervalLow": 4.0,
        "IntervalHigh": 9.0,
        "Reason": "vibration doubled; temperature rises",
        "ModelName": "maintenance",
        "ModelVersion": "1.2.0",
        "WindowEnd": END,
        "ValidUntil": END + timedelta(minutes=10),
        "Quality": 0.95,
        "OperatingMode": 4,
        "Key": advice(machine).key,
    }
    for name, value in expected.items():
        shown = await by_name(client, f"{at}/{name}")
        assert (name, shown.Value.Value, status(shown)) == (name, value, "Good")
        assert shown.SourceTimestamp == END
    assert (await by_name(client, f"{at}/State")).Value.Value == 0


async def test_nodes_wait_before_the_first_recommendation(client: Client) -> None:
    """Nothing looks like a value before there is one: BadWaitingForInitialData, structured and flat."""
    assert status(await by_name(client, "Lineside/B1/maintenance/Flag")) == "BadWaitingForInitialData"
    assert status(await twin(client, "B1.maintenance.flag")) == "BadWaitingForInitialData"
    assert (await by_name(client, "Lineside/B1/maintenance/StatusText")).Value.Value == "no recommendation yet"


async def test_reasons_decode_as_structures(hosted: HostedServer, client: Client, machine: str) -> None:
    """A client that loads the type definitions reads the reasons as structures, weightiest first."""
    await hosted.publish(advice(machine), State.PROPOSED)
    await client.load_data_type_definitions()
    shown = await by_name(client, f"Lineside/Milling/{machine}/maintenance/Reasons")
    assert [(r.Tag, r.Weight, r.Text) for r in shown.Value.Value] == [
        ("VibRms", 0.7, "vibration doubled"),
        ("SpindleTemp", 0.3, "temperature rises"),
    ]


async def test_flat_twins_are_scalars_with_stable_ids(hosted: HostedServer, client: Client, machine: str) -> None:
    """Every field but the structure stands a second time as Boolean, Double or String under its own string NodeId."""
    await hosted.publish(advice(machine), State.PROPOSED)
    expected = {
        f"{machine}.maintenance.flag": True,
        f"{machine}.maintenance.failure_probability": 0.83,
        f"{machine}.maintenance.device_health": 4.0,
        f"{machine}.maintenance.mode": "bearing",
        f"{machine}.maintenance.predicted_time": "2026-01-05T13:30:00+00:00",
        f"{machine}.maintenance.window_end": "2026-01-05T07:00:00+00:00",
        f"{machine}.maintenance.reason": "vibration doubled; temperature rises",
        f"{machine}.maintenance.state": "proposed",
    }
    scalars = {ua.VariantType.Boolean, ua.VariantType.Double, ua.VariantType.String}
    for identifier, value in expected.items():
        shown = await twin(client, identifier)
        assert (identifier, shown.Value.Value, status(shown)) == (identifier, value, "Good")
        assert shown.Value.VariantType in scalars


async def test_type_unit_and_range_are_declared(client: Client, machine: str) -> None:
    """The object has its task's type below RecommendationType; numbers carry unit and range."""
    index = await client.get_namespace_index(NAMESPACE_URI)
    names = [f"{index}:{n}" for n in ("Lineside", "Milling", machine, "maintenance")]
    node = await client.nodes.objects.get_child(names)
    its_type = client.get_node(await node.read_type_definition())
    parent = await its_type.get_parent()
    assert (await its_type.read_browse_name()).Name == "MaintenanceAdviceType"
    assert parent is not None
    assert (await parent.read_browse_name()).Name == "MaintenanceRecommendationType"
    base = await parent.get_parent()
    assert base is not None
    assert (await base.read_browse_name()).Name == "RecommendationType"
    condition = await base.get_parent()
    assert condition is not None
    assert condition.nodeid == ua.NodeId(ua.ObjectIds.AcknowledgeableConditionType)
    declared = {(await child.read_browse_name()).Name for child in await its_type.get_children()}
    assert "FailureProbability" in declared
    unit = await (await node.get_child([f"{index}:RulH", "0:EngineeringUnits"])).read_value()
    assert (unit.UnitId, unit.DisplayName.Text) == (4740434, "h")
    bounds = await (await node.get_child([f"{index}:FailureProbability", "0:EURange"])).read_value()
    assert (bounds.Low, bounds.High) == (0.0, 1.0)


async def test_shadow_is_not_hosted(hosted: HostedServer, client: Client) -> None:
    """A task in shadow mode has no nodes; an unknown piece of equipment is an error."""
    assert not await hosted.publish(advice("C1"))
    assert status(await twin(client, "C1.maintenance.flag")) == "BadNodeIdUnknown"
    with pytest.raises(PublishError, match="not bound to 'Z9'"):
        await hosted.publish(advice("Z9"))


async def test_anonymous_reads_and_nothing_else(hosted: HostedServer, client: Client, machine: str) -> None:
    """An anonymous client cannot write a value, call a method or add a node."""
    await hosted.publish(advice(machine))
    index = await client.get_namespace_index(NAMESPACE_URI)
    node = client.get_node(f"ns={index};s={machine}.maintenance.flag")
    with pytest.raises(ua.UaStatusCodeError):
        await node.write_value(ua.DataValue(ua.Variant(False, ua.VariantType.Boolean)))
    with pytest.raises(ua.UaStatusCodeError):
        await client.nodes.objects.add_object(index, "Intruder")
    with pytest.raises(ua.UaStatusCodeError):
        await client.nodes.server.call_method("0:GetMonitoredItems", ua.Variant(1, ua.VariantType.UInt32))
    assert (await node.read_value()) is True


@pytest.mark.parametrize("user", ["admin", "Admin", "operator"])
async def test_no_user_name_gets_in(hosted: HostedServer, user: str) -> None:
    """``admin`` with any password is refused, as is every other name."""
    client = Client(hosted.endpoint)
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        token = ua.UserNameIdentityToken(PolicyId="username", UserName=user, Password=b"wrong")
        params = ua.ActivateSessionParameters(UserIdentityToken=token, LocaleIds=["en"])
        with pytest.raises(ua.uaerrors.BadIdentityTokenRejected):
            await client.uaclient.activate_session(params)
        with pytest.raises(ua.uaerrors.BadSessionNotActivated):
            await client.get_node("i=2253").read_browse_name()
    finally:
        client.disconnect_socket()


async def test_equipment_that_comes_up_later_gets_nodes(hosted: HostedServer, client: Client) -> None:
    """Nodes of a machine whose PLC connects after the start appear while clients stay connected."""
    late = HostedTask("maintenance", "Z1", OUTPUTS, Mode.ADVISORY, ("", "", "Milling"))
    await hosted.add([late])
    await hosted.publish(advice("Z1"))
    await hosted.add([late])
    assert (await by_name(client, "Lineside/Milling/Z1/maintenance/Flag")).Value.Value is True
    assert status(await twin(client, "Z1.maintenance.flag")) == "Good"


async def test_read_back_is_what_clients_read(hosted: HostedServer, client: Client, machine: str) -> None:
    """The gateway's own read-back goes through the server and equals a client's read."""
    await hosted.publish(advice(machine))
    own = await hosted.read_back("maintenance", machine, "rul_h")
    seen = await by_name(client, f"Lineside/Milling/{machine}/maintenance/RulH")
    assert (own.Value.Value, own.SourceTimestamp) == (seen.Value.Value, seen.SourceTimestamp)
    with pytest.raises(PublishError, match="not hosted"):
        await hosted.read_back("maintenance", machine, "nonsense")


async def test_taken_port_is_one_clear_error() -> None:
    """A second gateway on the same port gets one sentence with the port and the next step, and exit code 2."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        server = HostedServer(f"opc.tcp://127.0.0.1:{port}/lineside", "line-1", [])
        with pytest.raises(HostingError, match=rf"port {port} .* in use.*set another port") as caught:
            await server.start()
    assert caught.value.exit_code == 2


async def test_foreign_address_is_one_clear_error() -> None:
    """An address of another machine is named with the next step."""
    with pytest.raises(HostingError, match=r"192\.0\.2\.1.*set an address of this machine"):
        await HostedServer("opc.tcp://192.0.2.1:4850/lineside", "line-1", []).start()


async def test_two_nodes_of_one_name_are_refused() -> None:
    """Equipment that would stand at another's place is an error at start, not a mix of two machines."""
    twice = [HostedTask("maintenance", "A1", OUTPUTS), HostedTask("maintenance", "A1", OUTPUTS)]
    with pytest.raises(HostingError, match="two hosted nodes would be 'A1/maintenance'"):
        await HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", twice).start()
