"""What the hosted server needs of asyncua, and what happens where it is another."""

from __future__ import annotations

import logging

import pytest
from asyncua import Client, ua

from lineside_gateway.hosting import Access, Rights, differences, hosting_server
from lineside_gateway.hosting import internals as hosting_internals


def test_asyncua_is_the_version_this_was_written_against() -> None:
    """asyncua has the version and the private names that the hosted server overrides; else this names each one."""
    assert differences() == [], "the hosted server falls back to asyncua's plain one: " + "; ".join(differences())


async def test_another_asyncua_gets_the_plain_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With an asyncua of other names the plain server hosts the same nodes, and the log says why."""
    monkeypatch.setattr(hosting_internals, "ASYNCUA", "9.9.")
    assert "asyncua is 2.1" in differences()[0]
    with caplog.at_level(logging.ERROR):
        server = hosting_server(Access(), Rights())
        await server.init()
    assert "hosted_server_plain asyncua is 2.1" in caplog.text
    server.set_endpoint("opc.tcp://127.0.0.1:0/plain")
    async with server:
        assert server.bserver is not None
        async with Client(f"opc.tcp://127.0.0.1:{server.bserver.port}/plain") as client:
            assert await client.get_node("i=2259").read_value() == ua.ServerState.Running
            with pytest.raises(ua.UaStatusCodeError):
                await client.nodes.objects.add_object(2, "Intruder")
