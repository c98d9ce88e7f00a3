"""What clients call on a condition, checked before it does anything: arguments, caller, event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua
from asyncua.server.monitored_item_service import MonitoredItemService

from lineside_gateway.hosting.monitored_items import HostedMonitoredItems
from lineside_gateway.publish.caller import caller
from lineside_gateway.publish.conditions.answers import Answer, Verdict
from lineside_gateway.publish.conditions.desk import ConditionDesk, HostedCondition
from lineside_gateway.publish.conditions.event import refresh_event
from lineside_gateway.publish.nodeids import ObjectIds, StatusCodes, standard, status_code

_V = ua.VariantType
Method = Callable[..., Awaitable[ua.StatusCode]]


@dataclass(slots=True)
class ConditionMethods:
    """The methods of all conditions; each is shared by every instance and called with the instance as its object."""

    desk: ConditionDesk

    def link(self) -> None:
        """Put the methods behind the nodes of the types."""
        session, own = self.desk.builder.server.iserver.isession, self.desk.types.methods
        text, event = _V.LocalizedText, _V.ByteString
        linked: dict[ua.NodeId, tuple[Method, tuple[ua.VariantType, ...]]] = {
            standard(ObjectIds.AcknowledgeableConditionType_Acknowledge): (self._acknowledge, (event, text)),
            standard(ObjectIds.AcknowledgeableConditionType_Confirm): (self._confirm, (event, text)),
            standard(ObjectIds.ConditionType_AddComment): (self._comment, (event, text)),
            standard(ObjectIds.ConditionType_ConditionRefresh): (self._refresh, (_V.UInt32,)),
            standard(ObjectIds.ConditionType_ConditionRefresh2): (self._refresh_item, (_V.UInt32, _V.UInt32)),
            own["Accept"]: (self._accept, (_V.String, text)),
            own["Reject"]: (self._reject, (_V.String, text)),
        }
        for method_id, (method, kinds) in linked.items():
            session.add_method_callback(method_id, checked(method, kinds))

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
        if found is None or found.nodes.shown is None:
            return status_code(StatusCodes.BadNodeIdUnknown if found is None else StatusCodes.BadNothingToDo)
        if key and key != found.nodes.shown.key:
            return status_code(StatusCodes.BadInvalidState)  # another one is on display by now
        condition_state = found.condition
        condition_state.acknowledge(_words(comment), caller().name, datetime.now(UTC))
        return await self._answered(found, verdict, _words(comment))

    async def _answered(self, found: HostedCondition, verdict: Verdict, comment: str) -> ua.StatusCode:
        rec = found.nodes.shown
        if rec is None:
            return status_code(StatusCodes.BadNothingToDo)
        refused = self.desk.answers.take(Answer(verdict, rec, caller().name, comment, datetime.now(UTC)))
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


_READS_ONLY = frozenset({"_refresh", "_refresh_item"})


def checked(method: Method, kinds: Sequence[ua.VariantType]) -> Callable[..., Awaitable[ua.CallMethodResult]]:
    """``method`` behind what asyncua does not check: the caller's right, the arguments' count and their types."""
    reads_only = method.__name__ in _READS_ONLY

    async def call(parent: ua.NodeId, *arguments: ua.Variant) -> ua.CallMethodResult:
        result = ua.CallMethodResult()
        if len(arguments) != len(kinds):
            few = len(arguments) < len(kinds)
            result.StatusCode = status_code(StatusCodes.BadArgumentsMissing if few else StatusCodes.BadTooManyArguments)
            return result
        wrong = [
            StatusCodes.BadTypeMismatch if not _fits(given, kind) else StatusCodes.Good
            for given, kind in zip(arguments, kinds, strict=True)
        ]
        if any(wrong):
            result.StatusCode = status_code(StatusCodes.BadInvalidArgument)
            result.InputArgumentResults = [status_code(code) for code in wrong]
        elif not reads_only and not caller().answers:
            result.StatusCode = status_code(StatusCodes.BadUserAccessDenied)
        else:
            result.StatusCode = await method(parent, *(a.Value for a in arguments))
        return result

    return call


def _fits(given: ua.Variant, kind: ua.VariantType) -> bool:
    """Scalars of the declared type; a null text or event id reads as empty."""
    if given.is_array or (given.VariantType is not kind and given.VariantType is not _V.Null):
        return False
    return given.Value is not None or kind is not _V.UInt32


def _words(comment: ua.LocalizedText | None) -> str:
    return "" if comment is None else str(comment.Text or "")
