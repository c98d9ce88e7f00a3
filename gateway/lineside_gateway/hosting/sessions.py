"""Sessions of the hosted server: unguessable, bounded, and each user within his rights."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.common.utils import ServiceError, create_nonce
from asyncua.server.internal_session import InternalSession, SessionState
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from lineside_gateway.hosting.limits import Limits
from lineside_gateway.hosting.roles import HostedUser, Rights
from lineside_gateway.opcua.standard import standard

if TYPE_CHECKING:
    from lineside_gateway.hosting.internals import HostedInternals
    from lineside_gateway.hosting.processor import HostedProcessor

NONCE_BYTES = 32
HEAVY_PATH = 10
"""A browse path counts as so many references: its later steps look at nodes nobody knows yet."""
_TOKEN_BYTES = 32
_DENIED = ua.StatusCode(ua.UInt32(StatusCodes.BadUserAccessDenied))
_UNKNOWN_SUBSCRIPTION = ua.StatusCode(ua.UInt32(StatusCodes.BadSubscriptionIdInvalid))
_WRITE_BIT = 1 << ua.AccessLevel.CurrentWrite
_REFRESHES = (standard(ObjectIds.ConditionType_ConditionRefresh), standard(ObjectIds.ConditionType_ConditionRefresh2))


class HostedSession(InternalSession):
    """One client's session. ``owner`` is the connection it is on; ``client_certificate`` the one it was made with."""

    iserver: HostedInternals

    def __init__(
        self, internal_server: HostedInternals, *args: Any, rights: Rights, limits: Limits, **kwargs: Any
    ) -> None:
        super().__init__(internal_server, *args, **kwargs)
        internal_server.unregister_external_session(self)
        self.auth_token = ua.NodeId(ua.ByteString(secrets.token_bytes(_TOKEN_BYTES)))  # asyncua counts up from 1000
        internal_server.register_external_session(self)
        self.owner: HostedProcessor | None = None
        self.client_certificate: bytes | None = None
        self.security: tuple[str, ua.MessageSecurityMode] | None = None
        self._rights = rights
        self._limits = limits

    @property
    def closed(self) -> bool:
        """Whether the session is over."""
        return self.state is SessionState.Closed

    def admit(self, user: HostedUser, software_certificates: int) -> ua.ActivateSessionResult:
        """Activate for ``user``, who has proved who he is."""
        if not self.is_activated():
            InternalSession._current_connections += 1  # noqa: SLF001 - closing counts it down
        self.user = user
        self.state = SessionState.Activated
        self.nonce = create_nonce(NONCE_BYTES)
        self.touch()
        self._start_timeout_watchdog()
        result = ua.ActivateSessionResult()
        result.ServerNonce = ua.ByteString(self.nonce)
        result.Results = [ua.StatusCode() for _ in range(software_certificates)]
        return result

    # ---- services, each within limits and rights

    async def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
        """Attributes as they are for this user."""
        self._bounded(params.NodesToRead)
        results = await super().read(params)
        return [self._as_seen(asked, value) for asked, value in zip(params.NodesToRead, results, strict=True)]

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        """Write the nodes this user may write; BadUserAccessDenied for the others."""
        asked = params.NodesToWrite
        self._bounded(asked)
        allowed = [w.AttributeId == AttributeIds.Value and self._rights.may_write(self.user, w.NodeId) for w in asked]
        params.NodesToWrite = [w for w, may in zip(asked, allowed, strict=True) if may]
        done = iter(await super().write(params) if params.NodesToWrite else ())
        return [next(done) if may else _DENIED for may in allowed]

    async def call(self, params: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        """Call the methods this user may call; BadUserAccessDenied for the others."""
        self._bounded(params)
        results = []
        for asked in params:
            refused = ua.CallMethodResult()
            if not self._rights.may_call(self.user, asked.MethodId):
                refused.StatusCode = _DENIED
            elif asked.MethodId in _REFRESHES and self._refreshes_another(asked.InputArguments or ()):
                refused.StatusCode = _UNKNOWN_SUBSCRIPTION
            else:
                results += await super().call([asked])
                continue
            results.append(refused)
        return results

    async def browse(self, params: ua.BrowseParameters) -> list[ua.BrowseResult]:
        """Browse within limits, aside from the loop that serves the others."""
        self._bounded(params.NodesToBrowse, self._limits.browsed_per_request)
        size = self.iserver.references(d.NodeId for d in params.NodesToBrowse)
        return await self.iserver.aside(self.iserver.view_service.browse, params, size)

    async def translate_browsepaths_to_nodeids(self, params: list[ua.BrowsePath]) -> list[ua.BrowsePathResult]:
        """Translate within limits, aside as well; a path without elements is none."""
        self._bounded(params)
        if any(not path.RelativePath.Elements for path in params):
            raise ServiceError(StatusCodes.BadBrowseNameInvalid)
        size = len(params) * HEAVY_PATH + self.iserver.references(path.StartingNode for path in params)
        return await self.iserver.aside(self.iserver.view_service.translate_browsepaths_to_nodeids, params, size)

    async def history_read(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        """Read history within limits."""
        self._bounded(params.NodesToRead)
        return await super().history_read(params)

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """Monitor on this session's own subscription."""
        self._bounded(params.ItemsToCreate)
        self._own(params.SubscriptionId)
        return await super().create_monitored_items(params)

    async def modify_monitored_items(
        self, params: ua.ModifyMonitoredItemsParameters
    ) -> list[ua.MonitoredItemModifyResult]:
        """Modify items of this session's own subscription."""
        self._bounded(params.ItemsToModify)
        self._own(params.SubscriptionId)
        return await super().modify_monitored_items(params)

    async def set_monitoring_mode(self, params: ua.SetMonitoringModeParameters) -> list[ua.StatusCode]:
        """Set the mode of items of this session's own subscription."""
        self._own(params.SubscriptionId)
        return await super().set_monitoring_mode(params)

    async def delete_monitored_items(self, params: ua.DeleteMonitoredItemsParameters) -> list[ua.StatusCode]:
        """Delete items of this session's own subscription."""
        self._own(params.SubscriptionId)
        return await super().delete_monitored_items(params)

    async def set_publishing_mode(self, params: ua.SetPublishingModeParameters) -> list[ua.StatusCode]:
        """Switch publishing of this session's own subscriptions."""
        for number in params.SubscriptionIds:
            self._own(number)
        return await super().set_publishing_mode(params)

    def modify_subscription(self, params: ua.ModifySubscriptionParameters) -> ua.ModifySubscriptionResult:
        """Modify this session's own subscription."""
        self._own(params.SubscriptionId)
        return super().modify_subscription(params)

    def republish(self, params: ua.RepublishParameters) -> ua.NotificationMessage:
        """Send a notification of this session's own subscription again.

        Raises:
            ServiceError: BadSubscriptionIdInvalid, or BadMessageNotAvailable where it is gone.
        """
        self._own(params.SubscriptionId)
        message = super().republish(params)
        if not message.NotificationData:
            raise ServiceError(StatusCodes.BadMessageNotAvailable)
        return message

    async def delete_subscriptions(self, ids: list[int]) -> list[ua.StatusCode]:
        """Delete this session's own subscriptions; another's is as good as none."""
        mine = [i for i in ids if self._is_own(i)]
        done = dict(zip(mine, await super().delete_subscriptions(mine), strict=True))
        return [done.get(i, _UNKNOWN_SUBSCRIPTION) for i in ids]

    def publish(self, acks: Iterable[ua.SubscriptionAcknowledgement] | None = None) -> tuple[int, list[ua.StatusCode]]:
        """Acknowledge what this session's subscriptions have sent; how many subscriptions it has."""
        if not any(self._is_own(i) for i in self.subscription_service.subscriptions):
            raise ServiceError(StatusCodes.BadNoSubscription)
        results = []
        for ack in acks or ():
            known = self._is_own(ack.SubscriptionId)
            if known:
                self.subscription_service.subscriptions[ack.SubscriptionId].publish([ack.SequenceNumber])
            results.append(ua.StatusCode() if known else _UNKNOWN_SUBSCRIPTION)
        return sum(self._is_own(i) for i in self.subscription_service.subscriptions), results

    async def transfer_subscriptions(  # type: ignore[override]  # as in asyncua: the server's side takes a callback
        self, params: ua.TransferSubscriptionsParameters, callback: Callable[..., Any]
    ) -> list[ua.TransferResult]:
        """Take over subscriptions whose session is gone or this user's own; another's is refused (Part 4, 5.14.7)."""
        results = []
        for number in params.SubscriptionIds:
            if self._may_take(number):
                one = ua.TransferSubscriptionsParameters([number], params.SendInitialValues)
                results += await super().transfer_subscriptions(one, callback)
            else:
                refused = ua.TransferResult()
                refused.StatusCode = _DENIED
                results.append(refused)
        return results

    # ---- inside

    def _bounded(self, asked: Sequence[object] | None, most: int | None = None) -> None:
        if not asked:
            raise ServiceError(StatusCodes.BadNothingToDo)
        if len(asked) > (most or self._limits.nodes_per_request):
            raise ServiceError(StatusCodes.BadTooManyOperations)

    def _is_own(self, subscription: int) -> bool:
        found = self.subscription_service.subscriptions.get(subscription)
        return found is not None and found.session_id == self.session_id

    def _own(self, subscription: int) -> None:
        if not self._is_own(subscription):
            raise ServiceError(StatusCodes.BadSubscriptionIdInvalid)

    def _refreshes_another(self, arguments: Sequence[ua.Variant]) -> bool:
        """Whether a ConditionRefresh names a subscription that is not this session's; its arguments are checked later.

        Source: OPC UA Part 9, 5.5.7: a subscription that is not of the session of the Call is BadSubscriptionIdInvalid.
        """
        named = arguments[0].Value if arguments else None
        return isinstance(named, int) and not self._is_own(named)

    def _may_take(self, number: int) -> bool:
        found = self.subscription_service.subscriptions.get(number)
        if found is None:
            return True  # asyncua answers BadSubscriptionIdInvalid
        sessions = self.iserver._external_sessions.values()  # noqa: SLF001 - asyncua has no way to list them
        holders = [s for s in sessions if s.session_id == found.session_id]
        return all(
            isinstance(s, HostedSession)
            and s.user == self.user
            and s.client_certificate == self.client_certificate
            and (self.user.name is not None or s is self or bool(self.client_certificate))
            for s in holders
        )

    def _as_seen(self, asked: ua.ReadValueId, value: ua.DataValue) -> ua.DataValue:
        """Attributes that tell a user what he may do (Part 3, 5.6 and 5.7)."""
        if value.Value is None or value.Value.Value is None:
            return value
        if asked.AttributeId == AttributeIds.UserAccessLevel and not self._rights.may_write(self.user, asked.NodeId):
            level = ua.Variant(value.Value.Value & ~_WRITE_BIT, ua.VariantType.Byte)
            return ua.DataValue(level, value.StatusCode)
        if asked.AttributeId == AttributeIds.UserExecutable:
            may = bool(value.Value.Value) and self._rights.may_call(self.user, asked.NodeId)
            return ua.DataValue(ua.Variant(may, ua.VariantType.Boolean), value.StatusCode)
        return value
