"""Who gets into the hosted server, and what he may do there."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.ua.uaerrors import (
    BadArgumentsMissing,
    BadInvalidArgument,
    BadMethodInvalid,
    BadTooManyArguments,
    BadUserAccessDenied,
)

from lineside_gateway.hosting import Role
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.trust import Standing, accept, entries

PASSWORD = "correct horse battery"  # noqa: S105 - of the users made here
pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED = (ua.UaError, ConnectionError, OSError, TimeoutError, asyncio.TimeoutError)


class Silent:
    """Hears data changes and does nothing."""

    def datachange_notification(self, *_: object) -> None:
        pass


async def refused(client: Client) -> str:
    """Connect, which has to fail; what the server said."""
    try:
        await client.connect()
    except REFUSED as e:
        return type(e).__name__
    await client.disconnect()
    pytest.fail("it was let in")


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"])
@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
async def test_users_come_in_over_every_policy(fortress: Any, policy: str, mode: str) -> None:
    """A user with his password comes in over each policy, signed or encrypted, and reads."""
    async with await fortress.client("viv", policy=policy, mode=mode) as client:
        assert await client.get_node(fortress.node("setpoint")).read_value() is not None


@pytest.mark.parametrize("user", ["admin", "Admin", "viv", "nobody"])
async def test_a_wrong_password_gets_nothing(fortress: Any, user: str) -> None:
    """No name comes in with a wrong password, admin least of all, nor with an empty one."""
    for password in ("wrong password", ""):
        assert await refused(await fortress.client(user, password)) in {
            "BadUserAccessDenied",
            "BadIdentityTokenInvalid",
        }
    await asyncio.sleep(2.1)


async def test_repeated_wrong_passwords_lock_the_name_out(fortress: Any) -> None:
    """After three wrong passwords the right one is refused too, another user is not, and later it works again."""
    for _ in range(3):
        await refused(await fortress.client("lou", "wrong password"))
    assert await refused(await fortress.client("lou")) == "BadUserAccessDenied"
    async with await fortress.client("viv"):
        pass
    await asyncio.sleep(2.1)
    async with await fortress.client("lou"):
        pass


async def test_roles_decide_per_node_and_per_method(fortress: Any) -> None:
    """A viewer reads only, an operator calls what is his, an engineer writes what is his; methods hear his alias."""
    setpoint, locked = fortress.node("setpoint"), fortress.node("locked")
    accept, secret = fortress.node("accept"), fortress.node("secret")
    arguments = [ua.Variant("yes", ua.VariantType.String), ua.Variant(7, ua.VariantType.UInt32)]
    may: dict[str, list[bool]] = {}
    for user in ("viv", "otto", "enna"):
        async with await fortress.client(user) as client:
            attempts = [
                client.get_node(setpoint).write_value(2.0, ua.VariantType.Double),
                client.get_node(locked).write_value(2.0, ua.VariantType.Double),
                client.nodes.objects.call_method(accept, *arguments),
                client.nodes.objects.call_method(secret, *arguments),
                client.nodes.objects.add_object(fortress.index, "Intruder"),
                client.delete_nodes([client.get_node(locked)]),
            ]
            results = [await asyncio.gather(a, return_exceptions=True) for a in attempts]
            may[user] = [not isinstance(r[0], BaseException) for r in results]
            level = await client.get_node(setpoint).get_user_access_level()
            assert (ua.AccessLevel.CurrentWrite in level) is (user == "enna")
    nothing = [False, False, False, False, False, False]
    assert may == {
        "viv": nothing,
        "otto": [False, False, True, False, False, False],
        "enna": [True, False, True, False, False, False],
    }
    assert fortress.calls == [("OTTO", ("yes", 7)), ("ENNA", ("yes", 7))]


async def test_a_removed_user_is_out_at_once(fortress: Any) -> None:
    """Who is taken out of the users file is refused at his next request, and his connection and subscription end."""
    fortress.users.add("rex", Role.ENGINEER, password=PASSWORD)
    setpoint = fortress.node("setpoint")
    client = await fortress.client("rex")
    await client.connect()
    node = client.get_node(setpoint)
    await node.write_value(3.0, ua.VariantType.Double)
    subscription = await client.create_subscription(100, Silent())
    await subscription.subscribe_data_change(node)
    watched = fortress.server.iserver.subscription_service.subscriptions
    number = subscription.subscription_id
    assert number in watched
    fortress.users.remove("rex")
    with pytest.raises((*REFUSED, asyncio.CancelledError)):
        await node.write_value(4.0, ua.VariantType.Double)
    async with asyncio.timeout(20):
        while number in watched:  # noqa: ASYNC110 - asyncua tells nobody
            await asyncio.sleep(0.05)
    with contextlib.suppress(*REFUSED):
        await client.disconnect()
    assert await refused(await fortress.client("rex")) == "BadUserAccessDenied"
    async with await fortress.client("enna") as other:
        assert await other.get_node(setpoint).read_value() != 4.0


async def test_a_role_that_is_taken_away_is_gone_from_open_sessions(fortress: Any) -> None:
    """An engineer who is made a viewer keeps his session and reads, and writes no more; a new password ends it."""
    fortress.users.add("dora", Role.ENGINEER, password=PASSWORD)
    client = await fortress.client("dora")
    await client.connect()
    node = client.get_node(fortress.node("setpoint"))
    await node.write_value(5.0, ua.VariantType.Double)
    fortress.users.add("dora", Role.VIEWER)
    with pytest.raises(BadUserAccessDenied):
        await node.write_value(6.0, ua.VariantType.Double)
    assert await node.read_value() == 5.0
    fortress.users.add("dora", Role.ENGINEER, password=f"{PASSWORD} staple")
    with pytest.raises((*REFUSED, asyncio.CancelledError)):
        await node.read_value()
    with contextlib.suppress(*REFUSED):
        await client.disconnect()


async def test_arguments_are_counted_and_typed_before_the_method_runs(fortress: Any) -> None:
    """Missing, surplus and mistyped arguments and a foreign object are named; the method never sees them."""
    fortress.calls.clear()
    accept = fortress.node("accept")
    text, number = ua.Variant("yes", ua.VariantType.String), ua.Variant(7, ua.VariantType.UInt32)
    async with await fortress.client("otto") as client:
        call = client.nodes.objects.call_method
        with pytest.raises(BadArgumentsMissing):
            await call(accept, text)
        with pytest.raises(BadTooManyArguments):
            await call(accept, text, number, number)
        for wrong in (
            ua.Variant("7", ua.VariantType.String),
            ua.Variant(7, ua.VariantType.Int64),
            ua.Variant([7], ua.VariantType.UInt32),
            ua.Variant(None, ua.VariantType.Null),
        ):
            with pytest.raises(BadInvalidArgument):
                await call(accept, text, wrong)
        with pytest.raises(BadMethodInvalid):
            await client.nodes.server.call_method(accept, text, number)
    assert fortress.calls == []


async def test_users_come_in_with_a_certificate(fortress: Any, tmp_path: Path) -> None:
    """A user whose certificate is in the users file comes in with his role; one with a stranger's does not."""
    known, strange = Pki(tmp_path / "known", "known"), Pki(tmp_path / "strange", "strange")
    from lineside_gateway.hosting import Role

    fortress.users.add("cert", Role.OPERATOR, certificate=known.own()[0].read_bytes())
    async with await fortress.client(certificate=known.own()[0], policy="Aes256Sha256RsaPss") as client:
        await client.nodes.objects.call_method(
            fortress.node("accept"), ua.Variant("c", ua.VariantType.String), ua.Variant(1, ua.VariantType.UInt32)
        )
    assert fortress.calls.pop() == ("CERT", ("c", 1))
    assert await refused(await fortress.client(certificate=strange.own()[0])) == "BadUserAccessDenied"
    fortress.users.remove("cert")
    assert await refused(await fortress.client(certificate=known.own()[0])) == "BadUserAccessDenied"


async def test_an_unknown_application_is_kept_out_until_it_is_trusted(
    fortress: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown certificate is refused and lands in pki/rejected with one sentence; trusting it lets it in."""
    stranger = Pki(tmp_path / "stranger", "stranger")
    for _ in range(2):
        await refused(await fortress.client("viv", pki=stranger))
    told = [r.getMessage() for r in caplog.records if "client_rejected" in r.getMessage()]
    assert len(told) == 1
    assert "lineside trust" in told[0]
    pki = Pki(fortress.folder / "pki", "fortress")
    (rejected,) = entries(pki, Standing.REJECTED)
    accept(pki, rejected.fingerprint[:8])
    async with await fortress.client("viv", pki=stranger):
        pass


async def test_unsecured_channels_are_for_discovery_only(fortress: Any) -> None:
    """Without a policy a client learns the endpoints, none of them unsecured or anonymous, and gets no session."""
    client = await fortress.client(policy="")
    endpoints = await client.connect_and_get_server_endpoints()
    assert {e.SecurityMode.name for e in endpoints} == {"Sign", "SignAndEncrypt"}
    assert {t.TokenType.name for e in endpoints for t in e.UserIdentityTokens} == {"UserName", "Certificate"}
    for user in ("", "viv"):
        client = await fortress.client(policy="")
        await client.connect_socket()
        try:
            await client.send_hello()
            await client.open_secure_channel()
            with pytest.raises(ua.uaerrors.BadSecurityPolicyRejected):
                await client.uaclient.create_session(ua.CreateSessionParameters(RequestedSessionTimeout=1000))
        finally:
            client.disconnect_socket()
        del user


async def test_anonymous_is_refused_where_it_is_not_configured(fortress: Any) -> None:
    """A trusted application without a user is refused."""
    assert await refused(await fortress.client()) == "BadIdentityTokenRejected"


async def test_the_gateway_may_look_at_itself(fortress: Any) -> None:
    """The holder of the gateway's own key comes in as a viewer."""
    from lineside_gateway.opcua.security import as_the_gateway
    from lineside_gateway.settings import SecurityPolicy

    client = Client(fortress.endpoint)
    await as_the_gateway(client, Pki(fortress.folder / "pki", "fortress"), SecurityPolicy.AES256)
    async with client:
        with pytest.raises(BadUserAccessDenied):
            await client.get_node(fortress.node("setpoint")).write_value(2.0, ua.VariantType.Double)
