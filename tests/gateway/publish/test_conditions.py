"""Recommendations as conditions, seen by a plain OPC UA client: events, answers, refresh, rights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asyncua import Client, ua

from lineside_gateway.publish import HostedServer, HostedTask, State, Verdict
from lineside_gateway.settings.model import Mode
from tests.gateway.publish.listening import (
    ACKNOWLEDGE,
    ADD_COMMENT,
    ANNA,
    CONFIRM,
    OUTPUTS,
    REFRESH,
    REFRESH_2,
    REFRESH_END,
    REFRESH_START,
    SERVER,
    Desk,
    advice,
    call,
    event_id,
    node_of,
    text,
    watch,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("hosted")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk() -> Desk:
    return Desk()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosted(desk: Desk) -> AsyncIterator[HostedServer]:
    machines = [HostedTask("maintenance", f"M{i}", OUTPUTS, Mode.CONFIRM, ("", "", "Milling")) for i in range(12)]
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", machines, answers=desk, access=ANNA)
    await server.start()
    yield server
    await server.stop()


async def test_a_recommendation_is_an_event_at_server_and_equipment(
    hosted: HostedServer, client: Client, machine: str
) -> None:
    """One event at each, with ConditionId, what it says, how sure, and own fields; none for advice that asks none."""
    at_server, one, _ = await watch(client, SERVER, of_type=ua.ObjectIds.AcknowledgeableConditionType)
    at_machine, two, _ = await watch(client, await node_of(client, f"Milling/{machine}"))
    await hosted.publish(advice(machine, value={"flag": False}))
    await hosted.publish(advice(machine, 1))
    for watcher in (at_server, at_machine):
        event = await watcher.next()
        assert event["ConditionId"] == await node_of(client, f"Milling/{machine}/maintenance")
        assert (event["SourceName"], event["Key"], event["State"]) == (machine, f"{machine}|1", 0)
        assert (event["Flag"], event["Confidence"], event["Severity"]) == (True, 0.9, 760)
        assert event["Message"].Text == f"{machine}: vibration doubled"
        assert (event["Retain"], event["AckedState/Id"]) == (True, False)
        assert watcher.events.empty()
    await one.delete()
    await two.delete()


async def test_events_follow_the_state_and_the_end(hosted: HostedServer, client: Client, machine: str) -> None:
    """Written, acknowledged and withdrawn are told; the same advice given anew asks for no new acknowledgement."""
    watcher, subscription, _ = await watch(client, await node_of(client, f"Milling/{machine}"))
    await hosted.publish(advice(machine))
    first = await watcher.next()
    condition = await node_of(client, f"Milling/{machine}/maintenance")
    assert await call(client, condition, ACKNOWLEDGE, event_id(first), text("seen")) == "Good"
    await hosted.set_state(f"{machine}|0", State.WRITTEN)
    assert (await watcher.next(State=3))["AckedState/Id"] is True
    await hosted.publish(advice(machine, 1))
    assert (await watcher.next(Key=f"{machine}|1"))["AckedState/Id"] is True
    await hosted.publish(advice(machine, 2, value={"flag": False}))
    assert (await watcher.next(Flag=False))["Message"].Text == f"{machine}: withdrawn"
    await hosted.publish(advice(machine, 3))
    assert (await watcher.next(Key=f"{machine}|3"))["AckedState/Id"] is False
    await subscription.delete()


async def test_acknowledge_confirm_and_comment(hosted: HostedServer, client: Client, machine: str, desk: Desk) -> None:
    """Each works once with the event's id, is an event with user and comment, and reaches the gateway."""
    watcher, subscription, _ = await watch(client, SERVER)
    await hosted.publish(advice(machine))
    event = await watcher.next(SourceName=machine)
    condition, desk.taken = event["ConditionId"], []
    assert await call(client, condition, ADD_COMMENT, event_id(event), text("on my way")) == "Good"
    told = await watcher.next()
    assert (told["Comment"].Text, told["ClientUserId"], told["AckedState/Id"]) == ("on my way", "anna", False)
    assert await call(client, condition, ACKNOWLEDGE, event_id(event), text("seen")) == "Good"
    assert (await watcher.next())["AckedState/Id"] is True
    assert await call(client, condition, ACKNOWLEDGE, event_id(event), text("")) == "BadConditionBranchAlreadyAcked"
    assert await call(client, condition, CONFIRM, event_id(event), text("done")) == "Good"
    assert (await watcher.next())["ConfirmedState/Id"] is True
    assert await call(client, condition, CONFIRM, event_id(event), text("")) == "BadConditionBranchAlreadyConfirmed"
    other = ua.Variant(b"other", ua.VariantType.ByteString)
    assert await call(client, condition, ACKNOWLEDGE, other, text("")) == "BadEventIdUnknown"
    assert [(a.verdict, a.user, a.comment) for a in desk.taken] == [
        (Verdict.COMMENT, "anna", "on my way"),
        (Verdict.ACKNOWLEDGE, "anna", "seen"),
        (Verdict.CONFIRM, "anna", "done"),
    ]
    index = await client.get_namespace_index("urn:lineside:ua")
    node = client.get_node(f"ns={index};s=Milling/{machine}/maintenance/Condition.AckedState.Id")
    assert await node.read_value() is True
    await subscription.delete()


async def test_accept_and_reject_reach_the_gateway(
    hosted: HostedServer, client: Client, machine: str, desk: Desk
) -> None:
    """With the key on display they do; with the key of an older one, or where the gateway refuses, they do not."""
    await hosted.publish(advice(machine))
    condition = await node_of(client, f"Milling/{machine}/maintenance")
    key, desk.taken = ua.Variant(f"{machine}|0", ua.VariantType.String), []
    assert await call(client, condition, "Accept", key, text("go")) == "Good"
    assert await call(client, condition, "Reject", ua.Variant("", ua.VariantType.String), text("no")) == "Good"
    assert [(a.verdict, a.rec.key, a.comment) for a in desk.taken] == [
        (Verdict.ACCEPT, f"{machine}|0", "go"),
        (Verdict.REJECT, f"{machine}|0", "no"),
    ]
    await hosted.publish(advice(machine, 1))
    assert await call(client, condition, "Accept", key, text("late")) == "BadInvalidState"
    desk.refuses = "not now"
    assert (
        await call(client, condition, "Accept", ua.Variant("", ua.VariantType.String), text("x")) == "BadInvalidState"
    )
    desk.refuses = ""


async def test_refresh_replays_what_is_retained(hosted: HostedServer, client: Client, machine: str) -> None:
    """A client that subscribes late gets start, each retained condition, end, though its filter asks for conditions."""
    await hosted.publish(advice(machine))
    watcher, subscription, _ = await watch(client, SERVER, of_type=ua.ObjectIds.AcknowledgeableConditionType)
    server = ua.NodeId(ua.ObjectIds.ConditionType)
    number = ua.Variant(subscription.subscription_id, ua.VariantType.UInt32)
    assert await call(client, server, REFRESH, number) == "Good"
    kinds = []
    while not kinds or kinds[-1] != REFRESH_END:
        event = await asyncio.wait_for(watcher.events.get(), 10)
        kinds.append(event["EventType"].Identifier)
        if event["SourceName"] == machine:
            kinds[-1] = machine
    assert kinds[0] == REFRESH_START
    assert kinds.count(machine) == 1
    nobody = ua.Variant(999_999, ua.VariantType.UInt32)
    assert await call(client, server, REFRESH, nobody) == "BadSubscriptionIdInvalid"
    await subscription.delete()


async def test_refresh_goes_to_the_session_that_asks_only(hosted: HostedServer, client: Client, machine: str) -> None:
    """Another session's subscription is refused and hears nothing; one item named, one item hears."""
    await hosted.publish(advice(machine))
    condition_type, at_machine = ua.NodeId(ua.ObjectIds.ConditionType), await node_of(client, f"Milling/{machine}")
    watcher, subscription, items = await watch(client, SERVER, at_machine)
    number, item, none = (
        ua.Variant(n, ua.VariantType.UInt32) for n in (subscription.subscription_id, items[1], 999_999)
    )
    async with Client(hosted.endpoint) as other:
        assert await call(other, condition_type, REFRESH, number) == "BadSubscriptionIdInvalid"
        assert await call(other, condition_type, REFRESH_2, number, item) == "BadSubscriptionIdInvalid"
    assert await call(client, condition_type, REFRESH_2, number, none) == "BadMonitoredItemIdInvalid"
    assert await call(client, condition_type, REFRESH_2, number, item) == "Good"
    first = [await asyncio.wait_for(watcher.events.get(), 10) for _ in range(3)]
    assert [e["EventType"].Identifier for e in first[::2]] == [REFRESH_START, REFRESH_END]
    assert first[1]["Key"] == f"{machine}|0"
    await subscription.delete()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), "BadArgumentsMissing"),
        ((ua.Variant(b"x", ua.VariantType.ByteString),) * 3, "BadTooManyArguments"),
        ((ua.Variant(1, ua.VariantType.UInt32), text("x")), "BadInvalidArgument"),
        ((ua.Variant([b"x"], ua.VariantType.ByteString), text("x")), "BadInvalidArgument"),
        ((ua.Variant(None, ua.VariantType.Null), text("x")), "BadEventIdUnknown"),
    ],
)
async def test_wrong_arguments_never_reach_the_gateway(
    client: Client, desk: Desk, arguments: tuple[ua.Variant, ...], status: str
) -> None:
    """A wrong count, type or null is refused with its own StatusCode."""
    before = len(desk.taken)
    condition = await node_of(client, "Milling/M11/maintenance")
    assert await call(client, condition, ACKNOWLEDGE, *arguments) == status
    assert len(desk.taken) == before


async def test_the_switch_is_held_by_operators_and_released_by_engineers(client: Client, desk: Desk) -> None:
    """An operator holds the plant at advisory and cannot give it back; who may release can."""
    gateway = await node_of(client, "Gateway")
    for name, status in (("HoldAtAdvisory", "Good"), ("ReleaseFromAdvisory", "BadUserAccessDenied")):
        method = await node_of(client, f"Gateway/{name}")
        request = ua.CallMethodRequest(ObjectId=gateway, MethodId=method, InputArguments=[text("no crew")])
        assert (await client.uaclient.call([request]))[0].StatusCode.name == status
    assert desk.held == [(True, "anna", "no crew")]


async def test_a_viewer_answers_nothing() -> None:
    """Who is not known to be an operator gets BadUserAccessDenied from every method that changes something."""
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", [HostedTask("maintenance", "A1", OUTPUTS)])
    await server.start()
    try:
        await server.publish(advice("A1"))
        async with Client(server.endpoint) as client:
            condition = await node_of(client, "A1/maintenance")
            empty = ua.Variant("", ua.VariantType.String)
            assert await call(client, condition, "Accept", empty, text("go")) == "BadUserAccessDenied"
            event = ua.Variant(b"x", ua.VariantType.ByteString)
            for method in (ACKNOWLEDGE, CONFIRM, ADD_COMMENT):
                assert await call(client, condition, method, event, text("")) == "BadUserAccessDenied"
    finally:
        await server.stop()
