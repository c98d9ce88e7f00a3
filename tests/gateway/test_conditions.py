"""Recommendations as conditions, seen by a plain OPC UA client: events, answers, refresh, rights."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua

from lineside_gateway.hosting import Access, HostedUser, Role
from lineside_gateway.publish import Answer, HostedServer, HostedTask, State, Verdict
from lineside_gateway.settings.model import Mode
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Reason, Recommendation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("hosted")]

END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
OUTPUTS = Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),), "flag")
ANNA = Access(anonymous_user=HostedUser(name="anna", granted=Role.OPERATOR))
FIELDS = (
    "EventId", "EventType", "SourceName", "Message", "Severity", "Retain", "AckedState/Id", "ConfirmedState/Id",
    "Comment", "ClientUserId",
)  # fmt: skip
OWN = ("Key", "State", "Confidence", "Flag")
SERVER = ua.NodeId(ua.ObjectIds.Server)


def advice(equipment_id: str, minute: int = 0, **changes: object) -> Recommendation:
    end = END + timedelta(minutes=minute)
    rec = Recommendation(
        task="maintenance", kind=Kind.MAINTENANCE, equipment_id=equipment_id, value={"flag": True}, confidence=0.9,
        interval=None, reasons=(Reason("VibRms", 0.7, "vibration doubled"),), window_end=end,
        valid_until=end + timedelta(minutes=10), model="m", model_version="1", key=f"{equipment_id}|{minute}",
    )  # fmt: skip
    return replace(rec, **changes)  # type: ignore[arg-type]


class Desk:
    """Takes the answers of the tests."""

    def __init__(self) -> None:
        self.taken: list[Answer] = []
        self.held: list[tuple[bool, str, str]] = []
        self.refuses = ""

    def take(self, answer: Answer) -> str:
        self.taken.append(answer)
        return self.refuses

    async def hold(self, demoted: bool, user: str, why: str) -> None:
        self.held.append((demoted, user, why))


class Watcher:
    """Hears the events of one subscription."""

    def __init__(self, clauses: list[str]) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.clauses = clauses

    def event_notification(self, event: Any) -> None:
        fields = [v.Value for v in event.event_fields]
        self.events.put_nowait(dict(zip(self.clauses, fields, strict=True)))

    async def next(self, **wanted: object) -> dict[str, Any]:
        """The next event with the wanted fields; others are passed over."""
        async with asyncio.timeout(10):
            while True:
                event = await self.events.get()
                if all(event.get(k) == v for k, v in wanted.items()):
                    return event


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(hosted: HostedServer) -> AsyncIterator[Client]:
    async with Client(hosted.endpoint) as connected:
        yield connected


@pytest.fixture(scope="module")
def unused() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def machine(unused: Iterator[int]) -> str:
    return f"M{next(unused)}"


def everything(index: int, of_type: int | None = None) -> tuple[ua.EventFilter, list[str]]:
    """A filter that selects all fields, and their names in order."""
    base = ua.NodeId(ua.ObjectIds.BaseEventType)
    event_filter, names = ua.EventFilter(), []
    paths = [(name, [ua.QualifiedName(n, 0) for n in name.split("/")]) for name in FIELDS]
    paths += [(name, [ua.QualifiedName(name, index)]) for name in OWN]
    for name, steps in paths:
        event_filter.SelectClauses.append(
            ua.SimpleAttributeOperand(TypeDefinitionId=base, BrowsePath=steps, AttributeId=ua.AttributeIds.Value)
        )
        names.append(name)
    condition = ua.NodeId(ua.ObjectIds.ConditionType)
    event_filter.SelectClauses.append(
        ua.SimpleAttributeOperand(TypeDefinitionId=condition, BrowsePath=[], AttributeId=ua.AttributeIds.NodeId)
    )
    if of_type is not None:
        element = ua.ContentFilterElement(FilterOperator=ua.FilterOperator.OfType)
        element.FilterOperands.append(ua.LiteralOperand(Value=ua.Variant(ua.NodeId(of_type))))
        event_filter.WhereClause.Elements.append(element)
    return event_filter, [*names, "ConditionId"]


async def watch(client: Client, *nodes: ua.NodeId, of_type: int | None = None) -> tuple[Watcher, Any, list[int]]:
    """Subscribe to the events of ``nodes``: who hears them, the subscription and its items."""
    event_filter, names = everything(await client.get_namespace_index("urn:lineside:ua"), of_type)
    watcher = Watcher(names)
    subscription = await client.create_subscription(20, watcher)
    items = [await subscription.subscribe_events(client.get_node(n), evfilter=event_filter) for n in nodes]
    return watcher, subscription, items  # type: ignore[return-value]  # one node gives one item


async def node_of(client: Client, identifier: str) -> ua.NodeId:
    return ua.NodeId(identifier, await client.get_namespace_index("urn:lineside:ua"))


async def call(client: Client, condition: ua.NodeId, method: int | str, *arguments: ua.Variant) -> str:
    """The StatusCode's name of a call as any client makes it: the instance as object, the type's method."""
    method_id = ua.NodeId(method) if isinstance(method, int) else await node_of(client, f"RecommendationType/{method}")
    request = ua.CallMethodRequest(ObjectId=condition, MethodId=method_id, InputArguments=list(arguments))
    return (await client.uaclient.call([request]))[0].StatusCode.name


def text(words: str) -> ua.Variant:
    return ua.Variant(ua.LocalizedText(words))


def event_id(event: dict[str, Any]) -> ua.Variant:
    return ua.Variant(event["EventId"], ua.VariantType.ByteString)


ACKNOWLEDGE = ua.ObjectIds.AcknowledgeableConditionType_Acknowledge
CONFIRM = ua.ObjectIds.AcknowledgeableConditionType_Confirm
ADD_COMMENT = ua.ObjectIds.ConditionType_AddComment
REFRESH = ua.ObjectIds.ConditionType_ConditionRefresh
REFRESH_START, REFRESH_END = ua.ObjectIds.RefreshStartEventType, ua.ObjectIds.RefreshEndEventType
REFRESH_2 = ua.ObjectIds.ConditionType_ConditionRefresh2


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
