"""The session: trust is checked, nothing weaker is used, loss is noticed, the server's session is closed."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asyncua import Server, ua
from asyncua.client.ua_client import UaClientState
from asyncua.crypto import cert_gen
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from lineside_gateway.errors import ConnectError, CredentialsError, TrustError
from lineside_gateway.opcua.monitoring import Item
from lineside_gateway.opcua.nodes import resolve
from lineside_gateway.opcua.publishing import SequenceNumbers, restart_publishing
from lineside_gateway.opcua.session import LinkState, Session
from lineside_gateway.opcua.subscription import TagSubscription

URI = "urn:test:secured"
EPOCH = datetime(2026, 1, 5, 6, tzinfo=UTC)
SECURE = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]


class OneUser(UserManager):
    def get_user(self, iserver, username=None, password=None, certificate=None):  # noqa: ARG002  # asyncua's signature
        return User(role=UserRole.User, name=username) if (username, password) == ("op", "right") else None


def make_certificate(folder: Path, uri: str) -> tuple[Path, Path]:
    key = cert_gen.generate_private_key()
    names = [x509.UniformResourceIdentifier(uri), x509.DNSName("localhost")]
    made = cert_gen.generate_self_signed_app_certificate(
        key, "test", {}, names, extended=[ExtendedKeyUsageOID.SERVER_AUTH]
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.pem").write_bytes(cert_gen.dump_private_key_as_pem(key))
    (folder / "cert.der").write_bytes(made.public_bytes(serialization.Encoding.DER))
    return folder / "cert.der", folder / "key.pem"


@pytest.fixture(scope="module")
def identity(tmp_path_factory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("server"), URI)


@contextlib.asynccontextmanager
async def secured(bench, identity, policies=SECURE, users=None):
    """A server with its own certificate; gives its URL and certificate."""
    certificate, key = identity
    server = Server(user_manager=users)
    await server.init()
    await server.set_application_uri(URI)
    url = f"opc.tcp://127.0.0.1:{bench.free_port()}"
    server.set_endpoint(url)
    server.set_security_policy(policies)
    await server.load_certificate(str(certificate))
    await server.load_private_key(str(key))
    async with server:
        yield url, certificate, server


async def test_an_untrusted_server_is_refused_until_its_certificate_is_moved(bench, identity):
    """The rejected certificate is kept and the sentence says where to move it; then the session is encrypted."""
    async with secured(bench, identity) as (url, *_):
        server = bench.server(url, security={"policy": "Basic256Sha256"})
        with pytest.raises(TrustError, match="is not trusted; compare it, then move") as caught:
            async with Session(server, bench.pki).connect():
                pytest.fail("connected to a server that nobody trusts")
        (rejected,) = (bench.pki.folder / "rejected").iterdir()
        assert str(rejected) in caught.value.sentence
        (bench.pki.folder / "trusted").mkdir()
        rejected.rename(bench.pki.folder / "trusted" / rejected.name)
        async with Session(server, bench.pki).connect() as connection:
            assert connection.client.security_policy.Mode is ua.MessageSecurityMode.SignAndEncrypt
        key = bench.pki.folder / "own" / "key.pem"
        assert key.stat().st_mode & 0o077 == 0


async def test_security_is_never_lowered(bench, identity):
    """A server that does not offer what the settings ask for is refused, and the sentence says what it offers."""
    async with secured(bench, identity) as (url, certificate, _):
        security = {"policy": "Aes256Sha256RsaPss", "trust": [certificate]}
        with pytest.raises(
            TrustError, match=r"does not offer Aes256Sha256RsaPss/SignAndEncrypt; it offers .*Basic256Sha256"
        ):
            async with Session(bench.server(url, security=security), bench.pki).connect():
                pytest.fail("connected with another policy than asked for")
        with pytest.raises(TrustError, match=r"no endpoint with security policy None; set one it has"):
            async with Session(bench.server(url), bench.pki).connect():
                pytest.fail("connected without security")
    plain = await bench.plc("A1", {"Vib": 1.0})
    with pytest.raises(TrustError, match="it offers None/None"):
        async with Session(bench.server(plain.url, security={"policy": "Basic256Sha256"}), bench.pki).connect():
            pytest.fail("connected without security")


async def test_a_wrong_password_is_said_and_a_right_one_connects(bench, identity, tmp_path):
    """A refused user is no network problem: the sentence names the user, and the link is in state refused."""
    policies = [ua.SecurityPolicyType.NoSecurity, *SECURE]
    async with secured(bench, identity, policies, OneUser()) as (url, certificate, _):
        (tmp_path / "password").write_text("wrong\n")
        security = {
            "policy": "Basic256Sha256", "trust": [certificate], "user": "op", "password_file": tmp_path / "password",
        }  # fmt: skip
        session = Session(bench.server(url, security=security), bench.pki)
        with pytest.raises(CredentialsError, match="refuses user 'op'"):
            async with session.connect():
                pytest.fail("connected with a wrong password")
        connected = asyncio.Event()

        async def serve(_connection):
            connected.set()
            await asyncio.sleep(60)

        bench.start(session.run(serve))
        await bench.until(lambda: session.state is LinkState.REFUSED)
        (tmp_path / "password").write_text("right\n")
        await bench.until(connected.is_set)
        assert session.error is None


async def test_the_session_is_closed_on_exit(bench):
    """A gateway that stops leaves no session behind: an S7-1200 has ten of them."""
    plc = await bench.plc("A1", {"Vib": 1.0})
    known = plc.endpoint.server.iserver.lookup_external_session
    async with Session(bench.server(plc.url), bench.pki).connect() as connection:
        token = connection.client.uaclient.session.authentication_token
        assert known(token) is not None
    await bench.until(lambda: known(token) is None)


@contextlib.asynccontextmanager
async def encrypted_counter(bench, identity):
    """An encrypted connection, subscribed to a counter; gives the connection, the server and how to count on."""
    async with secured(bench, identity) as (url, certificate, server):
        root = await server.nodes.objects.add_object(ua.NodeId("A1", 1), "1:A1")
        node = await root.add_variable(ua.NodeId("A1.Count", 1), "1:Count", 0.0)

        async def count(value: float) -> None:
            stamp = EPOCH + timedelta(seconds=value)
            await server.write_attribute_value(
                node.nodeid, ua.DataValue(ua.Variant(value), SourceTimestamp=stamp, ServerTimestamp=stamp)
            )

        security = {"policy": "Basic256Sha256", "trust": [certificate]}
        plan = bench.plan(url, {"Count": "Count"}, security=security)
        async with Session(plan.server, bench.pki).connect() as connection:
            subscription = TagSubscription(connection, bench.sink)
            await subscription.open()
            (equipment,) = await resolve(connection, plan.equipment)
            await subscription.watch([Item(n.node_id, tag=n) for n in equipment.tags.values()])
            await bench.until(lambda: bench.sink.values("A1", "Count"))
            yield connection, server, count


async def test_new_keys_are_taken_into_use_while_values_flow(bench, identity):
    """The channel is renewed again and again, and what was sealed under the keys before is still taken."""
    async with encrypted_counter(bench, identity) as (connection, server, count):
        (served,) = server.bserver.clients
        tokens = set()
        for k in range(1, 10):
            await count(float(k))
            if k % 3 == 0:
                await connection.client.open_secure_channel(renew=True)
                connection.client.uaclient.revolve_security_token()
            tokens.add(served.processor._connection.security_token.TokenId)  # noqa: SLF001  # the server from inside
            await bench.until(lambda k=k: bench.sink.values("A1", "Count")[-1] == k)
        assert len(tokens) >= 3
        assert bench.sink.values("A1", "Count") == [float(k) for k in range(10)]


@pytest.mark.parametrize("what", ["changed", "sent twice"])
async def test_an_encrypted_chunk_that_was_tampered_with_ends_the_connection(bench, identity, monkeypatch, what):
    """One bit changed on the line, or a chunk that comes a second time: nothing of it is taken."""
    async with encrypted_counter(bench, identity) as (connection, server, count):
        (served,) = server.bserver.clients
        write = served.transport.write

        def tamper(data: bytes) -> None:
            if what == "changed":
                place = len(data) // 2
                data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            else:
                data += data
            write(data)

        monkeypatch.setattr(served.transport, "write", tamper, raising=False)
        await count(1.0)
        await bench.until(lambda: connection.client.uaclient.state is not UaClientState.CONNECTED)
        assert bench.sink.values("A1", "Count") == ([0.0] if what == "changed" else [0.0, 1.0])


async def test_a_name_that_does_not_resolve(bench):
    """A wrong host name is one sentence with the next step."""
    with pytest.raises(ConnectError, match=r"cannot be reached.*check url and network"):
        async with Session(bench.server("opc.tcp://no-such-host.invalid:4840"), bench.pki).connect():
            pytest.fail("connected to nowhere")


async def test_a_port_that_speaks_something_else(bench):
    """A server of another protocol gives a sentence within the time-out, not a hang."""

    async def answer(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with other:
        with pytest.raises(ConnectError, match=f"opc.tcp://127.0.0.1:{port}"):
            async with Session(bench.server(f"opc.tcp://127.0.0.1:{port}", request_timeout_s=1), bench.pki).connect():
                pytest.fail("connected to a web server")


async def test_the_publish_loop_can_be_restarted(bench):
    """The cure for asyncua's hung publish loop works with the asyncua installed: data flow on after it."""
    plc = await bench.plc("A1", {"Vib": 1.0})
    plan = bench.plan(plc.url, {"Vib": "Vib"})
    async with Session(plan.server, bench.pki).connect() as connection:
        subscription = TagSubscription(connection, bench.sink)
        await subscription.open()
        (equipment,) = await resolve(connection, plan.equipment)
        await subscription.watch([Item(n.node_id, tag=n) for n in equipment.tags.values()])
        await bench.until(lambda: bench.sink.values("A1", "Vib"))
        before = {t for t in asyncio.all_tasks() if "Session._publish_loop" in repr(t.get_coro())}
        await restart_publishing(connection.client)
        after = {t for t in asyncio.all_tasks() if "Session._publish_loop" in repr(t.get_coro())}
        assert before
        assert after
        assert not before & after
        bench.start(subscription.guard(30))
        for k in range(5):
            await plc.write("Vib", 2.0 + k, at_s=k)
            await bench.until(lambda k=k: 2.0 + k in bench.sink.values("A1", "Vib"))
        assert subscription.counters.sequence_gaps == 0  # what the former loop had asked for is taken all the same


def test_sequence_numbers_find_what_never_came():
    """A gap gives the missing numbers, a keep-alive announces the next one, and the count wraps to 1."""
    numbers = SequenceNumbers()
    assert numbers.check(7, has_data=True) == []
    assert numbers.check(8, has_data=False) == []
    assert numbers.check(8, has_data=True) == []
    assert numbers.check(11, has_data=True) == [9, 10]
    assert numbers.check(13, has_data=False) == [12]
    assert numbers.check(13, has_data=True) == []
    wrapping = SequenceNumbers()
    assert wrapping.check(2**32 - 1, has_data=True) == []
    assert wrapping.check(2, has_data=True) == [1]
    assert wrapping.check(1, has_data=True) == [1], "a count that starts anew is one gap, not four thousand million"


async def test_waits_grow_and_vary(bench):
    """Attempts at a server that is down become rarer, within their bounds, and do not keep step."""
    session = Session(bench.server(f"opc.tcp://127.0.0.1:{bench.free_port()}"), bench.pki)
    waits = [session.wait_s(n) for n in range(12)]
    low, high = session.server.reconnect_min_s, session.server.reconnect_max_s
    assert low * 0.8 <= waits[0] <= low * 1.2
    assert all(high * 0.8 <= w <= high * 1.2 for w in waits[4:])
    assert len(set(waits)) == len(waits)
