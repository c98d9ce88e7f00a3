"""A session that keeps several PublishRequests at the server and decodes the responses as they arrive.

With one request outstanding a server has none to answer while the client decodes, and its queues overflow first on the
connection that is slowest. Everything else is asyncua's session.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from asyncua import ua
from asyncua.client.ua_client import UaClient
from asyncua.client.ua_session import SessionState, UaSession
from asyncua.common.shortcuts import Shortcuts

from lineside_gateway.opcua.standard import Client, StatusCodes
from lineside_gateway.opcua.wire.chunks import WireProtocol
from lineside_gateway.opcua.wire.columns import ChangeDecoder
from lineside_gateway.opcua.wire.errors import WireError
from lineside_gateway.opcua.wire.extents import Bytes
from lineside_gateway.opcua.wire.messages import Notification, Published, ServiceFaultError, published, republished
from lineside_gateway.opcua.wire.requests import PublishRequests

logger = logging.getLogger(__name__)

OUTSTANDING = 3
"""PublishRequests at the server, and one more per subscription; measured: from the third on nothing is gained."""
MOST_OUTSTANDING = 10
RETRY_S = 1.0
MAX_EARLY = 100
"""Responses kept for a subscription whose CreateSubscription answer is still under way."""
_OVER = frozenset(
    {StatusCodes.BadSessionIdInvalid, StatusCodes.BadSessionClosed, StatusCodes.BadSecureChannelIdInvalid}
)


class WireSession(UaSession):
    """asyncua's session with its own publishing; a subscription's callback is given ``Published``."""

    def __init__(self, client: WireClient) -> None:
        super().__init__(client)
        self.decoder = ChangeDecoder()
        self._wire = client
        self._requests = PublishRequests()
        self._outstanding: set[int] = set()
        self._limit = MOST_OUTSTANDING
        self._acknowledgements: list[tuple[int, int]] = []
        self._early: deque[Published] = deque(maxlen=MAX_EARLY)
        self._wanted = asyncio.Event()

    async def create_subscription(
        self, params: ua.CreateSubscriptionParameters, callback: Callable[..., Any]
    ) -> ua.CreateSubscriptionResult:
        """Create a subscription; responses that overtook this answer are delivered first."""
        result = await super().create_subscription(params, callback)
        early, self._early = self._early, deque(maxlen=MAX_EARLY)
        for found in early:
            self._deliver(found)
        self._fill()
        return result

    async def fetch_missing(self, subscription_id: int, sequence_number: int) -> list[Notification]:
        """The notifications of a message that did not arrive (Republish).

        Raises:
            WireError: The bytes that came are no such message.
            UaError: The server no longer has it.
        """
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = ua.UInt32(subscription_id)
        request.Parameters.RetransmitSequenceNumber = ua.UInt32(sequence_number)
        body = bytes(await self._send_request(request))
        return republished(body, 0, len(body), self.decoder)

    # ---- publishing

    async def _publish_loop(self) -> None:
        """Keep PublishRequests at the server until cancelled, which is how asyncua ends it.

        Requests of an earlier loop are not counted any more, since a stalled server may have lost them; an answer
        that comes after all is taken.
        """
        self._limit = MOST_OUTSTANDING
        try:
            while self._state not in (SessionState.CLOSING, SessionState.CLOSED):
                self._wanted.clear()
                self._fill()
                await self._wanted.wait()
        finally:
            self._outstanding.clear()

    def _fill(self) -> None:
        protocol = self._wire.wire
        task = self._publish_task
        if protocol is None or not self._subscription_callbacks or task is None or task.done():
            return
        wanted = min(OUTSTANDING + len(self._subscription_callbacks), self._limit)
        try:
            while len(self._outstanding) < wanted:
                acknowledgements, self._acknowledgements = self._acknowledgements, []
                body = self._requests.encode(self.authentication_token, protocol.next_handle(), acknowledgements)
                self._outstanding.add(protocol.send_publish(body))
        except ConnectionError:
            logger.debug("publishing_ends cause=connection")

    def answer(self, request: int, buf: Bytes, at: int, end: int) -> None:
        """Take the body of one publish response; called by the protocol, in the order of the wire."""
        self._outstanding.discard(request)
        if self._state in (SessionState.CLOSING, SessionState.CLOSED):
            return
        try:
            found = published(buf, at, end, self.decoder)
        except ServiceFaultError as e:
            self._refused(e.code)
            return
        except WireError as e:
            found = Published(next(iter(self._subscription_callbacks), 0), error=e.sentence)
        if found.has_data:
            self._acknowledgements.append((found.subscription_id, found.sequence_number))
        self._deliver(found)
        self._fill()

    def _deliver(self, found: Published) -> None:
        callback = self._subscription_callbacks.get(found.subscription_id)
        if callback is None:
            self._early.append(found)
            return
        try:
            callback(found)
        except Exception:  # a supervision point: whoever subscribed must not end the connection of the others
            logger.exception("publish_callback_failed subscription=%d", found.subscription_id)

    def _refused(self, code: int) -> None:
        if code == StatusCodes.BadNoSubscription:
            return  # the next CreateSubscription fills up again
        if code == StatusCodes.BadTooManyPublishRequests:
            self._limit = max(len(self._outstanding), 1)
            return
        if code in _OVER:
            status = ua.StatusChangeNotification(Status=ua.StatusCode(ua.UInt32(code)))
            for subscription_id in tuple(self._subscription_callbacks):
                self._deliver(Published(subscription_id, notifications=[status]))
            return
        pause = 0.0 if code == StatusCodes.BadTimeout else RETRY_S
        asyncio.get_running_loop().call_later(pause, self._wanted.set)


class WireClient(UaClient):
    """asyncua's low level client over ``WireProtocol`` and ``WireSession``."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.wire: WireProtocol | None = None
        self.session: WireSession = WireSession(self)

    def _make_protocol(self) -> WireProtocol:
        self.wire = self.protocol = WireProtocol(self._timeout, self.security_policy, self.session.answer)
        self.wire.pre_request_hook = self._pre_request_hook
        self.wire.on_connection_lost = self._on_transport_lost
        self.wire.is_session_closing = self._is_session_closing
        return self.wire


def wire_client(url: str, timeout_s: float, watchdog_s: float) -> Client:
    """A client of asyncua whose publish responses become columns."""
    client = Client(url, timeout=timeout_s, watchdog_intervall=watchdog_s)
    wire = WireClient(timeout_s)
    wire.pre_request_hook = client.uaclient.pre_request_hook
    client.uaclient = wire
    client.nodes = Shortcuts(wire.session)
    return client
