"""A hosted server behind certificates and users, and clients that come to it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.crypto import security_policies
from asyncua.server.server import Server

from lineside_gateway.hosting import Access, Limits, Rights, Role, current_user, hosting_server
from lineside_gateway.hosting.users import UsersFile
from lineside_gateway.opcua.security import Pki

PASSWORD = "correct horse battery"  # noqa: S105 - of the users made here
POLICIES = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128Sha256RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}


@dataclass
class Fortress:
    """A server with a writable node for engineers and methods for operators; ``calls`` notes who called."""

    server: Server
    folder: Path
    index: int
    client_pki: Pki
    calls: list[tuple[str | None, object]]

    @property
    def endpoint(self) -> str:
        assert self.server.bserver is not None
        return f"opc.tcp://127.0.0.1:{self.server.bserver.port}/fortress"

    @property
    def users(self) -> UsersFile:
        return UsersFile(self.folder / "users.yaml")

    def node(self, name: str) -> ua.NodeId:
        return ua.NodeId(name, self.index)

    async def client(
        self, user: str = "", password: str = PASSWORD, *, policy: str = "Basic256Sha256", mode: str = "SignAndEncrypt",
        pki: Pki | None = None, certificate: Path | None = None,
    ) -> Client:  # fmt: skip
        """A client that has not connected; without ``policy`` unsecured, without ``user`` anonymous."""
        client = Client(self.endpoint, timeout=20, watchdog_intervall=60)
        mine = pki or self.client_pki
        if policy:
            own, key = mine.own()
            client.application_uri = mine.application_uri
            server = self.folder / "pki" / "own" / "certificate.der"
            await client.set_security(
                POLICIES[policy], own, key, server_certificate=server, mode=getattr(ua.MessageSecurityMode, mode)
            )
        if user:
            client.set_user(user)
            client.set_password(password)
        if certificate is not None:
            await client.load_client_certificate(str(certificate))
            await client.load_private_key(str(certificate.with_name("key.pem")))
        return client


async def build(access: Access) -> tuple[Server, Rights, int, list[tuple[str | None, object]]]:
    """A started server with ``setpoint``, ``locked`` and the methods ``accept`` and ``secret``."""
    rights, calls = Rights(), []
    server = hosting_server(access, rights)
    await server.init()
    if access.pki is not None:
        await server.set_application_uri(access.pki.application_uri)
    server.set_endpoint("opc.tcp://127.0.0.1:0/fortress")
    index = await server.register_namespace("urn:fortress")
    objects = server.nodes.objects
    for name in ("setpoint", "locked"):
        node = await objects.add_variable(ua.NodeId(name, index), name, 1.0, ua.VariantType.Double)
        await node.set_writable()

    async def accept(_parent: ua.NodeId, text: ua.Variant, number: ua.Variant) -> list[ua.Variant]:
        user = current_user()
        calls.append(((user.shown or user.name) if user else None, (text.Value, number.Value)))
        return [ua.Variant(True, ua.VariantType.Boolean)]

    for name in ("accept", "secret"):
        inputs = [ua.VariantType.String, ua.VariantType.UInt32]
        await objects.add_method(ua.NodeId(name, index), name, accept, inputs, [ua.VariantType.Boolean])
    rights.allow_write(ua.NodeId("setpoint", index), Role.ENGINEER)
    rights.allow_call(ua.NodeId("accept", index), Role.OPERATOR)
    await server.start()
    return server, rights, index, calls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fortress(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fortress]:
    """Certificates and users only: viv may view, otto operates, enna is an engineer."""
    folder = tmp_path_factory.mktemp("fortress")
    pki, mine = Pki(folder / "pki", "fortress"), Pki(folder / "client", "client")
    users = UsersFile(folder / "users.yaml")
    for name, role in (("viv", Role.VIEWER), ("otto", Role.OPERATOR), ("enna", Role.ENGINEER), ("lou", Role.VIEWER)):
        users.add(name, role, password=PASSWORD)
    (folder / "pki" / "trusted").mkdir(parents=True)
    shutil.copy(mine.own()[0], folder / "pki" / "trusted" / "client.der")
    access = Access(
        anonymous=False,
        pki=pki,
        users=users.path,
        attempts=3,
        lockout_s=2.0,
        alias=str.upper,
        limits=Limits(activation_timeout_s=10.0),
    )
    server, _, index, calls = await build(access)
    yield Fortress(server, folder, index, mine, calls)
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fortress]:
    """Anonymous readers over an unsecured channel and nothing else."""
    folder = tmp_path_factory.mktemp("open")
    access = Access(limits=Limits(activation_timeout_s=1.0, pending_per_address=8))
    server, _, index, calls = await build(access)
    yield Fortress(server, folder, index, Pki(folder / "client", "client"), calls)
    await server.stop()
