"""Who answers, who hears events and how conditions are called."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import Client, ua

from lineside_gateway.hosting import Access, HostedUser, Role
from lineside_gateway.publish import AlarmAnswer, Answer
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Reason, Recommendation

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
        self.noted: list[AlarmAnswer] = []
        self.held: list[tuple[bool, str, str]] = []
        self.refuses = ""

    def note(self, answer: AlarmAnswer) -> str:
        self.noted.append(answer)
        return self.refuses

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
