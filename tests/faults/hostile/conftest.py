"""Raw OPC UA over a socket, for sending what no client sends; and the processes under attack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

import pytest
from asyncua import ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.ua_binary import header_from_binary, struct_from_binary, struct_to_binary, uatcp_to_binary

HERE = Path(__file__).parent


@dataclass
class RawClient:
    """One socket with just enough of a client to get a session; frames are sent as they are given."""

    host: str
    port: int
    url: str
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)
    token: ua.NodeId = field(default_factory=ua.NodeId)
    requests: int = 0

    async def connect(self) -> RawClient:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        self.channel = SecureConnection(SecurityPolicyNone(), TransportLimits())
        return self

    async def __aenter__(self) -> RawClient:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def hello(self, buffer: int = 65535) -> None:
        hello = ua.Hello()
        hello.EndpointUrl, hello.ReceiveBufferSize, hello.SendBufferSize = self.url, buffer, buffer
        self.send(uatcp_to_binary(ua.MessageType.Hello, hello))

    def message(self, body: bytes, kind: bytes = ua.MessageType.SecureMessage) -> bytes:
        """``body`` as a chunk of this channel, the next in sequence."""
        self.requests += 1
        return self.channel.message_to_binary(body, message_type=kind, request_id=self.requests)

    def request(self, request: object) -> bytes:
        """A request of this session as a body."""
        request.RequestHeader.AuthenticationToken = self.token
        return struct_to_binary(request)

    async def ask(self, request: object, kind: bytes = ua.MessageType.SecureMessage) -> Buffer:
        """Send a proper request and wait for the answer's body."""
        self.send(self.message(self.request(request), kind))
        _, body = await self.answer()
        return body

    async def answer(self) -> tuple[bytes, Buffer]:
        """The next frame: its message type and, of a message, the body."""
        start = await asyncio.wait_for(self.reader.readexactly(8), 30)
        rest = await self.reader.readexactly(int.from_bytes(start[4:8], "little") - 8)
        buffer = Buffer(start + rest)
        header = header_from_binary(buffer)
        if header.MessageType in {b"MSG", b"OPN"}:
            message = self.channel.receive_from_header_and_body(header, buffer)
            return header.MessageType, message.body()
        return header.MessageType, buffer

    async def open(self) -> None:
        """Hello and an unsecured channel."""
        self.hello()
        await self.answer()
        request = ua.OpenSecureChannelRequest()
        request.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        request.Parameters.RequestType = ua.SecurityTokenRequestType.Issue
        request.Parameters.RequestedLifetime = 60_000
        body = await self.ask(request, ua.MessageType.SecureOpen)
        response = struct_from_binary(ua.OpenSecureChannelResponse, body)
        self.channel.set_channel(response.Parameters, ua.SecurityTokenRequestType.Issue, b"")

    async def log_in(self) -> None:
        """An anonymous session on an open channel."""
        await self.open()
        create = ua.CreateSessionRequest()
        create.Parameters.RequestedSessionTimeout = 60_000
        response = struct_from_binary(ua.CreateSessionResponse, await self.ask(create))
        self.token = response.Parameters.AuthenticationToken
        activate = ua.ActivateSessionRequest()
        activate.Parameters.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")
        await self.ask(activate)

    async def ended(self, within_s: float = 15) -> bool:
        """Whether the server closes the connection; what it still sends is read over."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(within_s):
                while await self.reader.read(65536):
                    pass
        return True


@dataclass
class Target:
    """The server under attack and the client beside the attackers."""

    endpoint: str
    server: asyncio.subprocess.Process
    victim: asyncio.subprocess.Process

    def client(self) -> RawClient:
        url = urlparse(self.endpoint)
        return RawClient(str(url.hostname), int(url.port or 0), self.endpoint)

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.server.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def reads(self) -> dict[str, float]:
        """How the other client's reads went since the last call."""
        return await line_of(self.victim, b"\n")


async def line_of(process: asyncio.subprocess.Process, ask: bytes = b"") -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(ask)
    line = await asyncio.wait_for(process.stdout.readline(), 120)
    assert line, "the process ended"
    return json.loads(line)


async def start(script: str, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / script), *arguments, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )


@pytest.fixture(autouse=True)
def _many_lost_connections_are_no_news() -> Iterator[None]:
    logger = logging.getLogger("asyncio")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    if sys.platform != "linux":
        pytest.skip("RSS and CPU of another process are read from /proc")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    server = await start("target.py", str(tmp_path))
    endpoint = str((await line_of(server))["endpoint"])
    victim = await start("victim.py", endpoint)
    try:
        await line_of(victim)
        yield Target(endpoint, server, victim)
    finally:
        for process in (victim, server):
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
