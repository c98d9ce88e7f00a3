"""The hosted server seen by a plain OPC UA client."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from asyncua import Client, ua

from lineside_gateway.publish import (
    NAMESPACE_URI,
    Diagnostics,
    Fault,
    HostedServer,
    HostedTask,
    HostingError,
    PublishError,
    State,
)
from lineside_gateway.settings.model import Mode
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Reason, Recommendation

pytestmark = pytest.mark.asyncio(loop_scope="module")

END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
OUTPUTS = Outputs(
    kind=Kind.MAINTENANCE,
    flag="flag",
    fields=(
        OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),
        OutputField("failure_probability", DataType.DOUBLE, "Within the horizon", low=0.0, high=1.0),
        OutputField("rul_h", DataType.DOUBLE, "Remaining useful life", unit="h"),
        OutputField("mode", DataType.STRING, "Likely cause"),
        OutputField("device_health", DataType.INT32, "NAMUR NE 107", low=0, high=4),
        OutputField("predicted_time", DataType.DATE_TIME, "When it would fail"),
        OutputField("quality", DataType.RECORDS, "Bears the name of a common Variable on purpose"),
    ),
)


def advice(equipment_id: str = "M0", **changes: object) -> Recommendation:
    rec = Recommendation(
        task="maintenance",
        kind=Kind.MAINTENANCE,
        equipment_id=equipment_id,
        value={
            "flag": True,
            "failure_probability": 0.83,
            "rul_h": 6.5,
            "mode": "bearing",
            "device_health": 4,
            "predicted_time": "2026-01-05T13:30:00+00:00",
            "quality": ({"row": 1},),
        },
        confidence=0.9,
        interval=(4.0, 9.0),
        reasons=(Reason("VibRms", 0.7, "vibration doubled"), Reason("SpindleTemp", 0.3, "temperature rises")),
        window_end=END,
        valid_until=END + timedelta(minutes=10),
        model="maintenance",
        model_version="1.2.0",
        key=f"maintenance|maintenance:1.2.0|{equipment_id}|2026-01-05T07:00:00+00:00",
        quality=0.95,
    )
    return replace(rec, **changes)  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosted() -> AsyncIterator[HostedServer]:
    """One server for the module: each test takes a machine of its own."""
    machines = [HostedTask("maintenance", f"M{i}", OUTPUTS, Mode.CLOSED_LOOP, ("", "", "Milling")) for i in range(30)]
    server = HostedServer(
        "opc.tcp://127.0.0.1:0/lineside",
        "line-1",
        [
            *machines,
            HostedTask("maintenance", "B1", OUTPUTS, Mode.ADVISORY),
            HostedTask("other", "B1", OUTPUTS, Mode.ADVISORY),
            HostedTask("maintenance", "C1", OUTPUTS, Mode.SHADOW),
        ],
        heartbeat_s=0.05,
    )
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(hosted: HostedServer) -> AsyncIterator[Client]:
    async with Client(hosted.endpoint) as connected:
        yield connected


@pytest.fixture(scope="module")
def unused() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def machine(unused: Iterator[int]) -> str:
    """A piece of equipment no other test has touched."""
    return f"M{next(unused)}"


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _event_time_starts_over(hosted: HostedServer) -> None:
    await hosted.expire(END)
    await hosted.demote(False)


async def by_name(client: Client, path: str) -> ua.DataValue:
    index = await client.get_namespace_index(NAMESPACE_URI)
    node = await client.nodes.objects.get_child([f"{index}:{name}" for name in path.split("/")])
    return await node.read_data_value(raise_on_bad_status=False)


async def twin(client: Client, identifier: str) -> ua.DataValue:
    index = await client.get_namespace_index(NAMESPACE_URI)
    return await client.get_node(f"ns={index};s={identifier}").read_data_value(raise_on_bad_status=False)


def status(value: ua.DataValue) -> str:
    return value.StatusCode.name


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


async def test_status_follows_time_and_faults(hosted: HostedServer, client: Client, machine: str) -> None:
    """Good turns Uncertain when the deadline passes in event time, Bad with the cause on a fault, Good again after."""
    flag = f"Lineside/Milling/{machine}/maintenance/Flag"
    text = f"Lineside/Milling/{machine}/maintenance/StatusText"
    await hosted.publish(advice(machine))
    assert await hosted.expire(END + timedelta(minutes=10)) == 0
    assert status(await by_name(client, flag)) == "Good"
    assert await hosted.expire(END + timedelta(minutes=10, seconds=1)) >= 1
    stale = await by_name(client, flag)
    assert (status(stale), stale.Value.Value) == ("UncertainLastUsableValue", True)
    assert status(await twin(client, f"{machine}.maintenance.flag")) == "UncertainLastUsableValue"
    assert (await by_name(client, f"Lineside/Milling/{machine}/maintenance/State")).Value.Value == 5
    await hosted.fault("maintenance", machine, "PLC does not answer", Fault.INPUTS)
    gone = await by_name(client, flag)
    assert (status(gone), gone.Value.Value) == ("BadNoCommunication", None)
    assert (await by_name(client, text)).Value.Value == "PLC does not answer"
    assert await hosted.fault("other", None, "no worker answers", Fault.WORKER) == 1
    assert status(await twin(client, "B1.other.failure_probability")) == "BadOutOfService"
    later = END + timedelta(minutes=11)
    await hosted.publish(advice(machine, window_end=later, valid_until=later + timedelta(minutes=10), key="next"))
    assert status(await by_name(client, flag)) == "Good"
    assert (await by_name(client, text)).Value.Value == ""


async def test_a_silent_plant_leaves_nothing_good(hosted: HostedServer, client: Client, machine: str) -> None:
    """When the plant's clock stands still, the wall clock turns a recommendation Uncertain."""
    await hosted.publish(advice(machine), good_for_s=0.1)
    flag = f"Lineside/Milling/{machine}/maintenance/Flag"
    assert await hosted.expire(END) == 0
    assert status(await by_name(client, flag)) == "Good"
    await asyncio.sleep(0.15)
    assert await hosted.expire(END) == 1
    assert status(await by_name(client, flag)) == "UncertainLastUsableValue"


async def test_poor_inputs_are_never_good(hosted: HostedServer, client: Client, machine: str) -> None:
    """A recommendation from a window with few Good samples is UncertainSubNormal and says so."""
    await hosted.publish(advice(machine, quality=0.2))
    shown = await by_name(client, f"Lineside/Milling/{machine}/maintenance/Flag")
    assert (status(shown), shown.Value.Value) == ("UncertainSubNormal", True)
    assert "20%" in (await by_name(client, f"Lineside/Milling/{machine}/maintenance/StatusText")).Value.Value


async def test_late_publication_is_born_stale(hosted: HostedServer, client: Client, machine: str) -> None:
    """A recommendation that arrives after its own validity is never shown as Good."""
    await hosted.expire(END + timedelta(hours=1))
    await hosted.publish(advice(machine))
    assert status(await by_name(client, f"Lineside/Milling/{machine}/maintenance/Flag")) == "UncertainLastUsableValue"


async def test_older_never_replaces_newer(hosted: HostedServer, client: Client, machine: str) -> None:
    """Results that arrive out of order leave the newest window on display."""
    assert await hosted.publish(advice(machine))
    assert not await hosted.publish(advice(machine, window_end=END - timedelta(minutes=1), confidence=0.1))
    assert (await by_name(client, f"Lineside/Milling/{machine}/maintenance/Confidence")).Value.Value == 0.9


async def test_missing_values_say_no_data(hosted: HostedServer, client: Client, machine: str) -> None:
    """An absent interval is BadNoData, not a number."""
    await hosted.publish(advice(machine, interval=None))
    shown = await by_name(client, f"Lineside/Milling/{machine}/maintenance/IntervalLow")
    assert (status(shown), shown.Value.Value) == ("BadNoData", None)


async def test_state_follows_its_own_key_only(hosted: HostedServer, client: Client, machine: str) -> None:
    """The state of a recommendation moves with its key; a key that is not on display changes nothing."""
    await hosted.publish(advice(machine))
    assert await hosted.set_state(advice(machine).key, State.WRITTEN)
    assert not await hosted.set_state("another", State.REFUSED)
    assert (await by_name(client, f"Lineside/Milling/{machine}/maintenance/State")).Value.Value == 3


async def test_wrong_value_touches_no_node(hosted: HostedServer, client: Client, machine: str) -> None:
    """A value outside its declared range is refused with subject and bound, and the nodes keep what they had."""
    await hosted.publish(advice(machine))
    value = {**advice(machine).value, "failure_probability": 1.7}
    with pytest.raises(PublishError, match=r"failure_probability is 1\.7; bounds 0\.0 to 1\.0"):
        await hosted.publish(advice(machine, value=value, window_end=END + timedelta(minutes=1)))
    assert (await by_name(client, f"Lineside/Milling/{machine}/maintenance/FailureProbability")).Value.Value == 0.83


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


async def test_heartbeat_counts_while_the_gateway_runs(client: Client) -> None:
    """The heartbeat counter rises by itself, as UInt32 and as a flat Double."""
    first = (await by_name(client, "Lineside/Gateway/Heartbeat")).Value.Value
    await asyncio.sleep(0.3)
    second = (await by_name(client, "Lineside/Gateway/Heartbeat")).Value.Value
    assert first < second <= first + 7
    assert (await twin(client, "gateway.heartbeat")).Value.VariantType is ua.VariantType.Double


async def test_everything_stops_with_the_gateway() -> None:
    """After stop nothing listens and no heartbeat task is left."""
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-2", [], heartbeat_s=0.05)
    await server.start()
    await server.stop()
    assert not [t for t in asyncio.all_tasks() if t.get_name() == "heartbeat of line-2"]
    host, port = server.endpoint.removeprefix("opc.tcp://").split("/")[0].split(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_diagnostics_and_plant_switch(hosted: HostedServer, client: Client, machine: str) -> None:
    """Ledger, throughput, workers and the plant-wide switch are readable; demotion shows on what follows."""
    await hosted.show(Diagnostics(tags_per_s=1200.5, workers=2, received=100, used=80, dropped=15, pending=5))
    for name, value in {"TagsPerSecond": 1200.5, "Workers": 2, "LedgerReceived": 100, "LedgerBalanced": True}.items():
        assert (await by_name(client, f"Lineside/Gateway/{name}")).Value.Value == value
    await hosted.demote(True)
    await hosted.publish(advice(machine))
    assert (await twin(client, "gateway.plant_mode")).Value.Value == "advisory"
    assert (await twin(client, f"{machine}.maintenance.operating_mode")).Value.Value == "advisory"


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


async def test_flag_arrives_after_its_companions(hosted: HostedServer, client: Client, machine: str) -> None:
    """A subscriber that reacts to the flag finds the rest of the same recommendation in place."""
    seen: asyncio.Queue[tuple[object, object]] = asyncio.Queue()
    index = await client.get_namespace_index(NAMESPACE_URI)

    class OnFlag:
        async def datachange_notification(self, _node: object, value: object, _data: object) -> None:
            if value is not None:
                key = await client.get_node(f"ns={index};s={machine}.maintenance.key").read_value()
                seen.put_nowait((value, key))

    subscription = await client.create_subscription(20, OnFlag())
    await subscription.subscribe_data_change(client.get_node(f"ns={index};s={machine}.maintenance.flag"), queuesize=10)
    await hosted.publish(advice(machine))
    assert await asyncio.wait_for(seen.get(), 5) == (True, advice(machine).key)
    await subscription.delete()


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
