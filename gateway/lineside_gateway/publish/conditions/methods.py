"""What clients call on a condition, checked before it does anything: caller and event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua
from asyncua.server.monitored_item_service import MonitoredItemService

from lineside_gateway.hosting.monitored_items import HostedMonitoredItems
from lineside_gateway.publish.caller import caller
from lineside_gateway.publish.conditions.answers import AlarmAnswer, Answer, Verdict
from lineside_gateway.publish.conditions.desk import ConditionDesk, HostedCondition
from lineside_gateway.publish.conditions.event import refresh_event
from lineside_gateway.publish.nodeids import ObjectIds, StatusCodes, standard, status_code

Method = Callable[..., Awaitable[ua.StatusCode]]


@dataclass(slots=True)
class ConditionMethods:
    """The methods of all conditions; each is shared by every instance and called with the instance as its object."""

    desk: ConditionDesk

    def link(self) -> None:
        """Put the methods behind the nodes of the types."""
        session, own = self.desk.builder.server.iserver.isession, self.desk.types.methods
        linked = {
            standard(ObjectIds.AcknowledgeableConditionType_Acknowledge): answering(self._acknowledge),
            standard(ObjectIds.AcknowledgeableConditionType_Confirm): answering(self._confirm),
            standard(ObjectIds.ConditionType_AddComment): answering(self._comment),
            standard(ObjectIds.ConditionType_ConditionRefresh): reading(self._refresh),
            standard(ObjectIds.ConditionType_ConditionRefresh2): reading(self._refresh_item),
            own["Accept"]: answering(self._accept),
            own["Reject"]: answering(self._reject),
        }
        for method_id, method in linked.items():
            session.add_method_callback(method_id, method)

    async def _acknowledge(self, condition: ua.NodeId, event_id: bytes, comment: ua.LocalizedText) -> ua.StatusCode:
        found, refused = self._found(condition, event_id)
        if found is None:
            return refused
        if not found.condition.acknowledge(_words(comment), caller().name, datetime.now(UTC)):
            return status_code(StatusCodes.BadConditionBranchAlreadyAcked)
        return await self._answered(found, Verdict.ACKNOWLEDGE, _words(comment))

    async def _confirm(self, condition: ua.NodeId, event_id: bytes, comment: ua.LocalizedText) -> ua.StatusCode:
        found, refused = self._found(condition, event_id)
        if found is None:
            return refused
        if not found.condition.confirm(_words(comment), caller().name, datetime.now(UTC)):
            return status_code(StatusCodes.BadConditionBranchAlreadyConfirmed)
        return await self._answered(found, Verdict.CONFIRM, _words(comment))

    async def _comment(self, condition: ua.NodeId, event_id: bytes, comment: ua.LocalizedText) -> ua.StatusCode:
        found, refused = self._found(condition, event_id)
        if found is None:
            return refused
        found.condition.add_comment(_words(comment), caller().name, datetime.now(UTC))
        return await self._answered(found, Verdict.COMMENT, _words(comment))

    async def _accept(self, condition: ua.NodeId, key: str | None, comment: ua.LocalizedText) -> ua.StatusCode:
        return await self._judge(condition, key, Verdict.ACCEPT, comment)

    async def _reject(self, condition: ua.NodeId, key: str | None, comment: ua.LocalizedText) -> ua.StatusCode:
        return await self._judge(condition, key, Verdict.REJECT, comment)

    async def _judge(
        self, condition: ua.NodeId, key: str | None, verdict: Verdict, comment: ua.LocalizedText
    ) -> ua.StatusCode:
        found = self.desk.conditions.get(condition)
        if found is None or found.nodes is None or found.nodes.shown is None:
            return status_code(StatusCodes.BadNodeIdUnknown if found is None else StatusCodes.BadNothingToDo)
        if key and key != found.nodes.shown.key:
            return status_code(StatusCodes.BadInvalidState)  # another one is on display by now
        condition_state = found.condition
        condition_state.acknowledge(_words(comment), caller().name, datetime.now(UTC))
        return await self._answered(found, verdict, _words(comment))

    async def _answered(self, found: HostedCondition, verdict: Verdict, comment: str) -> ua.StatusCode:
        if found.about is not None:
            refused = self.desk.answers.note(AlarmAnswer(verdict, *found.about, caller().name, comment))
        elif found.nodes is None or found.nodes.shown is None:
            return status_code(StatusCodes.BadNothingToDo)
        else:
            answer = Answer(verdict, found.nodes.shown, caller().name, comment, datetime.now(UTC))
            refused = self.desk.answers.take(answer)
        await self.desk.announce(found)
        return status_code(StatusCodes.BadInvalidState if refused else StatusCodes.Good)

    async def _refresh(self, _type: ua.NodeId, subscription_id: int) -> ua.StatusCode:
        return await self._replay(subscription_id, None)

    async def _refresh_item(self, _type: ua.NodeId, subscription_id: int, item_id: int) -> ua.StatusCode:
        return await self._replay(subscription_id, item_id)

    async def _replay(self, subscription_id: int, item_id: int | None) -> ua.StatusCode:
        service = self.desk.builder.server.iserver.subscription_service
        subscription = service.subscriptions.get(subscription_id)
        if subscription is None:
            return status_code(StatusCodes.BadSubscriptionIdInvalid)
        items = subscription.monitored_item_srv
        # Every notifier that conditions have: a client that watches one machine gets begin and end there.
        emitters = dict.fromkeys(e for c in self.desk.conditions.values() for e in c.emitters)
        notifiers = [e for e in emitters if item_id is None or _hears(items, item_id, e)]
        if item_id is not None and not notifiers:
            return status_code(StatusCodes.BadMonitoredItemIdInvalid)
        start = [refresh_event(n, ObjectIds.RefreshStartEventType, "the conditions as they stand") for n in notifiers]
        retained = [e for e in self.desk.events() if e.emitting_node in notifiers]
        end = [refresh_event(n, ObjectIds.RefreshEndEventType, "these were all conditions") for n in notifiers]
        for event in (*start, *retained, *end):
            await items.trigger_event(event, item_id)
        return status_code(StatusCodes.Good)

    def _found(self, condition: ua.NodeId, event_id: bytes) -> tuple[HostedCondition | None, ua.StatusCode]:
        found = self.desk.conditions.get(condition)
        if found is None:
            return None, status_code(StatusCodes.BadNodeIdUnknown)
        if not found.condition.knows(event_id or b""):
            return None, status_code(StatusCodes.BadEventIdUnknown)
        return found, status_code(StatusCodes.Good)


def _hears(items: MonitoredItemService, item_id: int, notifier: ua.NodeId) -> bool:
    """Whether the item hears ``notifier``; asyncua's plain server, which cannot tell, lets it hear all."""
    return not isinstance(items, HostedMonitoredItems) or item_id in items.event_items(notifier)


def answering(method: Method) -> Method:
    """``method`` for those who may answer, given plain values; count and types are checked by the hosted server."""

    async def call(parent: ua.NodeId, *arguments: ua.Variant) -> ua.StatusCode:
        if not caller().answers:
            return status_code(StatusCodes.BadUserAccessDenied)
        return await method(parent, *(a.Value for a in arguments))

    return call


def reading(method: Method) -> Method:
    """``method`` for everybody, given plain values."""

    async def call(parent: ua.NodeId, *arguments: ua.Variant) -> ua.StatusCode:
        return await method(parent, *(a.Value for a in arguments))

    return call


def _words(comment: ua.LocalizedText | None) -> str:
    return "" if comment is None else str(comment.Text or "")
