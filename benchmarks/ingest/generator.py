"""A load generator: an asyncua server for handshakes, and publish responses replayed as fast as they are asked for.

Sessions, channels and reads are asyncua's. CreateMonitoredItems takes any NodeId; SetPublishingMode(true) starts the
flood: from then on each PublishRequest is answered at once with an encoded response, and event time moves on by 100 ms
with each round of all items. With ``--rate`` all tags are sent once per publishing interval instead. Prints
``ready <url>``, and a line of JSON when a flood is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.server import binary_server_asyncio, uaprocessor
from asyncua.ua.ua_binary import struct_from_binary

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.ingest.messages import HANDLE_AT, MORE_AT, SEQUENCE_AT, SUBSCRIPTION_AT, Message, message, now_ticks
from lineside_gateway.opcua.security import Pki

STEP_TICKS = 1_000_000
"""Event time between two rounds: 100 ms."""
CHUNK_BYTES = 65_535
HEADER_BYTES = 24
GROUP = 5_000
"""Items per response at a rate."""
TOKEN_SIZES = {0: 2, 1: 4, 2: 7, 4: 19}
subscription_ids = itertools.count(1)


def encoding(name: str) -> int:
    """NodeId of a request's binary encoding."""
    return int(getattr(ua.ObjectIds, f"{name}_Encoding_DefaultBinary"))


PUBLISH, CREATE, ITEMS = map(encoding, ("PublishRequest", "CreateSubscriptionRequest", "CreateMonitoredItemsRequest"))
MODE, DELETE = map(encoding, ("SetPublishingModeRequest", "DeleteSubscriptionsRequest"))


class Flood:
    """The subscription of one connection and the requests that wait for an answer."""

    def __init__(self, processor: Any, options: argparse.Namespace) -> None:
        self.processor = processor
        self.options = options
        self.id = next(subscription_ids)
        self.handles: list[int] = []
        self.messages: list[Message] = []
        self.requests: deque[tuple[int, int]] = deque()
        self.backlog: deque[tuple[int, int]] = deque()
        self.interval_ms = 0.0
        self.running = False
        self.sent = self.values = 0
        self.ticks = now_ticks()
        self.began = (time.perf_counter(), time.process_time())

    def start(self) -> None:
        """Encode the responses; from now on requests are answered."""
        if self.options.rate:
            self.running = True
            self.ticking = asyncio.create_task(self.tick())
            return
        variants = self.options.variants
        self.messages = [message(self.handles, mixed=self.options.mixed, seed=k) for k in range(variants)]
        self.running = True
        self.began = (time.perf_counter(), time.process_time())

    async def tick(self) -> None:
        """At a rate: all tags once per publishing interval, in responses of ``GROUP`` items, at round times."""
        groups = [self.handles[at : at + GROUP] for at in range(0, len(self.handles), GROUP)]
        self.messages = [message(g, mixed=False, seed=k) for k, g in enumerate(groups)]
        step = round(self.interval_ms * 10_000)
        self.ticks = (now_ticks() // STEP_TICKS + 10) * STEP_TICKS
        while self.running:
            await asyncio.sleep((self.ticks - now_ticks()) / 1e7)
            self.backlog += [(k, self.ticks) for k in range(len(self.messages))]
            self.ticks += step
            self.pump()

    def pump(self) -> None:
        """Answer all requests that wait, at a rate as far as there is something to send."""
        while self.running and self.requests and (self.backlog or not self.options.rate):
            handle, request = self.requests.popleft()
            number, ticks = self.backlog.popleft() if self.backlog else (self.sent, self.ticks + STEP_TICKS)
            found = self.messages[number % len(self.messages)]
            if not self.options.rate:
                self.ticks = ticks
            self.sent += 1
            self.values += found.count
            found.stamp(ticks)
            struct.pack_into("<?", found.body, MORE_AT, bool(self.backlog))
            struct.pack_into("<I", found.body, HANDLE_AT, handle)
            struct.pack_into("<I", found.body, SUBSCRIPTION_AT, self.id)
            struct.pack_into("<I", found.body, SEQUENCE_AT, self.sent)
            self.processor._transport.write(self.chunks(found.body, request))

    def chunks(self, body: bytearray, request: int) -> bytes:
        """A message as the channel's chunks."""
        connection = self.processor._connection
        if connection.security_policy.Mode != ua.MessageSecurityMode.None_:
            return bytes(connection.message_to_binary(bytes(body), request_id=request))
        token, out = connection.security_token, bytearray()
        most = CHUNK_BYTES - HEADER_BYTES
        for at in range(0, len(body), most):
            part = memoryview(body)[at : at + most]
            kind = b"F" if at + most >= len(body) else b"C"
            connection._sequence_number += 1
            out += struct.pack(
                "<3scIIIII", b"MSG", kind, len(part) + HEADER_BYTES, token.ChannelId, token.TokenId,
                connection._sequence_number, request,
            )  # fmt: skip
            out += part
        return bytes(out)

    def report(self) -> None:
        """Tell how busy this process was."""
        wall, cpu = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        done = {"sent": self.sent, "values": self.values, "unsent": len(self.backlog), "busy": round(cpu / wall, 2)}
        print(json.dumps(done), flush=True)


def take_over(options: argparse.Namespace) -> None:
    """Put the subscription services of this module in place of asyncua's."""
    process = uaprocessor.UaProcessor._process_message
    receive = binary_server_asyncio.OPCUAProtocol.data_received

    async def process_message(self: Any, typeid: Any, header: Any, sequence: Any, body: Any) -> bool:
        flood: Flood | None = getattr(self, "flood", None)
        if typeid.Identifier == CREATE:
            flood = self.flood = Flood(self, options)
        if flood is None or typeid.Identifier not in SERVICES:
            return bool(await process(self, typeid, header, sequence, body))
        response = SERVICES[typeid.Identifier](flood, header, sequence, body)
        if response is not None:
            self.send_response(header.RequestHandle, sequence, response)
        flood.pump()
        return True

    def data_received(self: Any, data: bytes) -> None:
        flood: Flood | None = getattr(self.processor, "flood", None)
        if flood is None or self._buffer or not flood.running:
            receive(self, data)
            return
        rest = take_requests(flood, data)
        flood.pump()
        if rest:
            receive(self, rest)

    uaprocessor.UaProcessor._process_message = process_message
    binary_server_asyncio.OPCUAProtocol.data_received = data_received


def subscribe(flood: Flood, _header: Any, _sequence: Any, body: Any) -> Any:
    """CreateSubscription: whatever interval is asked for."""
    wanted = struct_from_binary(ua.CreateSubscriptionParameters, body)
    flood.interval_ms = wanted.RequestedPublishingInterval
    response = ua.CreateSubscriptionResponse()
    alive = max(wanted.RequestedMaxKeepAliveCount, 1000)
    response.Parameters = ua.CreateSubscriptionResult(flood.id, flood.interval_ms, 10_000, alive)
    return response


def publish(flood: Flood, header: Any, sequence: Any, _body: Any) -> None:
    """Publish: waits until there is something to send."""
    flood.requests.append((header.RequestHandle, sequence.RequestId))


def monitor(flood: Flood, header: Any, sequence: Any, body: Any) -> None:
    """CreateMonitoredItems: any NodeId."""
    items = struct_from_binary(ua.CreateMonitoredItemsParameters, body).ItemsToCreate
    flood.processor._transport.write(created(flood, items, header, sequence))


def switch(flood: Flood, _header: Any, _sequence: Any, body: Any) -> Any:
    """SetPublishingMode: the flood begins or ends."""
    if struct_from_binary(ua.SetPublishingModeParameters, body).PublishingEnabled:
        flood.start()
    else:
        flood.running = False
        flood.report()
    response = ua.SetPublishingModeResponse()
    response.Parameters.Results = [ua.StatusCode()]
    return response


def unsubscribe(flood: Flood, _header: Any, _sequence: Any, _body: Any) -> Any:
    """DeleteSubscriptions: the flood ends."""
    flood.running = False
    response = ua.DeleteSubscriptionsResponse()
    response.Results = [ua.StatusCode()]
    return response


SERVICES = {CREATE: subscribe, PUBLISH: publish, ITEMS: monitor, MODE: switch, DELETE: unsubscribe}


def take_requests(flood: Flood, data: bytes) -> bytes:
    """Take the PublishRequests that ``data`` begins with; returns what comes after them."""
    if flood.processor._connection.security_policy.Mode != ua.MessageSecurityMode.None_:
        return data
    at = 0
    while len(data) - at > 44 and data[at : at + 4] == b"MSGF":
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        kind = struct.unpack_from("<BBH", data, at + HEADER_BYTES)
        if len(data) - at < size or kind != (1, 0, PUBLISH):
            break
        token = at + HEADER_BYTES + 4
        length = TOKEN_SIZES.get(data[token])
        if length is None:
            length = 7 + struct.unpack_from("<i", data, token + 3)[0]
        (handle,) = struct.unpack_from("<I", data, token + length + 8)
        sequence, request = struct.unpack_from("<II", data, at + 16)
        flood.processor._connection._peer_sequence_number = sequence
        flood.requests.append((handle, request))
        at += size
    return data[at:]


def created(flood: Flood, items: list[Any], header: Any, sequence: Any) -> bytes:
    """A CreateMonitoredItemsResponse, by hand: creating items is not what is measured."""
    first = len(flood.handles) + 1
    flood.handles += [int(i.RequestedParameters.ClientHandle) for i in items]
    results = b"".join(struct.pack("<IIdI3s", 0, first + k, 100.0, 1, bytes(3)) for k in range(len(items)))
    kind = encoding("CreateMonitoredItemsResponse")
    head = struct.pack("<BBHqIIBiBBB", 1, 0, kind, now_ticks(), header.RequestHandle, 0, 0, -1, 0, 0, 0)
    body = head + struct.pack("<i", len(items)) + results + struct.pack("<i", -1)
    return bytes(flood.processor._connection.message_to_binary(body, request_id=sequence.RequestId))


async def serve(options: argparse.Namespace) -> None:
    """Serve until killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server()
    await server.init()
    url = f"opc.tcp://127.0.0.1:{port}"
    server.set_endpoint(url)
    policies = [ua.SecurityPolicyType.NoSecurity]
    if options.keys:
        certificate, key = Pki(options.keys, "generator").own()
        await server.load_certificate(str(certificate))
        await server.load_private_key(str(key))
        policies.append(ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt)
    server.set_security_policy(policies)
    async with server:
        print(f"ready {url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--mixed", action="store_true", help="tags of several types, the layout another in each message"
    )
    parser.add_argument("--rate", action="store_true", help="all tags once per publishing interval, not a flood")
    parser.add_argument("--variants", type=int, default=4, help="different messages")
    parser.add_argument("--keys", type=Path, help="folder for a certificate: offer SignAndEncrypt")
    logging.basicConfig(level=logging.ERROR)
    options = parser.parse_args()
    take_over(options)
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
