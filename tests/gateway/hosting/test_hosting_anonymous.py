"""What anonymous clients may do where they are let in, and how sessions are kept apart."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.ua.uaerrors import BadIdentityTokenRejected, BadUserAccessDenied

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_anonymous_readers_only_read(open_house: Any) -> None:
    """An anonymous client reads and subscribes; it cannot write, call, or come with a user name."""
    async with await open_house.client(policy="") as client:
        assert await client.get_node(open_house.node("setpoint")).read_value() == 1.0
        for attempt in (
            client.get_node(open_house.node("setpoint")).write_value(2.0, ua.VariantType.Double),
            client.nodes.objects.call_method(
                open_house.node("accept"), ua.Variant("x", ua.VariantType.String), ua.Variant(1, ua.VariantType.UInt32)
            ),
        ):
            with pytest.raises(BadUserAccessDenied):
                await attempt
    client = Client(open_house.endpoint)
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        token = ua.UserNameIdentityToken(PolicyId="username", UserName="admin", Password=b"x")
        with pytest.raises(BadIdentityTokenRejected):
            await client.uaclient.activate_session(ua.ActivateSessionParameters(UserIdentityToken=token))
    finally:
        client.disconnect_socket()


async def test_a_session_is_not_taken_by_guessing(open_house: Any) -> None:
    """Authentication tokens are 32 random bytes; a request with another token has no session."""
    async with await open_house.client(policy="") as one, await open_house.client(policy="") as two:
        mine, other = (c.uaclient.session.authentication_token for c in (one, two))
        assert len(mine.Identifier) == 32
        assert mine != other
        two.uaclient.protocol.authentication_token = ua.NodeId(b"x" * 32)
        with pytest.raises(ua.uaerrors.BadSessionIdInvalid):
            await two.get_node("i=2259").read_value()
        two.uaclient.protocol.authentication_token = other


async def test_subscriptions_belong_to_their_session(open_house: Any) -> None:
    """Another session's subscription cannot be deleted, fed with items, published from or taken over."""
    async with await open_house.client(policy="") as one, await open_house.client(policy="") as two:
        params = ua.CreateSubscriptionParameters(100.0, 3000, 50, 0, True, 0)
        created = await one.uaclient.create_subscription(params, lambda _result: None)
        number = created.SubscriptionId
        (deleted,) = await two.uaclient.delete_subscriptions([number])
        assert deleted.name == "BadSubscriptionIdInvalid"
        item = ua.MonitoredItemCreateRequest(ua.ReadValueId(open_house.node("setpoint"), ua.AttributeIds.Value))
        with pytest.raises(ua.uaerrors.BadSubscriptionIdInvalid):
            await two.uaclient.create_monitored_items(
                ua.CreateMonitoredItemsParameters(number, ua.TimestampsToReturn.Both, [item])
            )
        request = ua.TransferSubscriptionsParameters([number], True)
        (taken,) = await two.uaclient.session.transfer_subscriptions(request)
        assert taken.StatusCode.name == "BadUserAccessDenied"
        assert number in open_house.server.iserver.subscription_service.subscriptions


async def test_requests_are_bounded(open_house: Any) -> None:
    """A read of more nodes than allowed, or of none, is refused as a whole."""
    async with await open_house.client(policy="") as client:
        node = client.get_node(open_house.node("setpoint"))
        with pytest.raises(ua.uaerrors.BadTooManyOperations):
            await client.read_attributes([node] * 1001, ua.AttributeIds.Value)
        with pytest.raises(ua.uaerrors.BadNothingToDo):
            await client.read_attributes([], ua.AttributeIds.Value)
