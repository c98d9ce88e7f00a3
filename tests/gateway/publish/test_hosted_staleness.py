"""What hosted nodes are worth: time, faults, poor inputs, the end of the gateway."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from asyncua import Client, ua

from lineside_gateway.publish import (
    NAMESPACE_URI,
    Diagnostics,
    Fault,
    HostedServer,
    PublishError,
    State,
)
from tests.gateway.publish.machines import END, advice, by_name, status, twin

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("event_time_starts_over")]


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


async def test_diagnostics_and_plant_switch(hosted: HostedServer, client: Client, machine: str) -> None:
    """Ledger, throughput, workers and the plant-wide switch are readable; demotion shows on what follows."""
    await hosted.show(Diagnostics(tags_per_s=1200.5, workers=2, received=100, used=80, dropped=15, pending=5))
    for name, value in {"TagsPerSecond": 1200.5, "Workers": 2, "LedgerReceived": 100, "LedgerBalanced": True}.items():
        assert (await by_name(client, f"Lineside/Gateway/{name}")).Value.Value == value
    await hosted.demote(True)
    await hosted.publish(advice(machine))
    assert (await twin(client, "gateway.plant_mode")).Value.Value == "advisory"
    assert (await twin(client, f"{machine}.maintenance.operating_mode")).Value.Value == "advisory"


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
