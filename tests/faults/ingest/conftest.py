"""Rigs of the fault matrix, for each security policy, and the table of recovery times."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua.crypto import cert_gen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.nodes import WantedEquipment
from lineside_gateway.opcua.plan import ServerPlan
from lineside_gateway.opcua.security import Pki
from lineside_gateway.settings import EquipmentSettings, ServerSettings
from tests.faults.ingest.books import Books
from tests.faults.ingest.counters import CounterProcess
from tests.faults.ingest.proxy import Proxy
from tests.faults.ingest.rig import Rig


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of the server."""
    folder = tmp_path_factory.mktemp("identity")
    key = cert_gen.generate_private_key()
    names = [x509.UniformResourceIdentifier("urn:lineside:test:server"), x509.DNSName("localhost")]
    made = cert_gen.generate_self_signed_app_certificate(
        key, "counters", {}, names, extended=[ExtendedKeyUsageOID.SERVER_AUTH]
    )
    (folder / "key.pem").write_bytes(cert_gen.dump_private_key_as_pem(key))
    (folder / "cert.der").write_bytes(made.public_bytes(serialization.Encoding.DER))
    return folder / "cert.der", folder / "key.pem"


@pytest.fixture(params=["None", "Basic256Sha256"])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def new_rig(tmp_path: Path, policy: str, identity: tuple[Path, Path]) -> AsyncIterator[Callable[..., Any]]:
    """Makes a rig; ``addresses`` are extra tags, ``options`` the counter server's."""
    rigs: list[Rig] = []

    async def make(
        server_settings: dict[str, Any] | None = None,
        addresses: dict[str, str] | None = None,
        run: bool = True,
        **options: Any,
    ) -> Rig:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        secured = {"certificate": str(identity[0]), "key": str(identity[1])} if policy != "None" else {}
        options = {"tags": 20, "port": port, "log": str(tmp_path / "ticks.log")} | options | secured
        server = await CounterProcess(**options).start()
        proxy = await Proxy(port).start()
        security = {"policy": policy, "trust": [identity[0]]} if policy != "None" else {}
        settings = ServerSettings.model_validate(
            {"name": "S", "url": f"opc.tcp://127.0.0.1:{proxy.port}/", "security": security,
             "publishing_interval_ms": 100, "history": False}
            | (server_settings or {})
        )  # fmt: skip
        tags = tuple(f"T{k}" for k in range(options["tags"]))
        wanted = {t: t for t in tags} | (addresses or {})
        entry = EquipmentSettings(id="M1", browse="Objects/M1")
        plan = ServerPlan(settings, (WantedEquipment(entry, wanted),))
        books = Books()
        link = ServerLink(plan, Pki(tmp_path / "pki", "test"), sessions=tmp_path / "sessions")
        rig = Rig(tmp_path, server, proxy, books, link, tags)
        rigs.append(rig)
        if run:
            rig.start()
        return rig

    yield make
    for rig in rigs:
        rig.running.cancel()
        await asyncio.gather(rig.running, return_exceptions=True)
        await rig.proxy.close()
        await rig.server.kill()


@pytest.fixture
def note(row: Callable[..., None], policy: str) -> Callable[..., None]:
    """Enter one row of the table of recovery times."""

    def enter(*, fault: str, **cells: object) -> None:
        row("recovery times", fault=fault, security=policy, **cells)

    return enter
