"""The requests of one connection: which channel, which session, which user, and only then asyncua's services."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import Buffer, ServiceError
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from cryptography.exceptions import InvalidSignature

from lineside_gateway.hosting.limits import Limits
from lineside_gateway.hosting.roles import HostedUser, acting_as
from lineside_gateway.hosting.sessions import NONCE_BYTES, HostedSession

if TYPE_CHECKING:
    import asyncio

    from lineside_gateway.hosting.internals import HostedInternals

logger = logging.getLogger(__name__)

SMALLEST_BUFFER = 8_192  # OPC UA Part 6, 7.1.2.3
LONGEST_CHANNEL_MS = 3_600_000

_I = ObjectIds
_DISCOVERY = {
    _I.GetEndpointsRequest_Encoding_DefaultBinary,
    _I.FindServersRequest_Encoding_DefaultBinary,
}
_SERVICES = {
    _I.ReadRequest_Encoding_DefaultBinary,
    _I.WriteRequest_Encoding_DefaultBinary,
    _I.CallRequest_Encoding_DefaultBinary,
    _I.BrowseRequest_Encoding_DefaultBinary,
    _I.TranslateBrowsePathsToNodeIdsRequest_Encoding_DefaultBinary,
    _I.RegisterNodesRequest_Encoding_DefaultBinary,
    _I.UnregisterNodesRequest_Encoding_DefaultBinary,
    _I.HistoryReadRequest_Encoding_DefaultBinary,
    _I.CreateSubscriptionRequest_Encoding_DefaultBinary,
    _I.ModifySubscriptionRequest_Encoding_DefaultBinary,
    _I.DeleteSubscriptionsRequest_Encoding_DefaultBinary,
    _I.TransferSubscriptionsRequest_Encoding_DefaultBinary,
    _I.CreateMonitoredItemsRequest_Encoding_DefaultBinary,
    _I.ModifyMonitoredItemsRequest_Encoding_DefaultBinary,
    _I.DeleteMonitoredItemsRequest_Encoding_DefaultBinary,
    _I.SetMonitoringModeRequest_Encoding_DefaultBinary,
    _I.SetPublishingModeRequest_Encoding_DefaultBinary,
    _I.PublishRequest_Encoding_DefaultBinary,
    _I.RepublishRequest_Encoding_DefaultBinary,
    _I.CloseSessionRequest_Encoding_DefaultBinary,
}
_NODE_MANAGEMENT = {
    _I.AddNodesRequest_Encoding_DefaultBinary,
    _I.DeleteNodesRequest_Encoding_DefaultBinary,
    _I.AddReferencesRequest_Encoding_DefaultBinary,
    _I.DeleteReferencesRequest_Encoding_DefaultBinary,
    _I.HistoryUpdateRequest_Encoding_DefaultBinary,
}


class HostedProcessor(UaProcessor):
    """One connection's secure channel and session. A frame at a time; raising ends the connection."""

    iserver: HostedInternals
    session: HostedSession | None

    def __init__(
        self, internal_server: HostedInternals, transport: asyncio.Transport, transport_limits: TransportLimits,
        limits: Limits,
    ) -> None:  # fmt: skip
        super().__init__(internal_server, transport, transport_limits)
        self._bounds = limits

    @property
    def active(self) -> bool:
        """Whether the connection has an activated session."""
        return self.session is not None and self.session.is_activated()

    @property
    def peer(self) -> str:
        """The client's address."""
        return str(self.name[0]) if self.name else ""

    # ---- transport and channel

    async def process(self, header: ua.Header, body: Buffer) -> bool:
        """Carry out one chunk; False ends the connection.

        Raises:
            UaError: The chunk breaks the rules of transport or channel; the caller ends the connection.
        """
        kind, chunk = cast("bytes", header.MessageType), cast("bytes", header.ChunkType)
        if kind == ua.MessageType.Hello:
            self._check_hello(struct_from_binary(ua.Hello, body.copy()))
        elif kind != ua.MessageType.SecureOpen and not self._connection.is_open():
            raise ServiceError(StatusCodes.BadSecureChannelClosed)
        if not self.active and chunk != ua.ChunkType.Single:
            raise ServiceError(StatusCodes.BadTcpMessageTooLarge)
        return bool(await super().process(header, body))  # type: ignore[no-untyped-call]  # untyped in asyncua

    def _check_hello(self, hello: ua.Hello) -> None:
        """A client with tiny buffers would have its answers cut into as many chunks as bytes."""
        if min(hello.ReceiveBufferSize, hello.SendBufferSize) < SMALLEST_BUFFER:
            raise ServiceError(StatusCodes.BadTcpInternalError)

    def open_secure_channel(self, algohdr: Any, seqhdr: Any, body: Buffer) -> None:
        """Open or renew the channel; what is asked must be what an endpoint offers, or None for discovery."""
        request = struct_from_binary(ua.OpenSecureChannelRequest, body.copy())
        asked = request.Parameters
        renewing = asked.RequestType == ua.SecurityTokenRequestType.Renew
        if renewing != self._connection.is_open():
            raise ServiceError(StatusCodes.BadTcpSecureChannelUnknown)
        secured = asked.SecurityMode != ua.MessageSecurityMode.None_
        if secured and len(asked.ClientNonce or b"") < NONCE_BYTES:
            raise ServiceError(StatusCodes.BadNonceInvalid)
        super().open_secure_channel(algohdr, seqhdr, body)  # type: ignore[no-untyped-call]  # untyped in asyncua
        token = self._connection.next_security_token if renewing else self._connection.security_token
        token.RevisedLifetime = ua.UInt32(min(token.RevisedLifetime, LONGEST_CHANNEL_MS))

    def send_response(self, *args: Any, **kwargs: Any) -> None:
        """Send; a client that lets too much pile up unread loses its connection."""
        super().send_response(*args, **kwargs)  # type: ignore[no-untyped-call]  # untyped in asyncua
        self._cut_where_unread()

    def _cut_where_unread(self) -> None:
        if self._transport.get_write_buffer_size() > self._bounds.unsent_bytes:
            self.cut("it does not read its answers")

    # ---- sessions and services

    async def _process_message(self, typeid: ua.NodeId, requesthdr: Any, seqhdr: Any, body: Buffer) -> Any:
        service = typeid.Identifier if typeid.NamespaceIndex == 0 else None
        if service == _I.CloseSecureChannelRequest_Encoding_DefaultBinary:
            return False
        if service in _DISCOVERY:
            return await self._asyncua(typeid, requesthdr, seqhdr, body)
        if self._security not in self.iserver.offered:
            raise ServiceError(StatusCodes.BadSecurityPolicyRejected)
        if service == _I.CreateSessionRequest_Encoding_DefaultBinary:
            return await self._create_session(typeid, requesthdr, seqhdr, body)
        if service == _I.ActivateSessionRequest_Encoding_DefaultBinary:
            return await self._activate_session(requesthdr, seqhdr, body)
        session = self.session
        if session is None or session.closed or session.auth_token != requesthdr.AuthenticationToken:
            raise ServiceError(StatusCodes.BadSessionIdInvalid)
        if not session.is_activated():
            raise ServiceError(StatusCodes.BadSessionNotActivated)
        user = self.iserver.logins.present(session.user)
        if user is None:  # taken out of the users file since he came in
            raise ServiceError(StatusCodes.BadUserAccessDenied)
        session.user = user
        if service in _NODE_MANAGEMENT:
            raise ServiceError(StatusCodes.BadUserAccessDenied)
        if service not in _SERVICES:
            raise ServiceError(StatusCodes.BadServiceUnsupported)
        acting_as(session.user if isinstance(session.user, HostedUser) else None)
        if service == _I.BrowseRequest_Encoding_DefaultBinary:
            return await self._browse(session, requesthdr, seqhdr, body)
        return await self._asyncua(typeid, requesthdr, seqhdr, body)

    async def _asyncua(self, *request: Any) -> Any:
        return await super()._process_message(*request)  # type: ignore[no-untyped-call]  # untyped in asyncua

    @property
    def _security(self) -> tuple[str, ua.MessageSecurityMode]:
        policy = self._connection.security_policy
        return policy.URI, policy.Mode

    async def _browse(self, session: HostedSession, requesthdr: Any, seqhdr: Any, body: Buffer) -> bool:
        """Answer a Browse from a thread of its own: thousands of references take a second to find and to encode."""
        params = struct_from_binary(ua.BrowseParameters, body)
        response = ua.BrowseResponse()
        response.ResponseHeader.RequestHandle = requesthdr.RequestHandle
        response.Results = await session.browse(params)
        size = sum(len(r.References) for r in response.Results)
        data = await self.iserver.aside(struct_to_binary, response, size)
        self._transport.write(self._connection.message_to_binary(data, request_id=seqhdr.RequestId))
        self._cut_where_unread()
        return True

    async def _create_session(self, typeid: ua.NodeId, requesthdr: Any, seqhdr: Any, body: Buffer) -> Any:
        if self.session is not None and not self.session.closed:
            raise ServiceError(StatusCodes.BadTooManySessions)
        if self.iserver.session_count >= self._bounds.sessions:
            raise ServiceError(StatusCodes.BadTooManySessions)
        policy = self._connection.security_policy
        if policy.Mode != ua.MessageSecurityMode.None_:
            asked = struct_from_binary(ua.CreateSessionParameters, body.copy())
            if not (asked.ClientCertificate or b"").startswith(policy.peer_certificate or b"\x00"):
                raise ServiceError(StatusCodes.BadCertificateInvalid)
            if len(asked.ClientNonce or b"") < NONCE_BYTES:
                raise ServiceError(StatusCodes.BadNonceInvalid)
        result = await self._asyncua(typeid, requesthdr, seqhdr, body)
        assert self.session is not None  # noqa: S101 - asyncua has just made it
        self.session.owner = self
        self.session.client_certificate = policy.peer_certificate
        self.session.security = self._security
        return result

    async def _activate_session(self, requesthdr: Any, seqhdr: Any, body: Buffer) -> bool:
        """Let a user in, on this connection's session or on one whose connection was lost (Part 4, 5.7.3).

        Raises:
            ServiceError: No such session, not the client that made it, or not a user who may come in.
        """
        params = struct_from_binary(ua.ActivateSessionParameters, body)
        session = self.session or self.iserver.lookup_external_session(requesthdr.AuthenticationToken)
        if not isinstance(session, HostedSession) or session.closed:
            raise ServiceError(StatusCodes.BadSessionIdInvalid)
        if session.auth_token != requesthdr.AuthenticationToken:
            raise ServiceError(StatusCodes.BadSessionIdInvalid)
        policy = self._connection.security_policy
        if (session.client_certificate, session.security) != (policy.peer_certificate, self._security):
            raise ServiceError(StatusCodes.BadSecurityChecksFailed)
        try:
            challenge = (policy.host_certificate or b"") + (session.nonce or b"")
            signature = params.ClientSignature.Signature
            policy.asymmetric_cryptography.verify(challenge, signature)  # type: ignore[no-untyped-call]  # untyped
        except InvalidSignature as e:
            raise ServiceError(StatusCodes.BadApplicationSignatureInvalid) from e
        user = await self.iserver.identify(session, params, self._security, self.peer)
        if session.closed:
            raise ServiceError(StatusCodes.BadSessionIdInvalid)
        if session.owner is not self and session.is_activated() and session.user.name != user.name:
            raise ServiceError(StatusCodes.BadIdentityChangeNotSupported)
        if session.owner is not self:
            self._take_over(session)
        response = ua.ActivateSessionResponse()
        response.Parameters = session.admit(user, len(params.ClientSoftwareCertificates or ()))
        self.send_response(requesthdr.RequestHandle, seqhdr, response)
        return True

    def _take_over(self, session: HostedSession) -> None:
        """Answer on this connection what the session's subscriptions have to say."""
        session.owner = self
        self.session = session
        for subscription in self.iserver.subscription_service.subscriptions.values():
            if subscription.session_id == session.session_id:
                subscription.pub_result_callback = self.forward_publish_response
                subscription.pub_request_callback = self.get_publish_request  # type: ignore[assignment]  # ids are ints

    def cut(self, cause: str) -> None:
        """End the connection now."""
        logger.warning("client_cut peer=%s cause=%s", self.peer, cause)
        self._transport.abort()

    async def close(self) -> None:
        """End with the connection, and with it the session unless another connection has taken it over."""
        if self.session is not None and self.session.owner is not self:
            self.session = None
        await super().close()  # type: ignore[no-untyped-call]  # untyped in asyncua
