"""Drift as an OPC UA alarm: raised, acknowledged, doubted and ended before a plain client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asyncua import Client, ua

from lineside_gateway.publish import AlarmAnswer, Fault, HostedServer, HostedTask, Verdict
from lineside_gateway.runtime.drift import DriftAlarm
from lineside_gateway.settings.model import Mode
from lineside_plugins.wire import BatchResult, Drift, Status
from tests.gateway.publish.listening import (
    ACKNOWLEDGE,
    ANNA,
    CONFIRM,
    OUTPUTS,
    REFRESH,
    SERVER,
    Desk,
    call,
    event_id,
    node_of,
    text,
    watch,
)  # fmt: skip

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("hosted")]
SYSTEM_OFF_NORMAL, ALARM_CONDITION = ua.ObjectIds.SystemOffNormalAlarmType, ua.ObjectIds.AlarmConditionType


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk() -> Desk:
    return Desk()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosted(desk: Desk) -> AsyncIterator[HostedServer]:
    machines = [HostedTask("condition", f"M{i}", OUTPUTS, Mode.ADVISORY) for i in range(12)]
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", machines, answers=desk, access=ANNA)
    await server.start()
    yield server
    await server.stop()


class Watched:
    """What a worker says of one machine, and the audit lines that follow."""

    def __init__(self, hosted: HostedServer, machine: str) -> None:
        self.notes: list[tuple[str, str]] = []
        self.alarm = DriftAlarm(hosted, lambda event, **fields: self.notes.append((event, fields["tag"])))
        self.machine = machine

    async def say(self, *times: float) -> None:
        drift = tuple(Drift(self.machine, "VibRms", f"VibRms shows {1.65 * n:.2g} times", n) for n in times)
        result = BatchResult(Status.ANSWERED, (None,), drift=drift, watched=True)
        await self.alarm.take("condition", [self.machine], result)


async def test_a_drift_is_an_alarm_that_names_tag_size_and_what_happens(
    hosted: HostedServer, client: Client, machine: str, desk: Desk
) -> None:
    """One event of the equipment, more severe the further; acknowledged once; ended when the sensor is back."""
    watcher, subscription, _ = await watch(client, SERVER, of_type=ALARM_CONDITION)
    line = Watched(hosted, machine)
    await line.say(1.0)
    first = await watcher.next()
    condition = await node_of(client, f"{machine}/condition/Drift.VibRms")
    assert (first["ConditionId"], first["EventType"].Identifier) == (condition, SYSTEM_OFF_NORMAL)
    assert (first["SourceName"], first["Severity"], first["Retain"]) == (machine, 500, True)
    assert "VibRms shows 1.6 times; condition abstains on" in first["Message"].Text
    assert await call(client, condition, ACKNOWLEDGE, event_id(first), text("looking")) == "Good"
    assert (await watcher.next())["AckedState/Id"] is True
    await line.say(1.1)
    await line.say(3.0)
    further = await watcher.next()
    assert (further["Severity"], further["AckedState/Id"]) == (700, True)
    active = client.get_node(await node_of(client, f"{machine}/condition/Drift.VibRms/Condition.ActiveState.Id"))
    assert await active.read_value() is True
    await line.say()
    over = await watcher.next()
    assert "again, or was mounted anew" in over["Message"].Text
    assert (await active.read_value(), over["Retain"]) == (False, True)
    assert await call(client, condition, CONFIRM, event_id(over), text("cleaned")) == "Good"
    assert (await watcher.next())["Retain"] is False
    assert desk.noted[-2:] == [
        AlarmAnswer(Verdict.ACKNOWLEDGE, "condition", machine, "VibRms", "anna", "looking"),
        AlarmAnswer(Verdict.CONFIRM, "condition", machine, "VibRms", "anna", "cleaned"),
    ]
    assert line.notes == [("drift", "VibRms"), ("drift_over", "VibRms")]
    await subscription.delete()


async def test_an_alarm_is_in_doubt_while_nobody_looks(hosted: HostedServer, client: Client, machine: str) -> None:
    """When its worker is gone the alarm stands, as last known; when it is seen again it is Good again."""
    line = Watched(hosted, machine)
    await line.say(1.5)
    quality = client.get_node(await node_of(client, f"{machine}/condition/Drift.VibRms/Condition.Quality"))
    assert (await quality.read_value()).is_good()
    await hosted.fault("condition", machine, "no worker", Fault.WORKER)
    assert (await quality.read_value()).name == "UncertainLastUsableValue"
    await line.say(1.5)
    assert (await quality.read_value()).is_good()
    await line.say()


async def test_a_late_client_is_shown_the_alarms_that_stand(hosted: HostedServer, client: Client, machine: str) -> None:
    """ConditionRefresh replays the alarm; one that never was has no node."""
    line = Watched(hosted, machine)
    await line.say(2.0)
    watcher, subscription, _ = await watch(client, SERVER)
    number = ua.Variant(subscription.subscription_id, ua.VariantType.UInt32)
    assert await call(client, ua.NodeId(ua.ObjectIds.ConditionType), REFRESH, number) == "Good"
    assert (await watcher.next(SourceName=machine))["Severity"] == 600
    with pytest.raises(ua.UaStatusCodeError):
        await client.get_node(await node_of(client, f"{machine}/condition/Drift.Temp")).read_browse_name()
    await line.say()
    await subscription.delete()
